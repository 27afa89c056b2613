#!/usr/bin/env bash
# Every row of docs/parity.md has a test with its id in the name, and no test has an id that is not a row. `--list` prints the tests of each.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 - "$@" <<'PY'
import re, sys
from pathlib import Path

text = Path("docs/parity.md").read_text()
listed, _, excused = text.partition("## Not in this crate")
row = re.compile(r"^\| ([ABD]\d\d) \|", re.M)
rows, excuses = row.findall(listed), row.findall(excused)

tests = {}
for file in sorted(file for folder in ("tests", "src", "examples") for file in Path(folder).glob("**/*.rs")):
    # The name of a test, or of the body of one that a macro runs for every variant.
    for name, id in re.findall(r"\bfn (([abd]\d\d)_\w+)", file.read_text()):
        tests.setdefault(id.upper(), []).append(f"{file}: {name}")

faults = []
faults += [f"{id} is listed twice" for id in {*rows, *excuses} if (rows + excuses).count(id) > 1]
faults += [f"{id} has no test" for id in rows if id not in tests]
faults += [f"{id} is in a test's name and not listed" for id in tests if id not in rows]
for letter, last in ("A", 45), ("B", 24), ("D", 28):
    known = {f"{letter}{n:02}" for n in range(1, last + 1)}
    faults += [f"{id} is missing from docs/parity.md" for id in sorted(known - {*rows, *excuses})]
if "--list" in sys.argv:
    for id in rows:
        print(id, *tests.get(id, []), sep="\n    ")
for fault in sorted(faults):
    print(fault, file=sys.stderr)
print(f"{len(rows)} rows, {sum(map(len, tests.values()))} tests; {len(excuses)} do not apply")
sys.exit(bool(faults))
PY
