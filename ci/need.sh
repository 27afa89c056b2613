#!/usr/bin/env bash
# need.sh COMMAND PACKAGE: sees that there is a command, from a Debian package where it may. Fails, and says that its caller is skipped, if
# there is none.
set -euo pipefail
command -v "$1" >/dev/null && exit 0
[ "$(id -u)" != 0 ] || apt-get install -y "$2" >/dev/null 2>&1 || true
command -v "$1" >/dev/null || { echo "skipped: no $1"; exit 1; }
