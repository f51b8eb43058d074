#!/usr/bin/env bash
# cluster.sh VERB NAME: a real Kubernetes of NAME's own, with what a cluster is expected to have. README.md tells how it is made.
#   up                               builds what isn't built, starts one node; ready when DNS, ingress, certificates and volumes are
#   down                             all of it gone, pods and data included
#   env                              its addresses, as KEY=VALUE lines
#   registry ADDRESS|stop            pods pull what PANDA_TEST_CLUSTER_REGISTRY names from ADDRESS, on this machine's loopback; nobody answers
#   node add|remove|kill [NUMBER]    one more node (2); its end, announced or as by a power cut
#   api stop|start                   the API server away, and back
#   run NUMBER COMMAND...            in a node's namespaces
# With KUBECONFIG set (and PANDA_TEST_OWN_CLUSTER not), `up` takes that cluster instead and the others leave it alone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/../ground/lib.sh"
# shellcheck source=tests/ground/net.sh
. "$here/../ground/net.sh"
# shellcheck source=tests/cluster/pki.sh
. "$here/pki.sh"
# shellcheck source=tests/cluster/node.sh
. "$here/node.sh"
# shellcheck source=tests/cluster/control.sh
. "$here/control.sh"

usage="cluster.sh up|down|env NAME | registry NAME ADDRESS|stop | node NAME add|remove|kill [NUMBER] | api NAME stop|start | run NAME NUMBER COMMAND..."
verb=${1:-} name=${2:-}
[[ $name =~ ^[a-z0-9-]{1,40}$ ]] || die "\`$name\` can't name a cluster" "$usage, NAME in a-z, 0-9 and -"
shift 2

bin=$PANDA_CACHE/bin
state=$PANDA_GROUND/clusters/$name
hash=$(sha256sum <<< "$name" | cut -c1-8)
bridge=pc$hash
registry_name=registry.panda.test
registry_port=5001

# addresses: all are below one octet, which is chosen when the cluster first comes up.
addresses() {
  octet=$(own_octet "$state")
  services=10.$octet.64.0/20
  api_service=10.$octet.64.1
  dns_address=10.$octet.64.10
  api=https://$(node_address 1):6443
}

kubectl() { "$bin/kubectl" --kubeconfig "$state/kubeconfig" "$@"; }

given() { [ -f "$state/given" ]; }
up() {
  if [ -n "${KUBECONFIG:-}" ] && [ -z "${PANDA_TEST_OWN_CLUSTER:-}" ] && [ "$KUBECONFIG" != "$state/kubeconfig" ]; then
    take "$KUBECONFIG"
    return
  fi
  if running; then
    api start
    return
  fi
  [ "$(id -u)" = 0 ] || die "only root can make namespaces and mounts for a cluster" "run this as root, or set KUBECONFIG to a cluster that you have"
  if [ ! -x /usr/lib/cni/bridge ] || ! have nft || ! have socat; then die "packages of the system are missing" "tests/ground/install.sh test"; fi
  "$here/build.sh"
  down # what a crash or a reboot left
  addresses
  start
}

# A cluster of the user's own, and the kubectl that goes with it.
take() {
  type -P kubectl >/dev/null || die "there is no kubectl" "install the one of your cluster's version, or unset KUBECONFIG to have a cluster started"
  command kubectl --kubeconfig "$1" --request-timeout 10s get --raw /readyz >/dev/null ||
    die "the cluster of KUBECONFIG=$1 doesn't answer" "see \`kubectl get nodes\`, or unset KUBECONFIG to have one started"
  mkdir -p "$state"
  echo "$1" > "$state/given"
}

# Its API server may be away.
running() { [ -f "$state/ready" ] && addresses && node_alive 1; }

start() {
  own_bridge "$bridge" "$octet"
  node_start 1
  control_certificates
  etcd_start
  api_start
  pebble_start
  api_ready
  controllers_start
  node_run 1
  kubectl apply --server-side -f "$bin/cert-manager-crds.yaml" >/dev/null
  system_parts | kubectl apply --server-side -f - >/dev/null
  node_ready 1
  kubectl -n kube-system wait --for condition=Available --timeout 90s deployment --all >/dev/null ||
    die "the system's pods aren't ready: $(kubectl -n kube-system get pods --no-headers | grep -v ' Running ' | head -1)" "kubectl --kubeconfig $state/kubeconfig -n kube-system describe pods"
  touch "$state/ready"
}

system_parts() {
  local upstream
  upstream=$(awk '$1 == "nameserver" {print $2; exit}' "$(host_resolv_conf)")
  sed -e "s|{node}|$(node_address 1)|; s|{upstream}|$upstream|; s|{images}|$MIRROR/panda-test|; s|{dns}|$dns_address|" "$here/system.yaml"
}

down() {
  local number
  if [ ! -d "$state" ] || given; then
    rm -rf "$state"
    return
  fi
  addresses
  close_registry
  control_down
  for number in $(nodes); do node_stop "$number"; done
  if ip link show "$bridge" >/dev/null 2>&1; then remove_bridge "$bridge" "$octet"; fi
  rm -rf "$state"
}

registry() {
  local address=${1:-}
  if [ "$address" = stop ]; then
    close_registry
    return
  fi
  [[ $address =~ ^[0-9.]+:[0-9]+$ ]] || die "\`$address\` isn't an address of a registry" "cluster.sh registry $name 127.0.0.1:PORT"
  close_registry
  setsid nohup socat "TCP-LISTEN:$registry_port,bind=10.$octet.0.1,fork,reuseaddr" "TCP:$address" >> "$state/registry.log" 2>&1 < /dev/null 9>&- &
  echo $! > "$state/registry.pid"
  wait_for 5 curl -sS -m 2 -o /dev/null "http://10.$octet.0.1:$registry_port/v2/" ||
    die "no registry answers on $address: $(tail -1 "$state/registry.log")" "tests/ground/builder.sh up NAME starts one"
}

# With its children, one for each connection.
close_registry() {
  if alive "$state/registry.pid" socat; then kill -9 -- "-$(cat "$state/registry.pid")"; fi
  rm -f "$state/registry.pid"
}

node() {
  local number=${2:-2}
  [[ $number =~ ^([2-9]|[1-9][0-9])$ ]] || die "\`$number\` can't number another node" "2 to 99; node 1 carries the control plane"
  case ${1:-} in
    add)
      if ! node_alive "$number"; then
        node_stop "$number"
        node_start "$number"
        node_run "$number"
      fi
      node_ready "$number"
      ;;
    remove)
      kubectl delete node "node-$number" --ignore-not-found >/dev/null
      node_stop "$number"
      rm -rf "$(node_folder "$number")"
      ;;
    kill) node_stop "$number" ;;
    *) die "unknown argument \`${1:-}\`" "cluster.sh node $name add|remove|kill [NUMBER]" ;;
  esac
}

api() {
  case ${1:-} in
    stop) control_stop kube-apiserver ;;
    start)
      api_start
      api_ready
      controllers_start # they end when they lose it
      ;;
    *) die "unknown argument \`${1:-}\`" "cluster.sh api $name stop|start" ;;
  esac
}

environment() {
  if given; then
    echo "KUBECONFIG=$(cat "$state/given")"
    echo "PANDA_TEST_KUBECTL=$(type -P kubectl)"
    return
  fi
  local address
  address=$(node_address 1)
  cat <<ENV
KUBECONFIG=$state/kubeconfig
PANDA_TEST_KUBECTL=$bin/kubectl
PANDA_TEST_CLUSTER_INGRESS=$address:80
PANDA_TEST_CLUSTER_INGRESS_TLS=$address:443
PANDA_TEST_CLUSTER_HOST=10.$octet.0.1
PANDA_TEST_CLUSTER_REGISTRY=$registry_name
PANDA_TEST_CLUSTER_ACME=https://$address:14000/dir
PANDA_TEST_CLUSTER_ACME_CA=$state/pki/ca.crt
PANDA_TEST_CLUSTER_ACME_ROOT=https://$address:15000/roots/0
PANDA_TEST_CLUSTER_DNS=http://$address:8055
PANDA_TEST_CLUSTER_RESOLVER=$address:8053
ENV
}

# own: for what can't be done to a cluster of the user's.
own() {
  if given; then die "\`$verb\` needs a cluster of our own, and KUBECONFIG was given" "unset KUBECONFIG, then cluster.sh down $name and up $name"; fi
  running || die "no cluster $name runs" "cluster.sh up $name"
}

case $verb in
  up) up ;;
  down) down ;;
  env)
    given || own
    environment
    ;;
  registry)
    if given; then exit 0; fi # it knows by itself where it pulls from
    own
    registry "$@"
    ;;
  node | api)
    own
    "$verb" "$@"
    ;;
  run)
    own
    in_node "$@"
    ;;
  *) die "unknown argument \`$verb\`" "$usage" ;;
esac
