#!/usr/bin/env bash
# Runs one level of the tests and notes how many of them passed.
#
#   tests/level.sh pure      unit, property and documentation tests, and every file of tests/ that is not below
#   tests/level.sh wire      tests/wire*: the exchange over HTTPS with a stand-in for Squadcast
#   tests/level.sh cluster   tests/cluster*, a short chaos and the support's own tests: the built binary on a real control plane
#   tests/level.sh pods      tests/pods: the image in real Pods, in namespaces of its own; tests/pods/run.sh prepares it
#   tests/level.sh summary   one line with the counts of the last runs
#
# KUBERNETES names another version of the control plane, as tests/controlplane/build.sh knows it. A level fails
# when one of its tests fails or is ignored, and when it has none.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
counts=.cache/tests
mkdir -p "$counts"

die() {
	echo "level.sh: $*" >&2
	exit 1
}

# The names of cargo's test targets.
targets() {
	local path
	for path in tests/*.rs tests/*/main.rs; do
		[ -e "$path" ] || continue
		path=${path#tests/}
		path=${path%/main.rs}
		echo "${path%.rs}"
	done
}

level_of() {
	case $1 in
	wire | wire_*) echo wire ;;
	cluster | cluster_* | chaos | support_selftest) echo cluster ;;
	pods) echo pods ;;
	*) echo pure ;;
	esac
}

# The sum over cargo's result lines of the number before a word.
sum() {
	sed -n "s/^test result:.* \([0-9][0-9]*\) $1;.*/\1/p" "$counts/$level.log" | awk '{ sum += $1 } END { print sum + 0 }'
}

level=${1:-}
case $level in
pure) commands=("cargo test --no-fail-fast --lib --bins" "cargo test --no-fail-fast --doc") ;;
wire | cluster) commands=("cargo test --no-fail-fast") ;;
pods) commands=("tests/pods/enter.sh cargo test --offline --no-fail-fast") ;;
summary)
	for one in pure wire cluster; do
		[ -f "$counts/$one" ] || die "the level $one has not passed; run tests/level.sh $one"
	done
	# Those in Pods need root on Linux, and are no part of make test.
	pods="those in real Pods left out (make test-pods)"
	[ ! -f "$counts/pods" ] || pods="$(cat "$counts/pods") more in real Pods by make test-pods before"
	echo "$(cat "$counts/pure") pure, $(cat "$counts/wire") wire and $(cat "$counts/cluster") cluster tests passed, none ignored, $pods"
	exit 0
	;;
*) die "usage: tests/level.sh pure|wire|cluster|pods|summary" ;;
esac
for target in $(targets); do
	[ "$(level_of "$target")" = "$level" ] && commands[0]+=" --test $target"
done
case $level in
wire | cluster | pods) [[ ${commands[0]} == *--test* ]] || die "there is no test of the level $level" ;;
esac

# One after the other, and all that they say: the commands, times and sizes are what one wants to see.
[ "$level" = pods ] && commands[0]+=" -- --nocapture --test-threads=1"
# A cluster test mostly waits, for a second's granularity of timestamps or for a back-off.
[ "$level" = cluster ] && export RUST_TEST_THREADS=${RUST_TEST_THREADS:-8}
if [ -n "${KUBERNETES:-}" ]; then
	SQUADCAST_TEST_BIN=$(tests/controlplane/build.sh | tail -n 1 | sed 's/.* in //')
	export SQUADCAST_TEST_BIN
fi
rm -f "$counts/$level" "$counts/$level.log"
for command in "${commands[@]}"; do
	# Unquoted on purpose: the words of a command line without special characters.
	$command 2>&1 | tee -a "$counts/$level.log" || die "the level $level failed; its output is in $counts/$level.log"
done
[ "$(sum ignored)" -eq 0 ] || die "$(sum ignored) tests of the level $level are ignored; a test that cannot run has to fail"
[ "$(sum passed)" -gt 0 ] || die "the level $level has no test"
sum passed >"$counts/$level"
