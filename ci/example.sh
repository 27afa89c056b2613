#!/usr/bin/env bash
# The examples on real input, the README's first command first. Each checks its own result.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --locked --release -p codesearch -- --count
cargo run --locked --release -p from_async
cargo run --locked --release --example fail_fast
cargo run --locked --release --example recursive_walk
cargo run --locked --release --example autoscale
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cargo run --locked --release -p ordered -- --out "$scratch/ordered.gz"
# gzip itself accepts it.
gzip -t "$scratch/ordered.gz"
cargo run --locked --release --example tenants
cargo run --locked -p webhooks
cargo run --locked -p telemetry
cargo run --locked -p children
cargo run --locked -p thumbnails
cargo run --locked -p crawl
cargo run --locked --release --example timeline -- "$scratch"
# Not optimised: SQLite takes a minute to optimise.
cargo run --locked -p sqlite
cargo run --locked -p jobs
cargo run --locked -p etl -- --rows 200000 --dir "$scratch"
