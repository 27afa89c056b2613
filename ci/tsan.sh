#!/usr/bin/env bash
# The tests with the most races in them, under ThreadSanitizer: needs a nightly toolchain, and is skipped without one.
set -euo pipefail
cd "$(dirname "$0")/.."
tests=(
    stress lost_wakeups closing_races results nested handles ring sharded shared_handles
    cancelling cancelling_kinds tokens group group_ending group_limits group_nested scope
    map map_ending map_for_each map_sharing broadcast broadcast_states
)

if ! RUSTUP_AUTO_INSTALL=0 rustup run nightly rustc --version >/dev/null 2>&1; then
    echo "skipped: no nightly toolchain"
    exit 0
fi
target=$(rustup run nightly rustc --version --verbose | sed -n 's/^host: //p')
names=()
for test in "${tests[@]}"; do
    [ ! -e "tests/$test.rs" ] || names+=(--test "$test")
done
# The standard library and the C library are not instrumented, which the compiler wants to be told is meant.
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer" CARGO_TARGET_DIR=target/tsan
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp exitcode=66 ${TSAN_OPTIONS-}"
export FORMICARY_STRESS_ROUNDS="${FORMICARY_STRESS_ROUNDS-0.5}"
RUSTUP_AUTO_INSTALL=0 timeout 900 cargo +nightly test --locked --target "$target" "${names[@]}" -- --test-threads=2
