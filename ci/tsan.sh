#!/usr/bin/env bash
# The behaviour suite under ThreadSanitizer: needs a nightly toolchain, and is skipped without one. Takes
# parts of tests' names, or runs all but those below. What it cannot see is in docs/proof.md.
set -euo pipefail
cd "$(dirname "$0")/.."
# Programs of tests/, and modules of tests/suite, tests/flow and tests/heap.
declare -A left_out=(
    [allocations]="counts allocations: the sanitizer has its own"
    [finished]="counts allocations: the sanitizer has its own"
    [shrinking]="measures memory: the sanitizer keeps several times as much"
    [idle_cpu]="measures processor time: the sanitizer has a thread of its own"
    [refused_by_the_system]="limits the address space, of which the sanitizer needs a large part"
    [absurd]="uses up the memory maps of a process, and asks for absurd stacks: the sanitizer needs both"
    [fork]="the sanitizer ends a child that starts threads"
    [awaiting]="runs tokio, whose threads synchronise in the standard library's locks"
    [futures]="runs tokio, whose threads and channels synchronise in the standard library's locks"
    [fair_room]="has futures on tokio, as above"
    [tower]="runs tokio, as above"
    [fuzz_corpus]="has a gate of the standard library's, and runs under AddressSanitizer"
    [interrupts]="has threads that the standard library's scopes join"
    [shared_handles]="passes results to another thread in the standard library's OnceLock"
    [scrape]="reads figures that an exporter keeps under the standard library's locks"
    [spans]="has subscribers that tracing keeps under the standard library's locks"
    [signals]="has processes of its own, whose output is read under the standard library's locks"
    [endings]="leaves by exit while threads run, and runs under memcheck"
)

if ! RUSTUP_AUTO_INSTALL=0 rustup run nightly rustc --version >/dev/null 2>&1; then
    echo "skipped: no nightly toolchain"
    exit 0
fi
# Tests that nest thousands of waits: the sanitizer keeps the whole stack for each lock, and has room for so many frames only.
too_deep=(--skip nest_as_deep_as_the_stack)
target=$(rustup run nightly rustc --version --verbose | sed -n 's/^host: //p')
programs=(--test suite --test flow --test heap --test schedule)
filters=("$@" "${too_deep[@]}")
for file in tests/*.rs tests/suite/*.rs tests/flow/*.rs tests/heap/*.rs; do
    test=$(basename "$file" .rs)
    if [ -n "${left_out[$test]-}" ]; then
        echo "left out: $test, which ${left_out[$test]}"
        filters+=(--skip "$test::")
    elif [ "$file" = "tests/$test.rs" ]; then
        programs+=(--test "$test")
    fi
done
# The standard library and the C library are not instrumented. The flag tells the compiler that this is intended.
export RUSTFLAGS="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg formicary_few_dispatches" CARGO_TARGET_DIR="${CARGO_TARGET_DIR-target}/tsan"
export TSAN_OPTIONS="suppressions=$PWD/ci/tsan.supp exitcode=66 ${TSAN_OPTIONS-}"
# With backtraces, two panics at a time look up names in one table, under a lock of the standard library's uninstrumented part.
export RUST_BACKTRACE=0
# Its reports, and the suppressions, name functions and lines.
export CARGO_PROFILE_DEV_DEBUG=line-tables-only
export FORMICARY_STRESS_ROUNDS="${FORMICARY_STRESS_ROUNDS-0.5}"
RUSTUP_AUTO_INSTALL=0 timeout 2400 cargo +nightly test --locked --no-fail-fast --all-features --target "$target" "${programs[@]}" -- --test-threads=2 "${filters[@]}"
