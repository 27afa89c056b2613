#!/usr/bin/env bash
# Every relative link in the Markdown files points at a file, and every `#anchor` at a heading. `ci/links.sh FOLDER` checks what is in
# FOLDER, which need be no git checkout. Text that rustdoc includes must have no relative link: rustdoc has no such file.
set -euo pipefail
cd "$(dirname "$0")/.."
python3 - "$@" <<'PY'
import re, subprocess, sys
from pathlib import Path

root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
if len(sys.argv) > 1:
    files = {path for path in root.rglob("*") if path.is_file()}
else:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=True)
    files = {root / name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file()}
folders = {parent for path in files for parent in path.parents}

LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|^\[[^\]]+\]:\s*(\S+)", re.M)

def prose(text):
    """The text without code: what is in it is no link."""
    text = re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.M | re.S)
    return re.sub(r"(`+)(?:(?!\1).)+?\1", "", text)

def anchors(path):
    """As GitHub makes them: lower case, no punctuation, hyphens for spaces, and numbers for what occurs again."""
    seen = {}
    text = re.sub(r"^(```+|~~~+).*?^\1", "", path.read_text(), flags=re.M | re.S)
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, re.M):
        heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        seen[name] = seen.get(name, -1) + 1
        yield name if seen[name] == 0 else f"{name}-{seen[name]}"

faults, count = [], 0
for file in sorted(path for path in files if path.suffix == ".md"):
    for link in (a or b for a, b in LINK.findall(prose(file.read_text()))):
        if re.match(r"[a-z][a-z+.-]*:", link):
            continue
        count += 1
        name, _, anchor = link.partition("#")
        target = (file.parent / name).resolve() if name else file
        if target not in files and target not in folders:
            faults.append(f"{file.relative_to(root)}: {link}: no such file")
        elif anchor and target.suffix == ".md" and anchor not in anchors(target):
            faults.append(f"{file.relative_to(root)}: {link}: no such heading")
for source in sorted(path for path in files if path.suffix == ".rs" and root / "src" in path.parents):
    for test_only, name in re.findall(r"(cfg\(doctest\)\]\s*)?#\[doc = include_str!\(\"([^\"]+\.md)\"\)", source.read_text()):
        included = (source.parent / name).resolve()
        for link in (a or b for a, b in LINK.findall(prose(included.read_text()))):
            if not test_only and re.search(r"\.md\b|/", link) and not re.match(r"[a-z]+:", link):
                faults.append(f"{included.relative_to(root)}: {link}: rustdoc includes this page and has no such file")
print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr)
print(f"{count} relative links")
sys.exit(bool(faults))
PY
