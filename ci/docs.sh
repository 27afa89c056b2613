#!/usr/bin/env bash
# The documentation builds without a warning: with and without the features, and private items too.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTDOCFLAGS="-D warnings"
cargo doc --locked --no-deps
cargo doc --locked --no-deps --all-features
cargo doc --locked --no-deps --all-features --document-private-items
