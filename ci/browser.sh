#!/usr/bin/env bash
# The web page of formicary-top in a headless browser. Needs chromium and its driver, installs them if it may, and is skipped without them.
# browser.sh FILE.png also makes the picture of the documentation.
set -euo pipefail
cd "$(dirname "$0")/.."
bash ci/need.sh chromium chromium || exit 0
bash ci/need.sh chromedriver chromium-driver || exit 0
[ $# = 0 ] || { FORMICARY_TOP_PICTURE=$(realpath "$1"); export FORMICARY_TOP_PICTURE; }
cargo test --locked -p formicary-top --test browser --no-run
timeout 300 cargo test --locked -p formicary-top --test browser -- --ignored
