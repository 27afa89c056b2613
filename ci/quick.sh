#!/usr/bin/env bash
# Some modules of the suite as a program of their own, which builds in seconds: bash ci/quick.sh limited map. Removes it afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || { echo "names of modules of tests/suite, please" >&2; exit 2; }
trap 'rm -f tests/quick.rs' EXIT
{
    echo '#![allow(clippy::unwrap_used, clippy::expect_used)]'
    printf '#[path = "support/mod.rs"]\nmod support;\n'
    for module in "$@"; do printf '#[path = "suite/%s.rs"]\nmod %s;\n' "$module" "$module"; done
} >tests/quick.rs
cargo test --all-features --test quick
