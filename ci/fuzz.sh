#!/usr/bin/env bash
# Runs the corpus of each target and then fuzzes it for some seconds, with AddressSanitizer and LeakSanitizer. Needs a nightly toolchain and
# a C++ compiler, and is skipped without them. `ci/fuzz.sh TARGET...` runs only those targets.
#
# It builds as `cargo fuzz` does, but does not need it. `cargo fuzz` may be used instead: fuzz/README.md.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"
seconds=${FORMICARY_FUZZ_SECONDS-15}

if ! RUSTUP_AUTO_INSTALL=0 rustup run nightly rustc --version >/dev/null 2>&1; then
    echo "skipped: no nightly toolchain"
    exit 0
fi
# libFuzzer is C++.
bash ../ci/need.sh c++ g++ || exit 0
target=$(rustup run nightly rustc --version --verbose | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- $(sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$|\1|p' Cargo.toml)

export RUSTUP_AUTO_INSTALL=0 CARGO_TARGET_DIR=${CARGO_TARGET_DIR-target}
export RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Ccodegen-units=1 -Zsanitizer=address -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
export ASAN_OPTIONS="detect_leaks=1 detect_odr_violation=0 ${ASAN_OPTIONS-}"
export LSAN_OPTIONS="suppressions=$PWD/../ci/lsan.supp print_suppressions=0 ${LSAN_OPTIONS-}"
cargo +nightly build --locked --release --target "$target" --bins

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for name; do
    program=$CARGO_TARGET_DIR/$target/release/$name
    mkdir -p artifacts/"$name" "$scratch/$name"
    echo "$name: the corpus, $(find "corpus/$name" -type f | wc -l) files, and $seconds seconds more"
    # New inputs go to the first folder, inputs that fail to artifacts.
    "$program" "$scratch/$name" "corpus/$name" -artifact_prefix="artifacts/$name/" -max_total_time="$seconds" -max_len=256 \
        -timeout=60 -rss_limit_mb=4096 -print_final_stats=1 >"$scratch/log" 2>&1 ||
        { tail -n 60 "$scratch/log" >&2; echo "$name failed: the input is in fuzz/artifacts/$name" >&2; exit 1; }
    sed -n 's/^stat::number_of_executed_units: */runs: /p; s/^#[0-9]*\tDONE */  /p' "$scratch/log"
done
