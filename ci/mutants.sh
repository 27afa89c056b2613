#!/usr/bin/env bash
# cargo-mutants on the engine and the queues: changes every function and operator there in turn, and lists the changes that no test
# notices. Which files is in .cargo/mutants.toml; docs/mutations.md says what the survivors are. Not a part of CI: all of it takes hours.
# With an argument k/n: only every nth mutant, beginning with the kth, as `0/6`.
#
# FORMICARY_MUTANTS_TESTS: names of test files, if not all are to be tried.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants
bash ci/need.sh python3 python3
exec python3 ci/mutants.py "$@"
