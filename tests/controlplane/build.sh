#!/usr/bin/env bash
# Builds the programs that the tests run as real processes, from a Go module that names them as tools.
#
#   tests/controlplane/build.sh                   etcd, kube-apiserver, kube-controller-manager, kubectl
#   tests/controlplane/build.sh tests/helm        the tools of another module, in the same way: helm, prometheus
#   tests/controlplane/build.sh tests/controlplane kubelet kube-scheduler
#                                                 these tools of a module alone
#
# KUBERNETES=1.32 names another version of the control plane: that of the module tests/controlplane-1.32. The result is
# in .cache/<name of the module's folder>/bin, or in .cache/<the first tool>/bin where tools are named; tools whose line
# in go.mod has a comment are built only then. The last line says where. A run with nothing to do ends at once.
# If KUBEBUILDER_ASSETS names a folder, etcd, kube-apiserver and kubectl are taken from there, and only
# what it lacks is built.
set -euo pipefail

die() {
	echo "build.sh: $*" >&2
	exit 1
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
script=$root/tests/controlplane/build.sh
newest=$root/tests/controlplane
folder=${1:-$newest}
if [ $# -eq 0 ] && [ -n "${KUBERNETES:-}" ] && ! grep -q "k8s.io/kubernetes v$KUBERNETES\." "$newest/go.mod"; then
	folder=$newest-$KUBERNETES
	[ -d "$folder" ] || die "Kubernetes $KUBERNETES is not among the versions to test with: $(sed -n 's/^\trequire //; s/.*k8s.io\/kubernetes v\([0-9]*\.[0-9]*\).*/\1/p' "$newest"*/go.mod | sort -V | paste -sd ' ')"
fi
module=$(cd "$folder" 2>/dev/null && pwd) || die "there is no folder $folder"
[ -f "$module/go.mod" ] || die "$module has no go.mod"
shift $(($# > 0))

name=${1:-$(basename "$module")}
out=$root/.cache/$name
bin=$out/bin
assets=${KUBEBUILDER_ASSETS:-}
# A version that is asked for by its name is not what happens to be there.
[ -z "${KUBERNETES:-}" ] || assets=
if [ -n "$assets" ]; then
	assets=$(cd "$assets" 2>/dev/null && pwd) || die "KUBEBUILDER_ASSETS names $KUBEBUILDER_ASSETS, which is no folder"
fi

command -v go >/dev/null 2>&1 || die "go is missing; install Go $(sed -n 's/^go //p' "$module/go.mod") or newer, from your system's packages or the Go project, and put it on the PATH"
# The machine's own Go and nothing that a workspace or a setting of the user could change.
export GOTOOLCHAIN=local CGO_ENABLED=0 GOWORK=off GOFLAGS=-buildvcs=false

# The version that go.mod requires of a module; empty where it requires none.
required() {
	awk -v want="$1" '$1 == "require" { $1 = ""; $0 = $0; $1 = $1 } $1 == want { print $2; exit }' "$module/go.mod"
}

# The tools that go.mod names, as package paths: those that are asked for, or those without a comment.
named=" $* "
tools() {
	local tool comment
	awk '$1 == "tool" && $2 == "(" { inside = 1; next } inside && $1 == ")" { exit } inside { print $1, $2 } $1 == "tool" && $2 != "(" { print $2, $3 }' "$module/go.mod" |
		while read -r tool comment; do
			if [ "$named" = "  " ]; then [ -z "$comment" ]; else [[ $named == *" $(program "$tool") "* ]]; fi && echo "$tool" || true
		done
}

# What a tool's program is called: its last path element, but etcd's package is called "server".
program() {
	case $1 in
	go.etcd.io/etcd/server/v3) echo etcd ;;
	*) basename "$1" ;;
	esac
}

checksum() {
	if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

wanted=$({
	cat "$module/go.mod" "$module/go.sum" "$script"
	find "$module" -name '*.go' -exec cat {} +
	go version
	echo "assets=$assets tools=$named"
} | checksum)

complete() {
	local tool
	for tool in $(tools); do
		[ -x "$bin/$(program "$tool")" ] || return 1
	done
	[ -z "$etcd" ] || [ -x "$bin/etcd" ]
}

# Older control planes come without a store, since the newest serves them all.
etcd=
if [[ $name == controlplane-* ]]; then
	etcd=$root/.cache/etcd/bin/etcd
	"$root/tests/controlplane/build.sh" "$newest" etcd
fi

if [ "$(cat "$out/stamp" 2>/dev/null || true)" = "$wanted" ] && complete; then
	echo "$name: up to date in $bin"
	exit 0
fi

mkdir -p "$out"
new=$(mktemp -d "$out/new.XXXXXX")
trap 'rm -rf "$new"' EXIT

[ -z "$etcd" ] || ln -s "$etcd" "$new/etcd"
build=()
for tool in $(tools); do
	program=$(program "$tool")
	case $program in
	etcd | kube-apiserver | kubectl)
		if [ -n "$assets" ] && [ -x "$assets/$program" ]; then
			echo "$name: $program from $assets"
			ln -s "$assets/$program" "$new/$program"
			continue
		fi
		;;
	esac
	build+=("$tool")
done

# Without these a server says that it is version 0.0, and kubectl and helm believe it.
flags="-s -w"
kubernetes=$(required k8s.io/kubernetes)
if [ -n "$kubernetes" ]; then
	IFS=. read -r major minor _ <<<"${kubernetes#v}"
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=$major -X $package.gitMinor=$minor -X $package.gitTreeState=clean"
	done
fi
helm=$(required helm.sh/helm/v4)
if [ -n "$helm" ]; then
	flags+=" -X helm.sh/helm/v4/internal/version.version=$helm"
fi
# Prometheus finds what the tests scrape in its configuration: discovery in two dozen clouds would be most of its code.
tags=""
[ -n "$(required github.com/prometheus/prometheus)" ] && tags=remove_all_sd

if [ ${#build[@]} -gt 0 ]; then
	took="some minutes"
	case $name in
	controlplane*) took="about 5 minutes" ;;
	kubelet) took="2 to 3 minutes" ;;
	helm) took="2 to 3 minutes" ;;
	prometheus) took="2 to 3 minutes" ;;
	esac
	echo "$name: building ${#build[@]} programs with $(go version | cut -d ' ' -f 3): $took the first time on 2 cores, seconds to a minute after that"
	started=$SECONDS
	mkdir "$new/built"
	(cd "$module" && go build -trimpath -tags "$tags" -ldflags "$flags" -o "$new/built/" "${build[@]}") || die "go build failed in $module"
	for tool in "${build[@]}"; do
		# go names a program after the last path element that is no major version: "server" for etcd.
		element=$tool
		[[ $(basename "$element") =~ ^v[0-9]+$ ]] && element=$(dirname "$element")
		mv "$new/built/$(basename "$element")" "$new/$(program "$tool")"
	done
	rmdir "$new/built"
	echo "$name: built in $((SECONDS - started)) s"
fi

# Nobody sees half a folder: the old one goes and the new one comes by renames.
rm -f "$out/stamp"
old=$out/old.$$
if [ -e "$bin" ]; then mv "$bin" "$old"; fi
chmod 755 "$new"
mv "$new" "$bin"
rm -rf "$old"
echo "$wanted" >"$out/stamp"
echo "$name: ready in $bin"
