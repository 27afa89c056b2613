#!/usr/bin/env bash
# The folders of src/ are layers: a file uses its own and those below. Prints each use that points up, and fails if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."
# The lowest first. Code that is only compiled for tests is left out: the models of one layer use others.
export LAYERS="sync error cancel semaphore queue task engine pool combinators observe flow"
find src -mindepth 2 -name '*.rs' ! -name 'models.rs' ! -path '*/models/*' ! -name 'tests.rs' -print0 | sort -z | xargs -0 awk '
    BEGIN { n = split(ENVIRON["LAYERS"], names, " "); for (i = 1; i <= n; i++) level[names[i]] = i }
    FNR == 1 { split(FILENAME, path, "/"); mine = level[path[2]]; if (!mine) { print FILENAME ": in no layer"; bad = 1 } }
    { sub(/\/\/.*/, "") }
    {
        rest = $0
        while (match(rest, /crate::[a-z_]+/)) {
            used = substr(rest, RSTART + 7, RLENGTH - 7)
            rest = substr(rest, RSTART + RLENGTH)
            if (level[used] > mine) { print FILENAME ":" FNR ": uses " used " above it"; bad = 1 }
        }
        if (/crate::\{/) { print FILENAME ":" FNR ": names the crate in braces, which this check cannot read"; bad = 1 }
    }
    END { exit bad }'
