#!/usr/bin/env bash
# The fuzz crate builds and runs its placeholder.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
cargo run --locked
