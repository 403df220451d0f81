# The image: one static program on nothing. For several architectures at once:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=… --build-arg REVISION=… .
#
# Static with musl, on scratch: there is no shell, no package and no library to keep up to date, and image/archive.sh
# makes the same without a container engine. Public certificate authorities are compiled in.

# The bill of materials is that of Cargo.lock: a scanner sees nothing in a static program.
ARG BUILDKIT_SBOM_SCAN_CONTEXT=true

# Everything is built on the machine's own architecture: Rust and clang compile for the other.
FROM --platform=$BUILDPLATFORM rust:1.95-slim-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends clang && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
ARG TARGETARCH
ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target,id=target-$TARGETARCH \
    REVISION="$REVISION" image/rootfs.sh /rootfs "$TARGETARCH" && \
    find /rootfs -exec touch --date "@$SOURCE_DATE_EPOCH" {} +

FROM scratch
COPY --from=build /rootfs/ /
# Without more arguments it is that of Cargo.toml, from anywhere.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="squadcast-operator" \
      org.opencontainers.image.description="Keeps valid Squadcast access tokens in Kubernetes Secrets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.source="https://github.com/squadcast-operator/squadcast-operator" \
      org.opencontainers.image.revision="$REVISION"
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/squadcast-operator"]
