#!/usr/bin/env bash
# demo-k8s-down.sh: removes every trace of make demo-k8s: the cluster (or, on a cluster of yours, the platform and its apps),
# the machine's names, images, state, the command line's login. What was installed, target/ and the caches stay.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
PANDA_DEMO_NAME=${PANDA_DEMO_NAME:-panda-k8s}
# shellcheck source=tests/ground/lib.sh
. "$root/tests/ground/lib.sh"
# shellcheck source=deploy/demo-lib.sh
. "$here/demo-lib.sh"
# shellcheck source=deploy/demo-k8s-lib.sh
. "$here/demo-k8s-lib.sh"

become_root "$@"

# On a cluster that stays, by this demo's names and label: nobody else's namespaces have them.
clean_cluster() {
  helm uninstall "$name" --namespace "$name" --ignore-not-found >/dev/null 2>&1 || true
  kubectl delete namespaces -l "dev.panda/environment,demo=$name" >/dev/null
  kubectl delete clusterissuer "$name-acme" --ignore-not-found >/dev/null 2>&1 || true
  kubectl delete namespace "$name" "$name-build" --ignore-not-found >/dev/null
}

if [ -n "$own" ]; then
  if [ -x "$programs/panda" ]; then panda logout --server "https://panda.$name.test" >/dev/null 2>&1 || true; fi
else
  read_cluster
  if [ -x "$programs/panda" ]; then panda logout --server "$platform" >/dev/null 2>&1 || true; fi
  clean_cluster
fi
"$cluster" down "$name"
forget_hosts

# The server's image, in the engine and in the local registry.
if docker info >/dev/null 2>&1; then
  accept='Accept: application/vnd.docker.distribution.manifest.v2+json'
  docker images --format '{{.Repository}}:{{.Tag}}' | grep -E "/panda-server:$name-[0-9a-f]{16}\$|^panda-server:$name\$" | while read -r image; do
    if [[ $image == "$MIRROR/"* ]]; then
      repository=${image#"$MIRROR/"} repository=${repository%:*}
      digest=$(curl -fsSI -m 5 -H "$accept" "http://$MIRROR/v2/$repository/manifests/${image##*:}" | tr -d '\r' | awk 'tolower($1) == "docker-content-digest:" {print $2}' || true)
      if [ -n "$digest" ]; then curl -fsS -m 5 -X DELETE "http://$MIRROR/v2/$repository/manifests/$digest" >/dev/null || true; fi
    fi
    docker rmi -f "$image" >/dev/null
  done || true
fi
rm -rf "$dir" "$root/tests/apps/hello-node/.panda"
say "removed; the engine, the toolchains, target/ and $PANDA_CACHE stay"
