#!/usr/bin/env bash
# Uses every pool at random, with faults, for two minutes or FORMICARY_SOAK_MINUTES. Prints the seed, a line a second, and a verdict.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --locked --release -p soak -- --minutes "${FORMICARY_SOAK_MINUTES-2}" "$@"
