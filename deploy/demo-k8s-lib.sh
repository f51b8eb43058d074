# shellcheck shell=bash
# What demo-k8s.sh and demo-k8s-down.sh share beside demo-lib.sh. Sourced after that.
# shellcheck disable=SC2034,SC2154 # the other files use these, and set those

cluster=$root/tests/cluster/cluster.sh
target=demo-k8s
ca=$dir/authority.crt
hosts_mark="panda $name"
# Ours to start and to remove, unless a cluster was given.
own=yes
[ -z "${KUBECONFIG:-}" ] || own=

kubectl() { "$kubectl" "$@"; }
helm() { "$PANDA_CACHE/bin/helm" "$@"; }
panda() { clean_env env ${own:+"PANDA_CA_FILE=$ca"} "$programs/panda" "$@"; }

# read_cluster: how the cluster is reached, and the names that the demo has there.
read_cluster() {
  local line domain
  while read -r line; do
    case $line in
      KUBECONFIG=*) export KUBECONFIG="${line#*=}" ;;
      PANDA_TEST_KUBECTL=*) kubectl=${line#*=} ;;
      PANDA_TEST_CLUSTER_INGRESS=*) ingress=${line#*=} ingress=${ingress%:*} ;;
      PANDA_TEST_CLUSTER_ACME=*) acme=${line#*=} ;;
      PANDA_TEST_CLUSTER_ACME_CA=*) acme_ca=${line#*=} ;;
      PANDA_TEST_CLUSTER_ACME_ROOT=*) acme_root=${line#*=} ;;
    esac
  done < <("$cluster" env "$name")
  domain=$name.test images=$MIRROR/panda-test
  if [ -z "$own" ]; then
    domain=$PANDA_DEMO_DOMAIN images=$PANDA_DEMO_IMAGES
    ca=/etc/ssl/certs/ca-certificates.crt
    ingress=$(getent ahostsv4 "panda.$domain" | awk 'NR == 1 {print $1}')
    [ -n "$ingress" ] || die "panda.$domain leads nowhere" "let it lead to the cluster's ingress"
  fi
  host=panda.$domain registry_host=registry.$domain apps_domain=apps.$domain
  platform=https://$host https_port=443
  server_log="KUBECONFIG=$KUBECONFIG kubectl -n $name logs deployment/$name-server"
}

# /etc/hosts may be a mount, which can't be replaced by another file.
forget_hosts() {
  local rest
  grep -q "# $hosts_mark\$" /etc/hosts || return 0
  rest=$(grep -v "# $hosts_mark\$" /etc/hosts)
  printf '%s\n' "$rest" > /etc/hosts
}
