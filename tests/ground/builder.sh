#!/usr/bin/env bash
# builder.sh up NAME | down NAME | env NAME: a registry and a buildkitd of NAME's own, as the platform runs them.
# They are made with the options that deploy/images/buildkitd/README.md fixes, so that tests meet the real arrangement:
# builds push to registry:5000 inside the network panda-NAME-build, the engine pulls from a loopback port.
# PANDA_BUILDER_REALM: the URL where the registry sends clients without a token; nowhere, unless a cluster's nodes pull from it.
# PANDA_BUILDER_BESIDE=OTHER: only a buildkitd, in OTHER's network and with its registry. PANDA_BUILDER_ARGUMENTS: buildkitd's own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/lib.sh"

verb=${1:-} name=${2:-}
[[ $name =~ ^[a-z0-9-]+$ ]] || die "\`$name\` can't name a builder" "builder.sh up|down|env NAME, in a-z, 0-9 and -"
images=$here/../../deploy/images
network=panda-${PANDA_BUILDER_BESIDE:-$name}-build
registry=panda-${PANDA_BUILDER_BESIDE:-$name}-registry
login=panda-${PANDA_BUILDER_BESIDE:-$name}-login
builder=panda-$name-buildkitd
state=$PANDA_GROUND/builders/$name
buildkit=$(sed -n 's/^ARG BUILDKIT=.*://p' "$images/buildkitd/Dockerfile")
socket=$state/socket/buildkitd.sock
key=$PANDA_GROUND/builders/${PANDA_BUILDER_BESIDE:-$name}/registry.key

up() {
  mkdir -p "$state/socket"
  chmod 700 "$state/socket" # whoever reaches the socket can build as root
  docker network inspect "$network" >/dev/null 2>&1 ||
    docker network create --label "panda.test=$name" "$network" >/dev/null ||
    die "the engine can't create the network $network" "docker network prune, if the address pools are used up"
  running "$registry" || start_registry
  running "$login" || start_login_registry
  running "$builder" || start_buildkitd
  wait_for 30 buildctl debug workers ||
    die "buildkitd doesn't answer on $socket: $(docker logs --tail 1 "$builder" 2>&1)" "docker logs $builder"
}

running() { [ "$(docker inspect --format '{{.State.Running}}' "$1" 2>/dev/null)" = true ]; }

buildctl() { docker exec "$builder" buildctl --addr unix:///run/panda-buildkit/buildkitd.sock "$@"; }

# As `panda-server install` makes it: key and certificate in one file, which signs the tokens that the registry asks for.
make_key() {
  [ ! -f "$key" ] || return 0
  mkdir -p "$state/registry"
  (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=panda-test \
    -keyout "$key.new" -out "$state/registry/registry.crt" 2>"$state/key.log" &&
    cat "$state/registry/registry.crt" >> "$key.new") ||
    die "the registry's key can't be made: $(tail -1 "$state/key.log")" "install openssl"
  mv "$key.new" "$key"
}

start_registry() {
  local realm=()
  make_key
  docker rm -f "$registry" >/dev/null 2>&1 || true
  # The files are copied in: a bind mount would need the engine to see this folder, and /etc of the image differs by version.
  [ -z "${PANDA_BUILDER_REALM:-}" ] || realm=(-e "REGISTRY_AUTH_TOKEN_REALM=$PANDA_BUILDER_REALM")
  docker create --name "$registry" "${realm[@]}" --label "panda.test=$name" --network "$network" --network-alias registry \
    -p "127.0.0.1:${PANDA_BUILDER_PORT:-0}:5000" -v "$registry:/var/lib/registry" --restart unless-stopped \
    --cap-drop ALL --security-opt no-new-privileges --memory 512m --pids-limit 256 \
    registry:2 /etc/panda/config.yml >/dev/null || die "the engine can't create $registry" "docker pull registry:2"
  cp "$images/registry/config.yml" "$state/registry/"
  docker cp -q "$state/registry" "$registry:/etc/panda"
  docker start "$registry" >/dev/null
}

# Somebody else's registry, which wants a name and a password: panda, panda-test.
start_login_registry() {
  mkdir -p "$state/login"
  { sed '/^# Last in the file/,$d' "$images/registry/config.yml"; printf 'auth:\n  htpasswd:\n    realm: test\n    path: /etc/panda/htpasswd\n'; } > "$state/login/config.yml"
  # bcrypt of the password: the only form that the registry takes.
  # shellcheck disable=SC2016 # the dollars are the hash's own
  echo 'panda:$2b$05$abcdefghijklmnopqrstuuoCU75hRC4NP5Hx.FxzPz6rQEHqg68dm' > "$state/login/htpasswd"
  docker rm -f "$login" >/dev/null 2>&1 || true
  docker create --name "$login" --label "panda.test=$name" --network "$network" --restart unless-stopped \
    --cap-drop ALL --security-opt no-new-privileges --memory 256m --pids-limit 256 \
    registry:2 /etc/panda/config.yml >/dev/null || die "the engine can't create $login" "docker pull registry:2"
  docker cp -q "$state/login" "$login:/etc/panda"
  docker start "$login" >/dev/null
}

# The one name under which both the host and the builder reach it.
login_address() { docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}:5000' "$login"; }

start_buildkitd() {
  local mirrors=() arguments dns
  read -ra arguments <<< "${PANDA_BUILDER_ARGUMENTS:-}"
  # BuildKit drops Docker's own resolver (a loopback address) from a step's resolv.conf and would put a public one there.
  dns=$(awk '$1 == "nameserver" && $2 !~ /^127\./ && $2 != "::1" {printf "%s ", $2}' "$(host_resolv_conf)")
  if ! hub_answers; then mirrors=(-e "PANDA_BUILD_MIRRORS=docker.io=$("$here/registry.sh" bridge)"); fi
  # A stand-in that was built anew is behind the engine's back.
  if ! hub_answers; then docker pull -q "$MIRROR/moby/buildkit:$buildkit" >/dev/null && docker tag "$MIRROR/moby/buildkit:$buildkit" "moby/buildkit:$buildkit"; fi
  DOCKER_BUILDKIT=0 docker build -q -t panda-test/buildkitd "$images/buildkitd" >/dev/null 2>"$state/build.log" ||
    die "the image of buildkitd can't be built: $(tail -1 "$state/build.log")" "docker build $images/buildkitd"
  docker rm -f "$builder" >/dev/null 2>&1 || true
  docker run -d --name "$builder" --label "panda.test=$name" --network "$network" \
    -v "$builder:/var/lib/buildkit" -v "$state/socket:/run/panda-buildkit" --restart unless-stopped \
    --cap-add SYS_ADMIN --security-opt "seccomp=$images/buildkitd/seccomp.json" --security-opt apparmor=unconfined \
    --memory "${PANDA_BUILDER_MEMORY:-2g}" --memory-swap "${PANDA_BUILDER_MEMORY:-2g}" --cpus "${PANDA_BUILDER_CPUS:-2}" --pids-limit 1024 \
    -e "PANDA_BUILD_PLAIN_HTTP=registry:5000 $(login_address)" -e "PANDA_BUILD_DNS=$dns" "${mirrors[@]}" panda-test/buildkitd "${arguments[@]}" >/dev/null ||
    die "the engine can't start $builder" "read the line above; deploy/images/buildkitd/README.md lists what it needs"
}

down() {
  docker rm -f -v "$builder" "$registry" "$login" >/dev/null 2>&1 || true
  docker volume rm -f "$builder" "$registry" >/dev/null 2>&1 || true
  docker network rm "$network" >/dev/null 2>&1 || true
  rm -rf "$state"
}

case $verb in
  up) up ;;
  down) down ;;
  env)
    echo "PANDA_TEST_BUILDKIT=unix://$socket"
    echo "PANDA_TEST_BUILD_PUSH=registry:5000"
    echo "PANDA_TEST_REGISTRY_KEY=$key"
    echo "PANDA_TEST_LOGIN_REGISTRY=$(login_address)"
    echo "PANDA_TEST_REGISTRY=$(docker port "$registry" 5000/tcp | head -1)"
    ;;
  *) die "unknown argument \`$verb\`" "builder.sh up|down|env NAME" ;;
esac
