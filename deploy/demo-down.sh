#!/usr/bin/env bash
# demo-down.sh: removes every trace of make demo: containers, networks, volumes, images, state, the command line's login.
# What was installed on the machine (Docker, Rust), target/ and the images' cache stay; `make clean` removes the latter two.
# Everything is found by labels and names of this demo, so that nobody else's containers are touched.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source=tests/ground/lib.sh
. "$root/tests/ground/lib.sh"
# shellcheck source=deploy/demo-lib.sh
. "$here/demo-lib.sh"

become_root "$@"

if [ -f "$config" ]; then
  read_settings
  if [ -x "$programs/panda" ]; then panda logout --server "$platform" >/dev/null 2>&1 || true; fi
fi
# The store notes the name by which the apps' containers are labelled.
installation=$(sed -n 's/.*"installation" *: *"\([^"]*\)".*/\1/p' "$dir/db/panda.db.state.json" 2>/dev/null || true)

# remove_labelled LABEL: containers, then networks.
remove_labelled() {
  docker ps -aq --filter "label=$1" | xargs -r docker rm -f -v >/dev/null
  docker network ls -q --filter "label=$1" | xargs -r docker network rm >/dev/null
}

if docker info >/dev/null 2>&1; then
  remove_labelled "dev.panda.platform=$name"
  if [ -n "$installation" ]; then remove_labelled "dev.panda.installation=$installation"; fi
  docker volume rm -f "$name-registry" "$name-buildkitd" >/dev/null
  if [ -n "${registry_port:-}" ]; then
    docker images --digests --format '{{.Repository}} {{.ID}}' | awk -v at="127.0.0.1:$registry_port/" 'index($1, at) == 1 {print $2}' |
      sort -u | xargs -r docker rmi -f >/dev/null
  fi
  docker rmi -f "panda-server:$name" "panda-edge:$name" >/dev/null 2>&1 || true
elif [ -d "$dir" ]; then
  die "no Docker engine answers, and the demo's containers are in one" "start it (tests/ground/docker.sh up), then run this again"
fi
rm -rf "$dir" "$dir.install"
rm -rf "$root/tests/apps/hello-node/.panda"
say "removed; the engine, the toolchains, target/ and $PANDA_CACHE stay"
