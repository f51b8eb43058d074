#!/usr/bin/env bash
# Builds the Go programs of the stand-ins and tests into $PANDA_CACHE/bin: buildkitd, buildctl, runc, Docker Compose and
# Pebble, an ACME server. A program is rebuilt when its version here changes. Cold: about 4 minutes on 2 cores.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/../ground/lib.sh"
# shellcheck source=tests/images/programs.sh
. "$here/programs.sh"

runc=v1.5.2
pebble=v2.10.1
# The newest whose go.mod `go install` takes.
compose=v5.0.2
buildkit=$(module_version "$here/buildkit" github.com/moby/buildkit)

lock binaries
if ! built "$runc-static" runc; then
  say "runc $runc"
  # seccomp is C: libseccomp-dev and pkg-config. Static, because it runs beside another C library than this machine's.
  CGO_ENABLED=1 quietly runc go install -tags 'seccomp netgo osusergo' -ldflags '-s -w -extldflags -static' "github.com/opencontainers/runc@$runc"
  mark "$runc-static" runc
fi
if ! built "$pebble" pebble pebble-challtestsrv; then
  say "pebble $pebble"
  CGO_ENABLED=0 quietly pebble go install -ldflags '-s -w' github.com/letsencrypt/pebble/v2/cmd/{pebble,pebble-challtestsrv}@"$pebble"
  mark "$pebble" pebble pebble-challtestsrv
fi
if ! built "$buildkit" buildkitd buildctl; then
  say "buildkit $buildkit"
  # `go install` refuses a module whose go.mod has exclude or replace lines, hence a go.mod of our own.
  CGO_ENABLED=0 quietly buildkit go -C "$here/buildkit" build -ldflags "-s -w -X github.com/moby/buildkit/version.Version=$buildkit" \
    -o "$bin/" github.com/moby/buildkit/cmd/{buildkitd,buildctl}
  mark "$buildkit" buildkitd buildctl
fi
if ! built "$compose" docker-compose; then
  say "docker compose $compose"
  # Its module calls the program `cmd`.
  CGO_ENABLED=0 GOBIN=$bin/compose quietly docker-compose go install -ldflags "-s -w -X github.com/docker/compose/v5/internal.Version=$compose" \
    github.com/docker/compose/v5/cmd@"$compose"
  mv "$bin/compose/cmd" "$bin/docker-compose"
  rmdir "$bin/compose"
  mark "$compose" docker-compose
fi
