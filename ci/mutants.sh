#!/usr/bin/env bash
# cargo-mutants on the engine and the queues: changes every function and operator there in turn, and lists the changes that no test
# notices. What to run, and on what, is in .cargo/mutants.toml; docs/mutations.md says what the survivors are. Not a part of CI: all of it takes
# hours. With an argument k/n: only every nth mutant, beginning with the kth, as `0/6`.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants
shard=()
[ $# -eq 0 ] || shard=(--shard "$1" --sharding round-robin)
# Symbols are not needed and take long to link.
export CARGO_PROFILE_DEV_DEBUG=0
mkdir -p target/mutants
exec cargo mutants --output target/mutants --jobs 1 "${shard[@]}"
