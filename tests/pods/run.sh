#!/usr/bin/env bash
# Runs the tests in real Pods and ends with the figures that they print.
#
# It needs root on Linux, since containers do; elsewhere it says so and is left out. With INSTALL=1 it gets what is
# missing from the packages of Debian or Ubuntu.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# What an earlier run counted says nothing of this one.
rm -f .cache/tests/pods
if [ "$(uname -s)" != Linux ] || [ "$(id -u)" -ne 0 ]; then
	echo "test-pods: left out: real Pods need root on Linux, and this is $(id -un) on $(uname -s)"
	exit 0
fi
if ! unshare --mount --net --pid --fork --mount-proc true 2>/dev/null || ! [ -w /sys/fs/cgroup ]; then
	echo "test-pods: left out: real Pods need a root that may make namespaces and control groups, as in a container that is privileged"
	exit 0
fi

[ -z "${KUBERNETES:-}" ] || { echo "test-pods: the kubelet is there in the newest version alone: leave KUBERNETES away" >&2 && exit 1; }

# The packages whose programs are not there; another containerd than Debian's does as well.
missing() {
	local list=()
	command -v containerd >/dev/null && command -v ctr >/dev/null || list+=(containerd)
	command -v runc >/dev/null || list+=(runc)
	[ -x /usr/lib/cni/bridge ] && [ -x /usr/lib/cni/host-local ] || list+=(containernetworking-plugins)
	command -v ip >/dev/null || list+=(iproute2)
	command -v iptables >/dev/null || list+=(iptables)
	echo "${list[*]}"
}
if [ -n "$(missing)" ] && [ -n "${INSTALL:-}" ] && command -v apt-get >/dev/null; then
	echo "==> Installing $(missing)"
	export DEBIAN_FRONTEND=noninteractive
	# Unquoted on purpose: these are words.
	{ apt-get update && apt-get install --yes --no-install-recommends $(missing); } >/dev/null
fi
if [ -n "$(missing)" ]; then
	echo "test-pods: missing: $(missing); on Debian and Ubuntu: apt-get install --no-install-recommends $(missing)" >&2
	exit 1
fi

# Inside there is no network: everything is built here.
tests/controlplane/build.sh
tests/controlplane/build.sh tests/controlplane kubelet kube-scheduler
tests/controlplane/build.sh tests/helm
image/archive.sh .cache/image/squadcast-operator.tar
cargo build --quiet --locked --bins
cargo test --quiet --locked --test pods --no-run
tests/level.sh pods
echo "==> Figures"
sed -n 's/^pods: /  /p' .cache/tests/pods.log
# Seen from outside: what was started in there goes with its namespaces, and its control groups after it.
processes=$(grep -lsz '^SQUADCAST_TEST_CGROUP=' /proc/[0-9]*/environ | wc -l) || true
groups=$(find /sys/fs/cgroup -maxdepth 2 -name 'squadcast-pods-*' | wc -l)
echo "  left behind: $processes processes, $groups control groups"
