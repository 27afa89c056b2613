#!/usr/bin/env bash
# need.sh COMMAND PACKAGE: checks that a command exists, and installs its Debian package if it may. Otherwise says that the caller is skipped,
# and fails.
set -euo pipefail
command -v "$1" >/dev/null && exit 0
install() { timeout 300 apt-get install -y "$2" >/dev/null 2>&1; }
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # The lists of packages may be old, or not there.
    install "$@" || { timeout 120 apt-get update >/dev/null 2>&1 && install "$@"; } || true
fi
command -v "$1" >/dev/null || { echo "skipped: no $1"; exit 1; }
