#!/usr/bin/env bash
# The tests, exactly as the README's command runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
command=$(sed -n 's/^\(cargo test .*[^ ]\)  *# pass the tests$/\1/p' README.md)
[ -n "$command" ] || { echo "the README has no test command" >&2; exit 1; }
echo "+ $command"
eval "$command"
