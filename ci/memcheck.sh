#!/usr/bin/env bash
# Valgrind's memcheck over the programs of tests/endings.rs, one for each way in which a pool can end, on every dispatch: memory
# that is read or written where it must not be, used before it is set, freed twice, or leaked. Needs valgrind, installs it if it may,
# and is skipped without it. Takes the names of programs, or runs all.
set -euo pipefail
cd "$(dirname "$0")/.."

bash ci/need.sh valgrind valgrind || exit 0

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
CARGO_PROFILE_DEV_DEBUG=line-tables-only cargo test --locked --test endings --no-run 2>"$scratch/build" || { cat "$scratch/build" >&2; exit 1; }
program=$(sed -n 's/^ *Executable .*(\(.*\))$/\1/p' "$scratch/build")
export program scratch

# Fair scheduling: memcheck runs one thread at a time, and a thread that spins must not keep the one that it waits for from running.
check() {
    local log="$scratch/${1//\//-}"
    if timeout 120 valgrind --tool=memcheck --fair-sched=yes --error-exitcode=9 --leak-check=full \
        --errors-for-leak-kinds=definite,indirect --show-leak-kinds=definite,indirect \
        "$program" --program "$1" >"$log" 2>&1; then
        echo "$1: clean"
    else
        cat "$log" >&2
        echo "$1: failed" >&2
        return 1
    fi
}
export -f check

{ [ $# = 0 ] && "$program" --list || printf '%s\n' "$@"; } >"$scratch/names"
xargs -P 2 -I NAME bash -c 'check NAME' <"$scratch/names"
