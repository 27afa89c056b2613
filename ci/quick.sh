#!/usr/bin/env bash
# Some modules of tests/suite and tests/flow as a program of their own, which builds in seconds: bash ci/quick.sh limited map. Removes it afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "names of modules of tests/suite and tests/flow, please" >&2; exit 2; }
trap 'rm -f tests/quick.rs' EXIT
{
    echo '#![allow(clippy::unwrap_used, clippy::expect_used)]'
    printf '#[path = "support/mod.rs"]\nmod support;\n'
    for module in "$@"; do
        folder=suite
        [ -e "tests/suite/$module.rs" ] || folder=flow
        [ -e "tests/$folder/$module.rs" ] || { echo "no module $module in tests/suite and tests/flow" >&2; exit 2; }
        printf '#[path = "%s/%s.rs"]\nmod %s;\n' "$folder" "$module" "$module"
    done
} >tests/quick.rs
cargo test --all-features --test quick
