#!/usr/bin/env bash
# test.sh [ARGUMENTS OF cargo test]: sets up all that the tests meet for real, runs them, and takes it down again.
# Every run has names, ports and folders of its own, so that two runs beside each other don't meet.
# The last line is `N passed, N failed, N skipped`. docs/testing.md explains each variable.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/lib.sh"
root=$(cd "$here/../.." && pwd)
cluster=$root/tests/cluster/cluster.sh

[ "$(id -u)" = 0 ] || die "the tests need root: for private engines and for the builder's socket" "sudo -E env \"PATH=\$PATH\" \"HOME=\$HOME\" make test"

run=t$(date +%s | tail -c 7)-$$
dir=/tmp/panda-test-$run
mkdir -m 711 "$dir" # not 700: PostgreSQL runs as another user and has its folder in here

ground() {
  "$here/install.sh" test
  hub_answers || true # asked here, so that the scripts below needn't
  "$here/docker.sh" up
  "$here/registry.sh" up
  "$root/tests/images/build.sh"
  "$root/tests/images/binaries.sh"
  sweep
  if [ -n "${PANDA_TEST_CLUSTER:-}" ]; then "$cluster" up "$run"; fi
  PANDA_BUILDER_REALM=$(realm) "$here/builder.sh" up "$run"
  "$here/postgres.sh" up "$dir/postgres"
}

# Where the nodes of the run's cluster get tokens for the run's registry: the stories' servers answer there (tests/src/cluster.rs).
realm() {
  [ -z "${PANDA_TEST_CLUSTER:-}" ] ||
    "$cluster" env "$run" | sed -n 's|^PANDA_TEST_CLUSTER_HOST=\(.*\)|http://\1:7070/registry/token|p'
}

environment() {
  export PANDA_TEST_RUN=$run
  export PANDA_TEST_DIR=$dir
  export PANDA_TEST_DOCKER=${DOCKER_HOST:-unix:///var/run/docker.sock}
  export PANDA_TEST_IMAGES=$MIRROR/panda-test
  export PANDA_TEST_PEBBLE=$PANDA_CACHE/bin/pebble
  export PANDA_TEST_CHALLTESTSRV=$PANDA_CACHE/bin/pebble-challtestsrv
  export PANDA_TEST_COMPOSE=$PANDA_CACHE/bin/docker-compose
  export PANDA_TEST_PRIVATE_DOCKERD=$here/private-dockerd.sh
  export PANDA_TEST_SKIPS=$dir/skips
  PANDA_TEST_POSTGRES=$("$here/postgres.sh" url "$dir/postgres")
  PANDA_TEST_MIRRORS=
  if ! hub_answers; then PANDA_TEST_MIRRORS=docker.io=$("$here/registry.sh" bridge); fi
  export PANDA_TEST_POSTGRES PANDA_TEST_MIRRORS
  local line
  while read -r line; do export "${line?}"; done < <(
    "$here/builder.sh" env "$run"
    if [ -n "${PANDA_TEST_CLUSTER:-}" ]; then "$cluster" env "$run"; fi
  )
  if [ -n "${PANDA_TEST_CLUSTER:-}" ]; then "$cluster" registry "$run" "$PANDA_TEST_REGISTRY"; fi
  : > "$PANDA_TEST_SKIPS"
  mkdir -p "$dir/tmp"
  export TMPDIR=$dir/tmp
}

# What a run left that was killed before its cleanup: names begin with the run's, which ends with its pid.
sweep() {
  local left name
  for left in "$PANDA_GROUND"/{builders,clusters,engines}/t[0-9]*-[0-9]* /tmp/panda-test-t[0-9]*-[0-9]*; do
    name=$(basename "$left")
    name=${name#panda-test-}
    if [ ! -d "$left" ] || kill -0 "$(cut -d- -f2 <<< "$name")" 2>/dev/null; then continue; fi
    say "removing what the run of $name left"
    case $left in
      */builders/*) "$here/builder.sh" down "$name" ;;
      */clusters/*) "$cluster" down "$name" ;;
      */engines/*) "$here/private-dockerd.sh" remove "$name" ;;
      *) "$here/postgres.sh" down "$left/postgres" && rm -rf "$left" ;;
    esac || true # it isn't this run's business to fail on it
  done
}

# By this run's names only: other runs, and the user's own containers, stay.
# shellcheck disable=SC2317 # the trap calls it
cleanup() {
  local status=$? name
  trap - EXIT INT TERM
  unset TMPDIR
  for name in "$PANDA_GROUND/engines/$run"*; do
    if [ -d "$name" ]; then "$here/private-dockerd.sh" remove "$(basename "$name")" || true; fi
  done
  for name in "$PANDA_GROUND/builders/$run"-*; do
    if [ -d "$name" ]; then "$here/builder.sh" down "$(basename "$name")" || true; fi
  done
  for name in "$PANDA_GROUND/clusters/$run"*; do
    if [ -d "$name" ]; then "$cluster" down "$(basename "$name")" || true; fi
  done
  "$here/builder.sh" down "$run" || true
  docker ps -aq --filter "label=panda.test=$run" | xargs -r docker rm -f -v >/dev/null 2>&1 || true
  docker network ls -q --filter "label=panda.test=$run" | xargs -r docker network rm >/dev/null 2>&1 || true
  docker volume ls -q --filter "label=panda.test=$run" | xargs -r docker volume rm -f >/dev/null 2>&1 || true
  "$here/postgres.sh" down "$dir/postgres" || true
  rm -rf "$dir"
  exit "$status"
}

# A skip is allowed only where docs/testing.md lists it by name; each is printed with its reason.
unlisted_skips() {
  local name reason bad=0
  while IFS=$'\t' read -r name reason; do
    echo "SKIPPED $name: $reason"
    grep -qF "\`$name\`" "$root/docs/testing.md" || { echo "error: \`$name\` isn't in the list of docs/testing.md"; bad=$((bad + 1)); }
  done < <(sort -u "$PANDA_TEST_SKIPS") >&2
  return "$bad"
}

# total FIELD: its sum over all result lines of cargo test.
total() { awk -v field="$1" '/^test result:/ {for (i = 2; i <= NF; i++) if ($i ~ "^" field) sum += $(i - 1)} END {print sum + 0}' "$dir/log"; }

trap cleanup EXIT
trap 'exit 130' INT TERM
ground
environment
status=0
cd "$root"
# The stories start these programs, whichever part is asked for.
cargo build --quiet -p panda-server -p panda-edge -p panda-cli --bins
CARGO_TERM_COLOR=never cargo test --no-fail-fast "${@:---workspace}" 2>&1 | tee "$dir/log" || status=$?
unlisted_skips || status=1
# A line a test: several share a name.
skips=$(wc -l < "$PANDA_TEST_SKIPS")
# libtest counts a test that skips itself as passed.
passed=$(($(total passed) - skips)) failed=$(total failed) skipped=$(($(total ignored) + skips))
if [ "$status" != 0 ] && [ "$failed" = 0 ]; then
  echo "error: no test failed, but the run did (exit $status): see the first error above" >&2
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
