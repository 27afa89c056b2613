#!/usr/bin/env bash
# The fuzz crate builds with whatever compiler there is, and without a warning. (A test of the crate carries out the same plans.)
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings
