#!/usr/bin/env bash
# The tests of the unsafe code in Miri, which interprets them: it finds undefined behaviour, also where the machine would do no harm, and
# allows every value that the memory model allows. Needs a nightly toolchain with miri and rust-src, and is skipped without them. Takes
# filters of tests, or runs those below.
#
# FORMICARY_MIRI_SECONDS: how long each filter may take. Miri is some hundred times slower than the machine; a filter that is not done in
# time is cut short, which is said and is no failure.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FORMICARY_MIRI_SECONDS-300}

if ! RUSTUP_AUTO_INSTALL=0 rustup run nightly cargo miri --version >/dev/null 2>&1; then
    echo "skipped: no nightly toolchain with miri"
    exit 0
fi
# The number of processors is read from the system. The helper that limits a test may leave a thread behind, and the process's timer is one.
# parking_lot has addresses in integers.
export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-permissive-provenance ${MIRIFLAGS-}"
export RUSTUP_AUTO_INSTALL=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Tests that repeat something a thousand times, or measure what it costs.
too_long=(--skip d15_ --skip b05_ --skip after_wait_idle_every_handle_is_finished --skip each_value_comes_out_once_over_many_laps)

# run FILTER TARGET...: one test at a time, since Miri runs one thread at a time and tests have limits.
run() {
    local filter=$1 rc=0
    timeout "$seconds" cargo +nightly miri test --locked "${@:2}" "$filter" -- --test-threads=1 "${too_long[@]}" >"$scratch/log" 2>&1 || rc=$?
    [ "$rc" = 0 ] || [ "$rc" = 124 ] || { cat "$scratch/log" >&2; return 1; }
    echo "${*:2} $filter"
    echo "    $(grep -c '^test .* ok$' "$scratch/log" || true) tests passed$([ "$rc" = 0 ] || echo ", cut short after $seconds s")"
}
cargo +nightly miri test --locked --lib --test suite --test flow --test task --no-run
if [ $# -gt 0 ]; then
    for filter; do run "$filter" --test suite; run "$filter" --test flow; done
else
    run task::state --lib
    run "" --test task
    for module in results large_values scope ring; do run "$module::" --test suite; done
fi
