#!/usr/bin/env bash
# All tests, exactly as the README's command runs them: four to eight minutes on two processors, with the build. For those of one module:
# CONTRIBUTING.md.
set -euo pipefail
cd "$(dirname "$0")/.."
command=$(sed -n 's/^\(cargo test .*[^ ]\)  *# pass the tests$/\1/p' README.md)
[ -n "$command" ] || { echo "the README has no test command" >&2; exit 1; }
echo "+ $command"
eval "$command"
