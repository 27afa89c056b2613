#!/usr/bin/env bash
# The code of all packages of the workspace is formatted.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --all --check
