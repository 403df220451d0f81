#!/usr/bin/env bash
# Runs a command where it may do as the only one on a machine: with mounts, network and processes of its own.
#
#   tests/pods/enter.sh COMMAND [ARGUMENT]…
#
# When the command ends, or this script, in whatever way, everything that was started goes with it: the kernel ends
# the processes of a PID namespace with its first one, and takes mounts and network devices away with their last user.
# Files written to /run, /var/lib and /var/log are in memory and go too. The control group that the command may use,
# named by SQUADCAST_TEST_CGROUP, is removed by a process that waits outside until all others have ended.
set -euo pipefail

# Within that of another run, where this one is part of it.
export SQUADCAST_TEST_CGROUP=${SQUADCAST_TEST_CGROUP:-}/squadcast-pods-$$

# The folders of that group: one in each hierarchy of cgroup v1, one alone in v2.
folders() {
	local mount=/sys/fs/cgroup
	if [ -f $mount/cgroup.controllers ]; then
		echo "$mount$SQUADCAST_TEST_CGROUP"
	else
		for mount in "$mount"/*; do echo "$mount$SQUADCAST_TEST_CGROUP"; done
	fi
}
cleanup() {
	local try folder left
	for try in $(seq 100); do
		left=
		for folder in $(folders); do
			# From the leaves on; only what has no process any more can go.
			find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true
			[ ! -d "$folder" ] || left=$folder
		done
		[ -n "$left" ] || return 0
		sleep 0.1
	done
	echo "enter.sh: $left could not be removed" >&2
}

# Everything started from here on holds the write end of this pipe, so the reader sees when the last one is gone.
exec 9> >(trap '' HUP INT TERM && cat >/dev/null && cleanup)
watcher=$!
for folder in $(folders); do mkdir -p "$folder"; done

inside() {
	for folder in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs $folder; done
	mkdir -m 1777 /run/tmp
	ip link set lo up
	# The address of the API server within the cluster, without a proxy for services.
	ip addr add 10.96.0.1/32 dev lo
	echo 1 >/proc/sys/net/ipv4/ip_forward
	export TMPDIR=/run/tmp
	"$@"
}
export -f inside

code=0
setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child=KILL --mount-proc \
	bash -c 'set -euo pipefail; inside "$@"' inside "$@" </dev/null || code=$?
exec 9>&-
wait "$watcher" || true
exit "$code"
