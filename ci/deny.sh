#!/usr/bin/env bash
# The dependencies have licences that the crate's own allow, come from crates.io only, and have no known advisory: deny.toml. It is
# skipped without cargo-deny, which takes minutes to build: `cargo install --locked cargo-deny`.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! cargo deny --version >/dev/null 2>&1; then
    echo "skipped: no cargo-deny"
    exit 0
fi
cargo deny --locked check bans licenses sources
# The database of advisories is a git repository.
if cargo deny --locked fetch db >/dev/null 2>&1; then
    cargo deny --locked check --disable-fetch advisories
else
    echo "skipped: advisories, whose database cannot be fetched"
fi
