#!/usr/bin/env bash
# Runs the tests of tests/chaos one module after the other and ends with the lines that they print.
#
# KILLS, RESOURCES, WAVES and OUTAGE (seconds) say for how long they go on; SEED repeats a run of kills at random.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p .cache/tests
log=.cache/tests/chaos.log
: >"$log"
for module in every_step kills outages leaders away waves; do
	echo "==> $module"
	cargo test --quiet --test chaos "$module::" -- --nocapture 2>&1 | tee -a "$log" || {
		echo "chaos.sh: $module failed; its output is in $log" >&2
		exit 1
	}
done
echo "==> Figures"
grep -hE "requests a minute|hand-over after|never two leaders|the storm made|Squadcast away|the window of|^waves:" "$log"
grep -hE "^(every step|random): kills" "$log"
