#!/usr/bin/env bash
# What a release is made of, besides the image; .github/workflows/release.yml calls it.
#
#   deploy/release.sh check TAG                     says whether this commit can be released as TAG: version=…
#   deploy/release.sh files IMAGE DIGEST FOLDER     writes chart, install.yaml and notes.md, which name the image by its digest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
	echo "release.sh: $*" >&2
	exit 1
}

# Cargo.toml has the version; tests compare the chart's and the manifest's with it.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
notes() {
	awk -v want="## [$version]" '/^## / { inside = index($0, want) == 1; next } inside' CHANGELOG.md
}

case ${1:-} in
check)
	[ "${2:-}" = "v$version" ] || die "the tag is ${2:-missing}, but Cargo.toml says $version: tag the commit v$version, or change the version there, in Chart.yaml and with make manifest"
	[ -n "$(notes)" ] || die "CHANGELOG.md has no section [$version]: say there what changed"
	echo "version=$version"
	;;
files)
	image=${2:?an image without a tag} digest=${3:?its digest} out=${4:?a folder}
	[[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || die "$digest is no digest, such as sha256:… with 64 digits"
	mkdir -p "$out"
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cp -R charts/squadcast-operator "$work/"
	chart=$work/squadcast-operator
	sed -i "s|^  repository: .*|  repository: $image|" "$chart/values.yaml"
	# Not in the values: who names a tag there wants that one.
	sed -i "s|^annotations:$|&\n  credentials.squadcast.com/image-digest: $digest|" "$chart/Chart.yaml"
	# Who reads it in a registry has no folder charts.
	sed -i "s#charts/squadcast-operator --namespace#oci://${image%/*}/charts/squadcast-operator --version $version --namespace#; s#\"ghcr.io/squadcast-operator/squadcast-operator\"#\"$image\"#" "$chart/README.md"
	grep -q "^  repository: $image$" "$chart/values.yaml" && grep -q " $digest$" "$chart/Chart.yaml" || die "values.yaml or Chart.yaml has no place for the image any more"
	grep -q "oci://${image%/*}/charts/squadcast-operator" "$chart/README.md" || die "the chart's README.md has no line with helm install any more"
	.cache/helm/bin/helm package "$work/squadcast-operator" --destination "$out"
	deploy/generate.sh .cache/helm/bin/helm "$work/squadcast-operator" >"$out/install.yaml"
	notes >"$out/notes.md"
	;;
*) die "usage: release.sh check TAG | files IMAGE DIGEST FOLDER" ;;
esac
