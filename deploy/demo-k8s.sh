#!/usr/bin/env bash
# demo-k8s.sh: a cluster, the platform on it by its chart, and an app with three replicas at an HTTPS address. Safe to run again.
# The last two lines of its output are `app: …` and `KUBECONFIG=…`; everything else goes to standard error.
#
#   PANDA_DEMO_NAME=panda-k8s           names the cluster, the release and its namespace, and the folder
#   PANDA_DEMO_PROGRAMS=FOLDER          panda and panda-server that are there already, instead of building them
#   PANDA_DEMO_EMAIL=owner@panda.localhost
# With KUBECONFIG the platform goes onto that cluster, which then needs:
#   PANDA_DEMO_DOMAIN=example.com       panda.DOMAIN, registry.DOMAIN and *.apps.DOMAIN lead to its ingress
#   PANDA_DEMO_ISSUER=letsencrypt       a ClusterIssuer of its cert-manager
#   PANDA_DEMO_IMAGES=host/path         where the server's image is pushed to (`docker login` first) and nodes pull it from
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

begun=$SECONDS
step_number=0
step() {
  step_number=$((step_number + 1))
  printf '\n[%d/7] %s  (%ds)\n' "$step_number" "$1" "$((SECONDS - begun))" >&2
}

become_root "$@"

ground() {
  "$root/tests/ground/install.sh" test
  "$root/tests/ground/docker.sh" up
  if [ -z "${KUBECONFIG:-}" ]; then
    "$root/tests/ground/registry.sh" up
    "$root/tests/images/build.sh"
  else
    local variable
    for variable in PANDA_DEMO_DOMAIN PANDA_DEMO_ISSUER PANDA_DEMO_IMAGES; do
      [ -n "${!variable:-}" ] || die "KUBECONFIG is set and $variable isn't" "head -12 deploy/demo-k8s.sh tells what a cluster of yours needs; without KUBECONFIG one is started"
    done
  fi
  "$root/tests/cluster/build.sh" helm
  "$cluster" up "$name"
  mkdir -p "$dir" && chmod 700 "$dir"
}

build() {
  [ -n "${PANDA_DEMO_PROGRAMS:-}" ] || (cd "$root" && cargo build --release --locked --bin panda --bin panda-server >&2) ||
    die "Panda can't be built: see the compiler's words above" "correct that, then run make demo-k8s again"
  local content
  "$here/images/panda/build.sh" "$programs/panda-server" "panda-server:$name" >&2
  content=$(docker image inspect --format '{{index .Config.Labels "panda.content"}}' "panda-server:$name")
  image=$images/panda-server
  tag=$name-$content
  docker tag "panda-server:$name" "$image:$tag"
  docker push -q "$image:$tag" >&2 || die "$image:$tag can't be pushed" "docker login, if $images asks who you are"
}

# Our own cluster's authority is its Pebble's, and its names are known to nobody: the machine learns them, and the nodes learn
# whom to trust, as an operator would do with an authority of their own.
introduce() {
  [ -n "$own" ] || return 0
  wait_for 20 curl -fsSk -m 5 -o "$ca" "$acme_root" || die "Pebble doesn't show its authority" "tests/cluster/cluster.sh down $name, then make demo-k8s"
  forget_hosts
  printf '%s %s %s\n' "$ingress" "$host $registry_host hello-node.$apps_domain" "# $hosts_mark" >> /etc/hosts
  local folder=/var/lib/panda/registries/$registry_host
  "$cluster" run "$name" 1 mkdir -p "$folder"
  "$cluster" run "$name" 1 tee "$folder/ca.crt" < "$ca" >/dev/null
  "$cluster" run "$name" 1 tee "$folder/hosts.toml" >/dev/null <<TOML
server = "https://$registry_host"
[host."https://$registry_host"]
capabilities = ["pull", "resolve"]
ca = "$folder/ca.crt"
TOML
}

install_platform() {
  local values=(--set "publicUrl=$platform" --set "appsDomain=$apps_domain" --set "registry.host=$registry_host"
    --set database.sqlite=true --set "server.image.repository=$image" --set "server.image.tag=$tag"
    # By this label demo-k8s-down finds what the platform made.
    --set "server.settings.kubernetes.labels.demo=$name" --set server.storage.size=1Gi --set registry.storage.size=2Gi --set builder.storage.size=4Gi)
  if [ -n "$own" ]; then
    values+=(--set "issuer.acme.server=$acme" --set "issuer.acme.email=$email" --set "issuer.acme.caBundle=$(base64 -w0 < "$acme_ca")")
    if ! hub_answers; then
      local mirror
      mirror=docker.io=$("$root/tests/ground/registry.sh" bridge)
      # Build steps get the machine's registry as their mirror, which has a private address; the test cluster's nodes, too.
      values+=(--set "builder.mirrors={$mirror}" --set "registry.mirrors={$mirror}")
    fi
  else
    values+=(--set "issuer.name=$PANDA_DEMO_ISSUER")
  fi
  kubectl create namespace "$name" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl label namespace "$name" --overwrite pod-security.kubernetes.io/{enforce,warn}=restricted >/dev/null
  helm upgrade --install "$name" "$here/helm/panda" --namespace "$name" "${values[@]}" > "$dir/helm.log" 2>&1 ||
    die "the chart can't be installed: $(grep -m1 ^Error "$dir/helm.log" || tail -1 "$dir/helm.log")" "read $dir/helm.log"
  local part
  for part in "$name deployment/$name-server" "$name deployment/$name-registry" "$name-build statefulset/$name-builder"; do
    kubectl -n "${part% *}" rollout status "${part#* }" --timeout 180s >&2 ||
      die "${part#* } isn't ready" "kubectl -n ${part% *} describe pods; KUBECONFIG=$KUBECONFIG"
  done
}

# `logs deployment/…` takes one of its pods. The log is JSON; the token is a line of its own.
claim_token() { kubectl -n "$name" logs "deployment/$name-server" -c server | sed -n 's/^claim token: //p' | tail -1; }

# An authority takes a while, and ingress controllers gather changes.
trusted() { curl -sS --max-time 5 --cacert "$ca" --resolve "$1:443:$ingress" -o /dev/null "https://$1/"; }
await_certificate() {
  wait_for 180 trusted "$1" ||
    die "$1 has no certificate: $(kubectl get certificates,challenges -A --no-headers 2>/dev/null | grep -v ' True ' | head -1)" "kubectl describe challenges -A; KUBECONFIG=$KUBECONFIG"
}

hub_answers || true # asked once, here; the scripts below inherit the answer
step "what is missing is installed; a cluster"
ground
read_cluster
step "Panda is built (the first time takes minutes)"
build
step "the platform on the cluster: $name in $KUBECONFIG"
introduce
install_platform
step "certificates of $host and $registry_host"
await_certificate "$host"
await_certificate "$registry_host"
wait_for 30 platform_answers || die "the platform doesn't answer at $platform" "$server_log"
step "it is claimed, and the command line signs in"
jar=$(mktemp)
trap 'rm -f "$jar"' EXIT
claim
# shellcheck disable=SC2119
sign_in # nothing to pin: the certificate's authority is known, or named by PANDA_CA_FILE
step "hello-node with three replicas"
deploy_app
await_certificate "$(sed 's#^https://##; s#/.*##' <<< "$app")"
expect_hello
step "done in $((SECONDS - begun)) s"
give_back
say "next: ${own:+PANDA_CA_FILE=$ca }$programs/panda ps -a hello-node --server $platform"
echo "app: $app"
echo "KUBECONFIG=$KUBECONFIG"
