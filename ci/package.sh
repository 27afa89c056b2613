#!/usr/bin/env bash
# The package that would be published: it has what it must have and nothing else, its pages link to nothing that is missing, and it builds
# by itself.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cargo fetch --locked
# Targets that are left out are reported one by one.
package() { cargo package --offline --allow-dirty "$@" 2>"$scratch/log" || { cat "$scratch/log" >&2; return 1; }; }

package --list >"$scratch/list"
missing=0
for file in README.md CHANGELOG.md CONTRIBUTING.md DESIGN.md SECURITY.md LICENSE-APACHE LICENSE-MIT Cargo.toml Cargo.lock src/lib.rs \
    docs/guide.md docs/variants.md docs/flow.md docs/observability.md docs/benchmarks.md docs/proof.md docs/parity.md docs/mutations.md; do
    grep -qx "$file" "$scratch/list" || { echo "the package lacks $file" >&2; missing=1; }
done
# Cargo adds the last three itself.
if grep -vE '^(src|docs)/|^examples/[a-z_]+\.rs$|^[A-Z]+\.md$|^LICENSE-[A-Z]+$|^Cargo\.(toml|toml\.orig|lock)$|^\.cargo_vcs_info\.json$' \
    "$scratch/list" >&2; then
    echo "does not belong in the package" >&2
    missing=1
fi
[ "$missing" = 0 ]

package --no-verify --target-dir "$scratch/target"
tar -xzf "$scratch"/target/package/formicary-*.crate -C "$scratch"
folder=$(echo "$scratch"/formicary-*/)
bash ci/links.sh "$folder"
# As a user's build does, whose lock file is another.
for features in --no-default-features --all-features; do
    cargo check --quiet --offline --manifest-path "$folder/Cargo.toml" --target-dir "$scratch/target" "$features"
done
du -k "$scratch"/target/package/*.crate | awk -v files="$(wc -l <"$scratch/list")" '{ print files " files, " $1 " KiB packed" }'
