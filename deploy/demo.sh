#!/usr/bin/env bash
# demo.sh: from a fresh Debian or Ubuntu to an app with three replicas at an HTTPS address. Safe to run again.
# The last three lines of its output are `app: …`, `platform: …` and `next: …`; everything else goes to standard error.
#
# So that two runs on one machine don't meet, a second one gets a name of its own, and ports if the first has the usual ones:
#   PANDA_DEMO_NAME=panda-demo           names containers, network, volumes, images, and the folder
#   PANDA_DEMO_DIR=/var/lib/NAME         state, keys, configuration, the owner's password
#   PANDA_DEMO_HTTP_PORT, PANDA_DEMO_HTTPS_PORT, PANDA_DEMO_API_PORT, PANDA_DEMO_REGISTRY_PORT
#   PANDA_DEMO_EMAIL=owner@panda.localhost
#   PANDA_DEMO_PROGRAMS=FOLDER           panda, panda-server and panda-edge that are there already, instead of building them
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
# shellcheck source=tests/ground/lib.sh
. "$root/tests/ground/lib.sh"
# shellcheck source=deploy/demo-lib.sh
. "$here/demo-lib.sh"

begun=$SECONDS
step_number=0
step() {
  step_number=$((step_number + 1))
  printf '\n[%d/7] %s  (%ds)\n' "$step_number" "$1" "$((SECONDS - begun))" >&2
}

become_root "$@"

ground() {
  "$root/tests/ground/install.sh" demo
  hub_answers || say "Docker Hub can't be reached: base images are built here, from Debian, npm and Go packages"
  "$root/tests/ground/docker.sh" up
  if ! hub_answers; then
    "$root/tests/ground/registry.sh" up
    "$root/tests/images/build.sh"
  fi
}

build() {
  [ -n "${PANDA_DEMO_PROGRAMS:-}" ] || (cd "$root" && cargo build --release --locked --bin panda --bin panda-server --bin panda-edge >&2) ||
    die "Panda can't be built: see the compiler's words above" "correct that, then run make demo again"
  local program
  for program in server edge; do
    "$here/images/panda/build.sh" "$programs/panda-$program" "panda-$program:$name" >&2
  done
}

# choose_port VARIABLE WANTED OTHER: what the user said, else WANTED if it is free, else the first free one from OTHER on.
choose_port() {
  local said=${!1:-} port=$2
  if [ -n "$said" ]; then echo "$said"; return 0; fi
  if ! taken "$port"; then echo "$port"; return 0; fi
  port=$3
  while taken "$port"; do port=$((port + 1)); done
  say "port $2 is taken by $(holder "$2"): using $port ($1 chooses another)"
  echo "$port"
}
taken() { ss -Hltn "sport = :$1" | grep -q .; }
holder() { ss -Hltnp "sport = :$1" | grep -oE '"[^"]+",pid=[0-9]+' | head -1 | sed 's/"//g; s/,pid=/ (pid /; s/$/)/'; }

install_platform() {
  local flags=(--name "$name" --server-image "panda-server:$name" --edge-image "panda-edge:$name")
  if ! hub_answers; then flags+=(--builder-mirror "docker.io=$("$root/tests/ground/registry.sh" bridge)"); fi
  # The first run chooses ports; later ones keep them, because addresses that people wrote down shall stay.
  if [ ! -f "$config" ]; then
    local http https
    http=$(choose_port PANDA_DEMO_HTTP_PORT 80 8080)
    https=$(choose_port PANDA_DEMO_HTTPS_PORT 443 8443)
    flags+=(--apps-domain localhost --http-port "$http" --https-port "$https")
    flags+=(--api-port "$(choose_port PANDA_DEMO_API_PORT 7080 7180)")
    flags+=(--registry-port "$(choose_port PANDA_DEMO_REGISTRY_PORT 7050 7150)")
  fi
  # It holds the claim token: nobody else may read it.
  (umask 077 && server --data-dir "$dir" install "${flags[@]}" > "$dir.install") || { rm -f "$dir.install"; exit 1; }
  mv "$dir.install" "$dir/install.out"
}

wait_for_platform() {
  wait_for 30 platform_answers ||
    die "the platform doesn't answer at $platform through its edge" "docker logs $name-edge; docker logs $name-server"
}

claim_token() { sed -n 's/^claim token: //p' "$dir/install.out"; }

hub_answers || true # asked once, here; the scripts below inherit the answer
step "what is missing is installed; a Docker engine; base images"
ground
step "Panda is built (the first time takes minutes)"
build
step "the platform's containers"
mkdir -p "$(dirname "$dir")"
install_platform
read_settings
ca=$dir/keys/local-ca.crt
step "the platform answers at $platform"
wait_for_platform
jar=$(mktemp)
trap 'rm -f "$jar"' EXIT
claim
step "the command line signs in"
sign_in --ca-fingerprint "$(openssl x509 -in "$ca" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g')"
step "hello-node with three replicas"
deploy_app
expect_hello
step "done in $((SECONDS - begun)) s"
give_back
echo "app: $app"
echo "platform: $platform"
echo "next: $programs/panda ps -a hello-node"
