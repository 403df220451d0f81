#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a number of cases: RUNS for answers, a tenth for the others (a template is
# slow). The first build takes about 4 minutes on 2 cores. What is found is kept in .cache/fuzz/<target>; a case that
# fails is written to fuzz/regressions/<target>, which every run goes through first.
#
#   RUNS=10000000 fuzz/run.sh [target…]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
runs=${RUNS:-10000000}
targets=${*:-answer values template objects}
cache=$(cd .. && mkdir -p .cache/fuzz && cd .cache/fuzz && pwd)

# What cargo-fuzz sets, without a sanitizer: safe Rust needs none, and the stable toolchain has it.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
	-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
host=$(rustc -vV | sed -n 's/^host: //p')
echo "==> Building the fuzz targets (the first time about 4 minutes on 2 cores)"
# With --target, build scripts and macros go without the counters.
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS=$flags \
	cargo build --quiet --release --locked --target "$host" --target-dir "$cache/target"

summary=
for target in $targets; do
	cases=$runs
	[ "$target" = answer ] || cases=$((runs / 10))
	mkdir -p "$cache/$target" "regressions/$target"
	echo "==> $target: $cases cases"
	log=$cache/$target.log
	if ! "$cache/target/$host/release/$target" "$cache/$target" "regressions/$target" "seeds/$target" \
		-runs="$cases" -max_len=4096 -timeout=5 -rss_limit_mb=512 -print_final_stats=1 \
		-artifact_prefix="regressions/$target/" -dict="$target.dict" >"$log" 2>&1; then
		tail -n 40 "$log" >&2
		echo "fuzz: $target found something; the case is in fuzz/regressions/$target: mend it and keep the case" >&2
		exit 1
	fi
	stat() { sed -n "s/^stat::$1: *//p" "$log"; }
	executed=$(stat number_of_executed_units)
	if [ "${executed:-0}" -lt "$cases" ]; then
		echo "fuzz: $target ended after ${executed:-0} of $cases cases; its output is in $log" >&2
		exit 1
	fi
	summary+="$(printf '%-9s %9s cases, %4s MB at most, 0 panics' "$target" \
		"$executed" "$(stat peak_rss_mb)")"$'\n'
done
printf '%s' "$summary"
