#!/usr/bin/env bash
# Model-checks the shipped protocols between threads with loom (each `models.rs`, and src/engine/models): every order of events up to a bound on preemptions.
# It builds in target/loom, whatever CARGO_TARGET_DIR says.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg formicary_loom" CARGO_TARGET_DIR=target/loom
timeout 1500 cargo test --locked --release --lib models -- --test-threads=2
