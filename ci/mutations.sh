#!/usr/bin/env bash
# Reintroduces failures of docs/parity.md, one after the other, and checks that the tests of the row notice. With arguments: only patches
# whose names contain one of them.
#
# A patch in ci/mutations/ begins with the row and a sentence on what it breaks. One or more lines `test: FILE FILTER` follow: of the tests in
# FILE.rs (in tests/suite, tests/flow, tests/heap or tests) with FILTER in their names at least one must fail, crash or hang. Without a patch all of them
# must pass.
#
# The script works on a copy of the tree below target/. The build there is kept for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
limit=${FORMICARY_MUTATION_LIMIT:-30} # seconds; tests that take longer hang
work=target/mutations
tree=$work/tree
runs=$work/runs
export CARGO_PROFILE_DEV_DEBUG=0

rm -rf "$tree" "$runs"
mkdir -p "$tree" "$runs"
git ls-files -z | xargs -0 cp --parents -t "$tree"
# These tests do not need them, and they take longer to build than everything else.
sed -i '/^\[dev-dependencies\]$/,/^$/d' "$tree/Cargo.toml"

patches=()
for patch in ci/mutations/*.patch; do
    for name in "${@:-}"; do
        if [[ $patch == *"$name"* ]]; then
            patches+=("$patch")
            break
        fi
    done
done
[ ${#patches[@]} -gt 0 ] || { echo "no patch has such a name" >&2; exit 1; }

# Prints the `test:` lines of these patches: a file and a filter in each line.
tests_of() {
    sed -n '/^---/q; s/^test: //p' "$@"
}

# The program of a test file: those of a folder are modules.
program_of() {
    for suite in suite flow heap; do
        if [ -e "tests/$suite/$1.rs" ]; then echo "$suite"; return; fi
    done
    echo "$1"
}

# Builds test files. Prints a line for each program: its name and the path of the executable. A folder's program is built without its other modules.
build() {
    local file program names=()
    for program in suite flow heap; do
        sed -E "/^mod (support|$(IFS='|'; echo "$*"));$/! { /^mod /d }" "tests/$program/main.rs" >"$tree/tests/$program/main.rs"
    done
    for file in "$@"; do names+=("$(program_of "$file")"); done
    mapfile -t names < <(printf -- '--test\n%s\n' "${names[@]}" | paste - - | sort -u | tr '\t' '\n')
    CARGO_TARGET_DIR=$work/build cargo test --no-run --manifest-path "$tree/Cargo.toml" "${names[@]}" 2>&1 |
        tee "$runs/build.log" | sed -n 's|^ *Executable tests/\([a-z_]*\)\(/main\)\{0,1\}\.rs (\(.*\))$|\1 \3|p'
}

# Runs the tests of a file that match a filter. Writes the result, the tests that noticed and the seconds to OUT.end.
run() {
    local out=$1 program=$2 file=$3 filter=$4 start=$SECONDS rc=0 how who more names
    [ "$(program_of "$file")" = "$file" ] && file= || file+=::
    echo "is not known||" >"$out.end"
    "$program" --list 2>/dev/null | sed -n "s/^\($file[^:]*$filter.*\): test$/\1/p" >"$out.names"
    mapfile -t names <"$out.names"
    timeout "$limit" "$program" --exact "${names[@]:-no such test}" >"$out.log" 2>&1 || rc=$?
    sed -n 's/^test \(.*\) \.\.\. ok$/\1/p' "$out.log" >"$out.passed"
    case $rc in
        0) how=passes ;;
        101) how=fails ;;
        124) how=hangs ;;
        *) how=dies ;;
    esac
    [ -s "$out.names" ] || how="no such test"
    # Those that failed, or, in a hang, all that had not passed: any of them may be the one that hangs.
    grep -vxFf "$out.passed" "$out.names" >"$out.seen" || true
    who=$(head -1 "$out.seen")
    more=$(($(wc -l <"$out.seen") - 1))
    [ "$more" -le 0 ] || who+=", $more more"
    echo "$how|$who|$((SECONDS - start))" >"$out.end"
}

# Without a mutation all of them must pass.
mapfile -t all < <(tests_of "${patches[@]}" | sort -u)
declare -A control
mapfile -t files < <(printf '%s\n' "${all[@]}" | cut -d' ' -f1 | sort -u)
while read -r name program; do
    control[$name]=$program
done < <(build "${files[@]}")
for test in "${all[@]}"; do
    read -r file filter <<<"$test"
    program=${control[$(program_of "$file")]-}
    [ -n "$program" ] || { cat "$runs/build.log" >&2; exit 1; }
    run "$runs/control" "$program" "$file" "$filter"
    IFS='|' read -r how who _ <"$runs/control.end"
    if [ "$how" != passes ]; then
        cat "$runs/control.log" >&2
        echo "without a mutation: tests/$file.rs, $filter: $how $who" >&2
        exit 1
    fi
done
echo "without a mutation the tests pass ($SECONDS s)"

# The tests of one mutation run while the next one is built.
faults=0
fault() {
    echo "$1: $2" >&2
    faults=$((faults + 1))
}
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    git apply --directory="$tree" "$patch" || { fault "$name" "does not apply: the code has changed, so make the patch anew"; continue; }
    mapfile -t tests < <(tests_of "$patch")
    mapfile -t files < <(printf '%s\n' "${tests[@]}" | cut -d' ' -f1 | sort -u)
    built=$(build "${files[@]}") || true
    git apply -R --directory="$tree" "$patch"
    number=0
    for test in "${tests[@]}"; do
        read -r file filter <<<"$test"
        program=$(sed -n "s/^$(program_of "$file") //p" <<<"$built")
        [ -n "$program" ] || { cat "$runs/build.log" >&2; fault "$name" "does not compile"; break; }
        number=$((number + 1))
        # A copy, since the next build overwrites the executable. Most of those that run at the same time hang, so they need no processor.
        cp "$program" "$runs/$name.$number"
        while [ "$(jobs -rp | wc -l)" -ge 8 ]; do wait -n || true; done
        run "$runs/$name.$number.run" "$runs/$name.$number" "$file" "$filter" &
    done
done
wait

printf '\n%-4s %-52s %-7s %-62s %s\n' row mutation is\ seen by seconds
for patch in "${patches[@]}"; do
    name=$(basename "$patch" .patch)
    for end in "$runs/$name".*.end; do
        [ -e "$end" ] || continue
        IFS='|' read -r how who seconds <"$end"
        row=${name%%_*}
        printf '%-4s %-52s %-7s %-62s %s\n' "${row^^}" "${name#*_}" "$how" "$who" "$seconds"
        case $how in
            fails | hangs | dies) ;;
            *) fault "$name" "no test notices ($how)" ;;
        esac
    done
done
echo "${#patches[@]} mutations, $faults not noticed; $SECONDS s"
exit $((faults > 0))
