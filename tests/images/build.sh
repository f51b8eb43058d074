#!/usr/bin/env bash
# Builds stand-ins for the official images that the platform, its generated Dockerfiles and the tests name,
# and pushes them to the local registry (tests/ground/registry.sh). Where Docker Hub answers, only the test apps are built.
# A stand-in keeps the contract of the image whose name it has; it is made of Debian, npm and Go packages.
# It carries this machine's CA bundle and package-client settings, so that a build in a container can fetch what the machine can.
# Nothing is rebuilt unless its inputs changed. Cold: a few minutes; warm: under 2 seconds.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/../ground/lib.sh"
# shellcheck source=tests/images/publish.sh
. "$here/publish.sh"

lock images
bookworm=$MIRROR/library/debian:bookworm-slim
trixie=$MIRROR/library/debian:trixie-slim

if ! hub_answers; then
  "$here/binaries.sh"
  publish debian library/debian:bookworm-slim SUITE=bookworm
  publish debian library/debian:trixie-slim SUITE=trixie
  publish node library/node:20-slim BASE="$bookworm" NODE=20.20.2 NPM=10.9.9 COREPACK=0.36.0
  publish node library/node:22-slim BASE="$bookworm" NODE=22.23.3 NPM=10.9.9 COREPACK=0.36.0
  publish node library/node:24-slim BASE="$bookworm" NODE=24.21.0 NPM=11.21.2 COREPACK=0.36.0
  # Debian has one Python a suite: there is no stand-in for 3.12.
  publish python library/python:3.11-slim BASE="$bookworm"
  publish python library/python:3.13-slim BASE="$trixie"
  publish nginx library/nginx:stable BASE="$bookworm"
  publish registry library/registry:2 BASE="$bookworm"
  publish buildkit moby/buildkit:v0.31.2 BASE="$bookworm"
fi
publish web panda-test/web:v1 VERSION=v1
publish web panda-test/web:v2 VERSION=v2
publish web panda-test/web:root VERSION=root USER=0
# They speak raw TCP too.
publish web panda-test/web:tcp-v1 VERSION=v1 TCP_PORT=9000
publish web panda-test/web:tcp-v2 VERSION=v2 TCP_PORT=9000
# One image for each way in which a new version can fail.
for mode in exits never-ready dies-later eats-memory localhost other-port ignores-term; do
  publish web "panda-test/web:$mode" VERSION="$mode" MODE="$mode"
done

# An engine of the user's own hasn't our registry as its mirror: what the platform starts by name is put there under its name.
if ! hub_answers && ! docker info --format '{{.RegistryConfig.Mirrors}}' | grep -qF "$MIRROR"; then
  for image in library/registry:2 moby/buildkit:v0.31.2 library/debian:bookworm-slim; do
    docker pull -q "$MIRROR/$image" >/dev/null
    docker tag "$MIRROR/$image" "${image#library/}"
  done
fi
