#!/usr/bin/env bash
# cargo-mutants on the engine and the queues: changes every function and operator there in turn, and lists the changes that no test
# notices. .cargo/mutants.toml names the files, docs/mutations.md explains the changes that are not noticed. Not a part of CI: it takes
# hours. With an argument k/n, such as `0/6`: only every nth mutant, beginning with the kth.
#
# FORMICARY_MUTANTS_TESTS: names of test files, if not all are to be tried.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo mutants --version >/dev/null 2>&1 || cargo install --locked cargo-mutants
bash ci/need.sh python3 python3
exec python3 ci/mutants.py "$@"
