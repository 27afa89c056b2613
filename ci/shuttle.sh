#!/usr/bin/env bash
# Runs whole pools under random schedules with shuttle: fewer than the 10,000 of each scenario on each kind of pool that are the
# default of the tests themselves.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTFLAGS="--cfg formicary_shuttle" CARGO_TARGET_DIR=target/shuttle
export FORMICARY_SHUTTLE_SCHEDULES="${FORMICARY_SHUTTLE_SCHEDULES:-1000}"
timeout 900 cargo test --locked --release --test random_schedules --no-run
echo "$FORMICARY_SHUTTLE_SCHEDULES schedules of each scenario on each kind of pool (10,000 where the variable is not set, by hand)"
timeout 600 cargo test --locked --release --test random_schedules -- --test-threads=2 --nocapture
