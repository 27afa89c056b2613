#!/usr/bin/env bash
# The examples on real input; the first is the main job, the README's first command.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --locked --release --example codesearch -- --count
cargo run --locked --release --example from_async
# Groups and scopes; each checks its own result.
cargo run --locked --release --example fail_fast
cargo run --locked --release --example recursive_walk
