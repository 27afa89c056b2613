#!/usr/bin/env bash
# Runs whole pools under random schedules with shuttle: FORMICARY_SHUTTLE_SCHEDULES of each scenario on each kind of pool.
# It builds in target/shuttle, whatever CARGO_TARGET_DIR says.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg formicary_shuttle" CARGO_TARGET_DIR=target/shuttle
export FORMICARY_SHUTTLE_SCHEDULES="${FORMICARY_SHUTTLE_SCHEDULES:-10000}"
timeout 900 cargo test --locked --release --test random_schedules --no-run
timeout 600 cargo test --locked --release --test random_schedules -- --test-threads=2 --nocapture
