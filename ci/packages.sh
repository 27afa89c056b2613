#!/usr/bin/env bash
# The other packages of the workspace: no warning in code or documentation, and their tests.
set -euo pipefail
cd "$(dirname "$0")/.."
others=(--locked --workspace --exclude formicary)
cargo clippy "${others[@]}" --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc "${others[@]}" --no-deps
cargo test "${others[@]}"
