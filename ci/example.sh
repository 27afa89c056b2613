#!/usr/bin/env bash
# The main job on real input: the README's first command.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --locked --release --example codesearch -- --count
