#!/usr/bin/env bash
# Builds the root file system of the image: one static program and the licences of what is in it.
#
#   image/rootfs.sh FOLDER [amd64|arm64]
#
# The Dockerfile calls it, and image/archive.sh where there is no container engine. It needs the Rust target
# for musl (rustup target add x86_64-unknown-linux-musl); for another architecture than this machine's clang as well.
# PROFILE names another profile of cargo than release, REVISION what the program says it was built from.
set -euo pipefail

die() {
	echo "rootfs.sh: $*" >&2
	exit 1
}

out=${1:?usage: image/rootfs.sh FOLDER [amd64|arm64]}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case $(uname -m) in
x86_64) here=amd64 ;;
aarch64 | arm64) here=arm64 ;;
*) here=$(uname -m) ;;
esac
arch=${2:-$here}
case $arch in
amd64) target=x86_64-unknown-linux-musl ;;
arm64) target=aarch64-unknown-linux-musl ;;
*) die "there is no image for $arch: amd64 or arm64" ;;
esac
profile=${PROFILE:-release}

sysroot=$(rustc --print sysroot)
if [ ! -d "$sysroot/lib/rustlib/$target/lib" ]; then
	rustup target add "$target" || die "Rust's target $target is missing: rustup target add $target"
fi

# A test that calls this runs under cargo, whose variables would make it build anew what is there.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_MANIFEST_DIR CARGO_MANIFEST_PATH CARGO_PRIMARY_PACKAGE "${!CARGO_PKG_@}"
# The linker that comes with Rust: the same for each architecture, and none of the machine's libraries get in.
variable=${target//-/_}
upper=${variable^^}
export "CARGO_TARGET_${upper}_LINKER=rust-lld"
# Nothing of the machine or the folder that it was built in is part of the program.
export "CARGO_TARGET_${upper}_RUSTFLAGS=-Clink-self-contained=yes --remap-path-prefix=$PWD=. --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
# ring is partly C, and needs no header of a C library.
if command -v clang >/dev/null 2>&1; then
	export "CC_$variable=clang" "CFLAGS_$variable=-nostdlibinc -DRING_CORE_NOSTDLIBINC=1"
elif [ "$arch" = "$here" ]; then
	export "CC_$variable=cc"
else
	die "clang is missing, which compiles for $arch"
fi
export SQUADCAST_OPERATOR_REVISION=${REVISION:-}

cargo build --locked --bin squadcast-operator --target "$target" --profile "$profile"
folder=${CARGO_TARGET_DIR:-target}/$target/$([ "$profile" = dev ] && echo debug || echo "$profile")
install -m 755 "$folder/squadcast-operator" "$out/squadcast-operator"

# The licences: the crate's own; and of each crate in the program those files that it brings, each text once.
mkdir -p "$out/licenses"
install -m 644 LICENSE "$out/licenses/squadcast-operator"
declare -A file_of users_of
order=()
list=
while read -r name version licence; do
	[ "$name" = squadcast-operator ] && continue
	crate="$name ${version#v}"
	list+="$crate $licence"$'\n'
	while read -r sum file; do
		if [ -z "${file_of[$sum]:-}" ]; then
			order+=("$sum")
			file_of[$sum]=$file
		fi
		users_of[$sum]+="${users_of[$sum]:+, }$crate"
	done < <(find "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"${crate/ /-}" -maxdepth 2 -type f \
		\( -iname 'LICEN[CS]E*' -o -iname 'COPYING*' -o -iname 'NOTICE*' \) -exec sha256sum {} + | LC_ALL=C sort -k 2)
done < <(cargo tree --locked --edges normal --target "$target" --prefix none --format '{p} ({l})' | sed 's/ (\*)$//' | LC_ALL=C sort -u)
{
	cat image/musl-license.txt
	printf '\nIt also holds these crates, under these licences:\n\n%s' "$list"
	for sum in "${order[@]}"; do
		printf '\n==== %s\n\n' "${users_of[$sum]}"
		cat "${file_of[$sum]}"
	done
} >"$out/licenses/third-party"
chmod 755 "$out" "$out/licenses"
chmod 644 "$out/licenses/third-party"
