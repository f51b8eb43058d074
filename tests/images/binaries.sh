#!/usr/bin/env bash
# Builds the Go programs of the stand-ins and tests into $PANDA_CACHE/bin: buildkitd, buildctl, runc and Pebble, an ACME server.
# A program is rebuilt when its version here changes. Cold: about 3 minutes on 2 cores.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/../ground/lib.sh"

runc=v1.5.2
pebble=v2.10.1
buildkit=$(awk '$2 == "github.com/moby/buildkit" {print $3} $1 == "github.com/moby/buildkit" {print $2}' "$here/buildkit/go.mod")

lock binaries
bin=$PANDA_CACHE/bin
mkdir -p "$bin"
export GOBIN=$bin GOFLAGS=-buildvcs=false

# built STAMP PROGRAM...: all of them are there and were built from that stamp.
built() {
  local stamp=$1 program
  shift
  for program in "$@"; do
    [ -x "$bin/$program" ] && [ "$(cat "$bin/.$program.version" 2>/dev/null)" = "$stamp" ] || return 1
  done
}
mark() {
  local stamp=$1 program
  shift
  for program in "$@"; do echo "$stamp" > "$bin/.$program.version"; done
}
# quietly NAME COMMAND...: Go names each module that it fetches; that is of interest only when it fails.
quietly() {
  local name=$1 log=$PANDA_CACHE/go.log
  shift
  "$@" > "$log" 2>&1 ||
    die "\`go\` can't build $name: $(tail -1 "$log")" "read $log; see that the Go module proxy answers (\`go env GOPROXY\`)"
}

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
