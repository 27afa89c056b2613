#!/usr/bin/env bash
# Everything at random on every pool, for two minutes, or for FORMICARY_SOAK_MINUTES: a line a second, then a verdict. The seed is printed.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --locked --release -p soak -- --minutes "${FORMICARY_SOAK_MINUTES-2}" "$@"
