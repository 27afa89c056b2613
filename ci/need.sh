#!/usr/bin/env bash
# need.sh COMMAND PACKAGE: checks that a command exists, and installs its Debian package if it may. Otherwise says that the caller is skipped,
# and fails.
set -euo pipefail
command -v "$1" >/dev/null && exit 0
[ "$(id -u)" != 0 ] || apt-get install -y "$2" >/dev/null 2>&1 || true
command -v "$1" >/dev/null || { echo "skipped: no $1"; exit 1; }
