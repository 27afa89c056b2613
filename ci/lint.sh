#!/usr/bin/env bash
# No warning, in the crate, its tests, benches and examples. Clippy also checks the stated Rust version.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --locked --all-targets -- -D warnings
cargo clippy --locked --all-targets --no-default-features -- -D warnings
cargo clippy --locked --all-targets --all-features -- -D warnings
