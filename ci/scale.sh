#!/usr/bin/env bash
# The model of many cores: no warnings, its tests, and that real pools can still be measured against it. Figures are not compared.
set -euo pipefail
cd "$(dirname "$0")/../benches/scale"
cargo fmt --check
cargo clippy --locked --release --all-targets -- -D warnings
cargo test --locked --release --quiet
cargo run --locked --release --quiet -- --check
