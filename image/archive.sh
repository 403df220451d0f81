#!/usr/bin/env bash
# Builds the image without a container engine: the root file system of the Dockerfile, in the archive format that
# docker load, podman load and ctr images import read.
#
#   image/archive.sh ARCHIVE.tar [amd64|arm64]
#
# The same sources make the same bytes. PROFILE and REVISION are those of image/rootfs.sh.
set -euo pipefail

archive=${1:?usage: image/archive.sh ARCHIVE.tar [amd64|arm64]}
mkdir -p "$(dirname "$archive")"
archive=$(cd "$(dirname "$archive")" && pwd)/$(basename "$archive")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
arch=${2:-$(uname -m)}
case $arch in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# All times in it are this one: that of the last commit where it is given, as tools of the field do.
epoch=${SOURCE_DATE_EPOCH:-0}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root" "$work/image"
image/rootfs.sh "$work/root" "$arch"

pack() {
	tar --create --format=ustar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --directory "$1" --file "$2" "${@:3}"
}
digest() {
	sha256sum "$1" | cut -d ' ' -f 1
}
# The value of a label, of USER or of ENTRYPOINT in the Dockerfile, which says them once for both.
label() {
	sed -n "s/^.*$1=\"\([^\"]*\)\".*/\1/p" Dockerfile
}
instruction() {
	sed -n "s/^$1 //p" Dockerfile | tail -n 1
}

(cd "$work/root" && pack . "$work/image/layer.tar" -- *)
layer=$(digest "$work/image/layer.tar")
mv "$work/image/layer.tar" "$work/image/$layer.tar"
cat >"$work/config" <<END
{
  "architecture": "$arch",
  "os": "linux",
  "created": "$(date --utc --date "@$epoch" +%Y-%m-%dT%H:%M:%SZ)",
  "config": {
    "User": "$(instruction USER)",
    "Entrypoint": $(instruction ENTRYPOINT),
    "WorkingDir": "/",
    "ExposedPorts": {"$(instruction EXPOSE)/tcp": {}},
    "Labels": {
      "org.opencontainers.image.title": "$(label org.opencontainers.image.title)",
      "org.opencontainers.image.description": "$(label org.opencontainers.image.description)",
      "org.opencontainers.image.licenses": "$(label org.opencontainers.image.licenses)",
      "org.opencontainers.image.version": "$version",
      "org.opencontainers.image.revision": "${REVISION:-unknown}",
      "org.opencontainers.image.source": "$(label org.opencontainers.image.source)"
    }
  },
  "rootfs": {"type": "layers", "diff_ids": ["sha256:$layer"]},
  "history": [{"created_by": "image/archive.sh"}]
}
END
config=$(digest "$work/config")
mv "$work/config" "$work/image/$config.json"
echo "[{\"Config\":\"$config.json\",\"RepoTags\":[\"squadcast-operator:$version\"],\"Layers\":[\"$layer.tar\"]}]" >"$work/image/manifest.json"
chmod 644 "$work/image"/*
pack "$work/image" "$archive" -- manifest.json "$config.json" "$layer.tar"
echo "$archive: squadcast-operator:$version for linux/$arch, $(($(stat -c %s "$archive") / 1024)) KiB"
