#!/usr/bin/env bash
# Builds the image twice from nothing, in folders of other names and with target folders of their own, and compares
# every byte: what a release holds can be made again from its sources by anyone with the same compilers.
#
#   image/reproducible.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for copy in one another/and-longer; do
	mkdir -p "$work/$copy"
	# As in .dockerignore.
	cp -R Cargo.toml Cargo.lock LICENSE Dockerfile image src "$work/$copy/"
	CARGO_TARGET_DIR=$work/target-of-$(basename "$copy") "$work/$copy/image/archive.sh" "$work/$(basename "$copy").tar"
	rm -rf "$work/target-of-$(basename "$copy")"
done
cmp "$work/one.tar" "$work/and-longer.tar" || {
	echo "reproducible.sh: the two images differ: something of the folder or the time got into one of them" >&2
	exit 1
}
echo "Built twice, in two places: $(sha256sum <"$work/one.tar" | cut -d ' ' -f 1)"
