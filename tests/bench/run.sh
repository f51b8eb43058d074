#!/usr/bin/env bash
# run.sh [ARGUMENTS OF panda-bench run]: measures the platform against the same steps by hand, and the edge against other proxies.
# Samples go to target/bench/, tables to standard output; docs/benchmarks.md keeps what one run said.
# PANDA_BENCH_BINARIES names a folder with release binaries that are built already; PANDA_BENCH_EDGE=0 leaves the edge out,
# PANDA_BENCH_CLUSTER=0 the cluster.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/../ground/lib.sh"
root=$(cd "$here/../.." && pwd)
ground=$root/tests/ground
cluster=$root/tests/cluster/cluster.sh

[ "$(id -u)" = 0 ] || die "the benchmarks need root: for the builder's socket" "sudo -E env \"PATH=\$PATH\" \"HOME=\$HOME\" make bench"

run=bench-$$
dir=/tmp/panda-$run
mkdir -m 711 "$dir"

# shellcheck disable=SC2317 # the trap calls it
cleanup() {
  local status=$? registry
  trap - EXIT INT TERM
  unset TMPDIR
  registry=${PANDA_TEST_REGISTRY:-}
  docker ps -aq --filter "label=panda.test=$run" | xargs -r docker rm -f -v >/dev/null 2>&1 || true
  docker network ls -q --filter "label=panda.test=$run" | xargs -r docker network rm >/dev/null 2>&1 || true
  "$ground/builder.sh" down "$run" || true
  "$cluster" down "$run" || true
  if [ -n "$registry" ]; then
    docker images --format '{{.Repository}} {{.ID}}' | awk -v at="$registry/" 'index($1, at) == 1 {print $2}' |
      sort -u | xargs -r docker rmi -f >/dev/null 2>&1 || true
  fi
  rm -rf "$dir"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

cd "$root"
binaries=${PANDA_BENCH_BINARIES:-}
if [ -z "$binaries" ]; then
  cargo build --release --locked -p panda-server -p panda-edge -p panda-cli -p panda-bench -p panda-bench-edge --bins
  binaries=$root/target/release
fi

hub_answers || true # asked here, so that the scripts below needn't
"$ground/docker.sh" up
"$ground/registry.sh" up
"$root/tests/images/build.sh"
"$root/tests/images/binaries.sh"
with_cluster=${PANDA_BENCH_CLUSTER:-1}
if [ "$with_cluster" = 1 ]; then
  "$cluster" up "$run"
  PANDA_BUILDER_REALM=$("$cluster" env "$run" | sed -n 's|^PANDA_TEST_CLUSTER_HOST=\(.*\)|http://\1:7070/registry/token|p')
  export PANDA_BUILDER_REALM
fi
"$ground/builder.sh" up "$run"

export PANDA_TEST_RUN=$run PANDA_TEST_DIR=$dir TMPDIR=$dir
export PANDA_TEST_DOCKER=${DOCKER_HOST:-unix:///var/run/docker.sock}
export PANDA_TEST_IMAGES=$MIRROR/panda-test
export PANDA_TEST_POSTGRES=unused
export PANDA_TEST_BINARIES=$binaries
export PANDA_BENCH_BUILDCTL=$PANDA_CACHE/bin/buildctl
while read -r line; do export "${line?}"; done < <("$ground/builder.sh" env "$run")

if [ "$with_cluster" = 1 ]; then
  while read -r line; do export "${line?}"; done < <("$cluster" env "$run")
  "$cluster" registry "$run" "$PANDA_TEST_REGISTRY"
  PANDA_TEST_MIRRORS=
  if ! hub_answers; then PANDA_TEST_MIRRORS=docker.io=$("$ground/registry.sh" bridge); fi
  export PANDA_TEST_MIRRORS
  echo "# Cluster"
  "$binaries/panda-bench" run --cluster --rounds "${PANDA_BENCH_ROUNDS:-8}" --out target/bench/cluster.json
  # Its idle load would be in the figures below.
  "$cluster" down "$run"
  unset KUBECONFIG
  echo
fi

echo "# Platform"
docker version --format 'Docker {{.Server.Version}}'
"$binaries/panda-bench" run "$@"

if [ "${PANDA_BENCH_EDGE:-1}" = 1 ]; then
  echo
  echo "# Edge"
  "$binaries/panda-bench-edge" --edge "$binaries/panda-edge" --seconds 5 --rounds 3 --out target/bench/edge.json
fi
