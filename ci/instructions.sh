#!/usr/bin/env bash
# Counts the instructions of a submit, of a run and of an answered call on every dispatch, and compares them with the committed
# figures: `--update` writes new ones. Needs valgrind, installs it if it may, and is skipped without it.
#
# A program of benches/instructions.rs runs twice, for N operations and for 2N: the difference does not contain the start and the
# end. The counts are the same in every run, also on a loaded machine, because the threads take turns. Instructions that wait depend
# on the scheduler and are not counted (a row of `process` was two and a half times as long on one machine as on another).
set -euo pipefail
cd "$(dirname "$0")/.."
figures=benches/instructions.tsv
operations=10000
tolerance=3 # percent: a larger increase fails

bash ci/need.sh valgrind valgrind || exit 0

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cargo bench --locked --bench instructions --no-run 2>"$scratch/build" || { cat "$scratch/build" >&2; exit 1; }
program=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$scratch/build")

# What the submitter's thread executes, and what the worker's thread executes.
count() {
    rm -f "$scratch"/out*
    valgrind --tool=callgrind --fair-sched=yes --separate-threads=yes --callgrind-out-file="$scratch/out" \
        "$program" --program "$1" "$2" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; return 1; }
    sed -n 's/^totals: //p' "$scratch/out-01" "$scratch/out-02" | paste -sd ' '
}

# A row for each thread: count_rows PROGRAM SUBMITTER'S_NAME WORKER'S_NAME
count_rows() {
    local few many
    few=$(count "$1" "$operations")
    many=$(count "$1" $((2 * operations)))
    awk -v few="$few" -v many="$many" -v operations="$operations" -v one="$2" -v other="$3" 'BEGIN {
        split(few, f, " "); split(many, m, " ")
        printf "%s\t%.0f\n", one, (m[1] - f[1]) / operations
        printf "%s\t%.0f\n", other, (m[2] - f[2]) / operations
    }'
}

measure() {
    local d
    for d in Stack Ring Sharded; do
        count_rows "closures/$d" "Pool<$d>::submit" "Pool<$d>, run"
        count_rows "payloads/$d" "PoolWithFunc<$d>::submit" "PoolWithFunc<$d>, run"
        count_rows "batches/$d" "PoolWithFunc<$d>::submit_all" "PoolWithFunc<$d>, run of a batch"
        count_rows "answers/$d" "StatefulPool<$d>::spawn and join" "StatefulPool<$d>, run and answer"
    done
}

compiler="# $(rustc --version)"
measure >"$scratch/now"
if [ "${1-}" = --update ]; then
    { echo "$compiler"; cat "$scratch/now"; } >"$figures"
    cat "$figures"
    exit 0
fi

verdict=fail
if [ "$(head -n 1 "$figures")" != "$compiler" ]; then
    echo "warning: the committed figures are of another compiler than ${compiler#\# }: worse figures do not fail" >&2
    verdict=warn
fi
awk -F '\t' -v verdict="$verdict" -v tolerance="$tolerance" '
    BEGIN { print "| instructions | committed | now | change |\n|---|---|---|---|" }
    /^#/ { next }
    NR == FNR { committed[$1] = $2; next }
    {
        if (!($1 in committed)) { printf "| %s | – | %d | new: --update |\n", $1, $2; missing = 1; next }
        change = 100 * ($2 - committed[$1]) / committed[$1]
        worse = change > tolerance
        printf "| %s | %d | %d | %+.1f %%%s |\n", $1, committed[$1], $2, change, worse ? ", worse" : ""
        failed += worse
        seen[$1] = 1
    }
    END {
        for (name in committed) if (!(name in seen)) { printf "| %s | %d | – | gone: --update |\n", name, committed[name]; missing = 1 }
        exit missing || (failed && verdict == "fail")
    }' "$figures" "$scratch/now"
