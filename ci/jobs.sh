#!/usr/bin/env bash
# The durable jobs of crates/formicary-jobs and examples/jobs against real servers, which they start and kill. Installs the servers if it may. A
# server that is not there is a failure with CI_SERVERS=required; otherwise the tests of the others run.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin"
missing=0
for server in redis-server nats-server; do
    bash ci/need.sh $server $server || missing=1
done
if [ $missing = 0 ]; then
    export CI_SERVERS=required
elif [ "${CI_SERVERS-}" = required ]; then
    exit 1
fi
jobs=(--locked -p formicary-jobs -p jobs --all-features)
cargo clippy "${jobs[@]}" --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc "${jobs[@]}" --no-deps
# They wait for leases more than they compute.
cargo test "${jobs[@]}" -- --test-threads 4
for store in redis nats; do
    ! command -v $store-server >/dev/null || cargo run --locked -p jobs --all-features -- --$store
done
