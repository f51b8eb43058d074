#!/usr/bin/env bash
# registry.sh up|down: the local registry that stands in for Docker Hub where that can't be reached.
# Two processes share one folder of blobs, kept between runs:
#   127.0.0.1:PORT           read and write, for the engine and for tests/images
#   <docker bridge>:PORT     read only, for builds inside containers, which can't reach our loopback
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/lib.sh"

blobs=$PANDA_CACHE/registry
run=$PANDA_CACHE/run

# serve NAME ADDRESS READONLY
serve() {
  local name=$1 address=$2 readonly=$3
  if alive "$run/$name.pid" docker-registry && curl -fsS -m 2 "http://$address/v2/" >/dev/null 2>&1; then return 0; fi
  have docker-registry || die "\`docker-registry\` is not installed" "run tests/ground/install.sh"
  mkdir -p "$blobs" "$run"
  stop_pidfile "$run/$name.pid" docker-registry 5 # it may listen on an address that the bridge had before
  # Never another's registry: ours gets images with the names of official ones.
  if ss -Hltn "src $address" | grep -q .; then
    die "$address is taken by $(ss -Hltnp "src $address" | grep -oE '"[^"]+",pid=[0-9]+' | head -1)" \
      "stop it, or choose another port by PANDA_MIRROR_PORT"
  fi
  cat > "$run/$name.yml" <<YML
version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: $blobs}
  delete: {enabled: true}
  maintenance: {readonly: {enabled: $readonly}}
http: {addr: "$address"}
YML
  setsid nohup docker-registry serve "$run/$name.yml" >> "$run/$name.log" 2>&1 < /dev/null 9>&- &
  echo $! > "$run/$name.pid"
  wait_for 10 curl -fsS -m 2 "http://$address/v2/" ||
    die "the local registry doesn't answer on $address: $(tail -1 "$run/$name.log")" \
      "read $run/$name.log"
}

# From the interface: older engines don't fill in the gateway of the default network.
bridge_address() {
  local bridge
  bridge=$(docker network inspect bridge --format '{{index .Options "com.docker.network.bridge.name"}}' 2>/dev/null) || return 1
  ip -4 -o addr show dev "$bridge" 2>/dev/null | awk '{sub("/.*", "", $4); print $4; exit}'
}

case ${1:-} in
  up)
    lock registry
    serve mirror "$MIRROR" false
    gateway=$(bridge_address) || die "no Docker engine answers" "run tests/ground/docker.sh up first"
    if [ -n "$gateway" ]; then serve mirror-bridge "$gateway:$MIRROR_PORT" true; fi
    ;;
  down)
    stop_pidfile "$run/mirror.pid" docker-registry 5
    stop_pidfile "$run/mirror-bridge.pid" docker-registry 5
    ;;
  # The address under which containers see it, those of private engines too: hence not asked of the engine.
  bridge) sed -n 's/^http: {addr: "\(.*\)"}$/\1/p' "$run/mirror-bridge.yml" ;;
  *) die "unknown argument \`${1:-}\`" "registry.sh up|down|bridge" ;;
esac
