#!/usr/bin/env bash
# The rivals' crate has no warnings, and every contestant runs in every scenario: a little of each, with exact counts and without a hang.
set -euo pipefail
cd "$(dirname "$0")/../benches/rivals"
cargo fmt --check
cargo clippy --locked --release -- -D warnings
cargo build --locked --release

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# A row that is not exact, crashes, or is not done in its time fails the command.
RIVALS_ROW_SECONDS=20 timeout 300 cargo run --locked --release -- --scale 0.001 --repeat 1 --out "$out" >"$out/log" ||
    { cat "$out/log" >&2; exit 1; }

# No contestant is missing: each is in each scenario's table, or listed with the reason why it cannot take part.
names=(
    "Pool<Stack>" "Pool<Ring>" "Pool<Sharded>" "PoolWithFunc<Stack>" "PoolWithFunc<Ring>" "PoolWithFunc<Sharded>"
    "StatefulPool<Stack>" "StatefulPool<Ring>" "StatefulPool<Sharded>" rayon threadpool rusty_pool workerpool beekeeper tokio blocking
    affinitypool threadfin "executors, work stealing" "executors, channel" "channel (hand-rolled)" "ArrayQueue, spinning"
)
scenarios=(
    tiny_1p tiny_4p tiny_func_1p batch roundtrip roundtrip_idle join join_uncut scope quicksort matmul tree walk server work10us work10us_1024 burst
    open_loop tenants one_long sleep pending_memory pending_payload idle_memory idle_cpu construct panic producers warm_state
)
missing=0
for scenario in "${scenarios[@]}"; do
    section=$(awk -v name="## $scenario" '/^## /{inside = ($0 == name)} inside && !/^- (met|missed|–) /' "$out/report.md")
    for name in "${names[@]}"; do
        grep -qF -- "$name" <<<"$section" || { echo "missing: $name in $scenario" >&2; missing=1; }
    done
    [ -s "$out/$scenario.svg" ] || { echo "no chart of $scenario" >&2; missing=1; }
done
[ "$missing" = 0 ]
echo "${#names[@]} contestants in ${#scenarios[@]} scenarios"
