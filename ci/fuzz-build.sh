#!/usr/bin/env bash
# The fuzz crate builds with the installed compiler, and without a warning. (A test of the crate runs the same plans.)
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings
