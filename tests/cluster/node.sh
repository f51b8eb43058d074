# shellcheck shell=bash
# Nodes: each is a set of namespaces (network, mounts, processes) with a containerd, a kubelet and a kube-proxy of its own, on the
# machine's file system. When its first process is killed, the kernel ends all the others, and mounts, interfaces and firewall
# rules go with the namespaces: nothing has to be found and cleaned up. Sourced by cluster.sh.
# shellcheck disable=SC2154 # the variables that aren't set here are cluster.sh's

node_folder() { echo "$state/node-$1"; }
node_address() { echo "10.$octet.0.$((1 + $1))"; }
node_pods() { echo "10.$octet.$((128 + $1)).0/24"; }
node_init() { cat "$(node_folder "$1")/init.pid"; }
node_alive() { alive "$(node_folder "$1")/init.pid" pause; }
all_pods() { echo "10.$octet.128.0/17"; }
node_cgroup() { echo "panda-$name-node-$1"; }
# An interface name has at most 15 characters, hence a hash.
node_link() { printf 'pv%s-%s' "$hash" "$1"; }

# nodes: the numbers of those that were ever started.
nodes() {
  local folder
  for folder in "$state"/node-*; do
    if [ -d "$folder" ]; then echo "${folder##*-}"; fi
  done
}

# in_net NUMBER COMMAND...: on the node's network, with the machine's files and processes.
in_net() { (exec_in_net "$@"); }
exec_in_net() {
  local init
  init=$(node_init "$1")
  shift
  exec nsenter --target "$init" --net "$@"
}

# in_node NUMBER COMMAND...: as one of its processes. Nothing of our environment is inherited: a proxy that the machine uses can't
# reach a cluster's addresses.
in_node() { (exec_in_node "$@"); }
exec_in_node() {
  local init
  init=$(node_init "$1")
  shift
  exec nsenter --target "$init" --net --mount --uts --pid --wdns=/ \
    env -i HOME=/root PATH=/var/lib/panda/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

node_daemon() { # NUMBER COMMAND...
  local log
  log=$(node_folder "$1")/log/$2.log
  exec_in_node "$1" setsid nohup "${@:2}" >> "$log" 2>&1 < /dev/null 9>&- &
}

# node_start NUMBER: the namespaces and their network; no daemon yet.
node_start() {
  local number=$1 folder forked
  folder=$(node_folder "$number")
  mkdir -p "$folder"/{lib/panda,log}
  cp "$(host_resolv_conf)" "$folder/lib/panda/resolv.conf"
  make_cgroup "$(node_cgroup "$number")"
  setsid nohup unshare --net --mount --propagation slave --pid --fork --mount-proc --uts \
    "$here/init.sh" "$folder" "$bin" "node-$number" >> "$folder/init.log" 2>&1 < /dev/null 9>&- &
  forked=$!
  wait_for 10 pgrep -x -P "$forked" pause ||
    die "the namespaces of node $number can't be made: $(tail -1 "$folder/init.log")" "this needs root, and a kernel with network, mount and process namespaces"
  pgrep -x -P "$forked" pause > "$folder/init.pid"
  node_connect "$number"
}

node_connect() {
  local number=$1 link other
  link=$(node_link "$number")
  ip link add "$link" type veth peer name eth0 netns "$(node_init "$number")"
  ip link set "$link" master "$bridge" up
  in_net "$number" ip link set lo up
  in_net "$number" ip address add "$(node_address "$number")/24" dev eth0
  in_net "$number" ip link set eth0 up
  in_net "$number" ip route add default via "10.$octet.0.1"
  in_net "$number" sysctl -qw net.ipv4.ip_forward=1
  in_net "$number" iptables -t nat -A POSTROUTING -s "$(all_pods)" ! -d "$(all_pods)" -j MASQUERADE
  for other in $(nodes); do
    if [ "$other" = "$number" ] || ! node_alive "$other"; then continue; fi
    in_net "$number" ip route replace "$(node_pods "$other")" via "$(node_address "$other")"
    in_net "$other" ip route replace "$(node_pods "$number")" via "$(node_address "$number")"
  done
}

# Pods live below a cgroup of the node's own. On version 2, its controllers are those that the root hands down.
make_cgroup() {
  local tree controller
  for tree in $(cgroup_trees); do mkdir -p "$tree/$1"; done
  if [ ! -f /sys/fs/cgroup/cgroup.controllers ]; then return 0; fi
  tr ' ' '\n' < /sys/fs/cgroup/cgroup.controllers | while read -r controller; do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true # some can't be handed down everywhere
  done
}
cgroup_trees() { awk '$3 == "cgroup" || $3 == "cgroup2" {print $2}' /proc/mounts; }

remove_cgroup() {
  local tree
  for tree in $(cgroup_trees); do
    if [ -d "$tree/$1" ]; then find "$tree/$1" -depth -type d -exec rmdir {} + ; fi
  done
}

# node_run NUMBER: its daemons. The control plane has to answer.
node_run() {
  local number=$1 files
  files=$(node_folder "$number")/lib/panda
  certificate "node-$number" "/O=system:nodes/CN=system:node:node-$number" "DNS:node-$number,IP:$(node_address "$number")"
  kubeconfig "node-$number" > "$files/kubelet.kubeconfig"
  kubeconfig proxy > "$files/proxy.kubeconfig"
  cp "$state/pki/"{ca.crt,"node-$number.crt","node-$number.key"} "$files/"
  containerd_files "$number" "$files"
  kubelet_files "$number" "$files"
  node_daemon "$number" containerd --config /var/lib/panda/containerd.toml
  wait_for 20 in_node "$number" test -S /run/containerd/containerd.sock || node_complain "$number" containerd
  node_daemon "$number" kubelet --config /var/lib/panda/kubelet.yaml --kubeconfig /var/lib/panda/kubelet.kubeconfig \
    --hostname-override "node-$number" --node-ip "$(node_address "$number")"
  node_daemon "$number" kube-proxy --config /var/lib/panda/proxy.yaml
}

node_ready() { wait_for 60 node_says_ready "$1" || node_complain "$1" kubelet; }
node_says_ready() { kubectl get node "node-$1" --no-headers | grep ' Ready'; }

node_complain() {
  local log
  log=$(node_folder "$1")/log/$2.log
  die "$2 of node $1 isn't ready: $(grep -E '^[EF][0-9]{4}|level=(error|fatal)' "$log" | tail -1)" "read $log"
}

containerd_files() {
  local files=$2 seen
  seen=$("$here/../ground/registry.sh" bridge)
  cat > "$files/containerd.toml" <<TOML
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "$MIRROR/panda-test/pause:1"
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "/var/lib/panda/registries"
[plugins.'io.containerd.cri.v1.runtime']
# Where CAP_SYS_RESOURCE is missing, a pod's negative oom_score_adj is refused and no pod starts.
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "/var/lib/panda/network"
TOML
  # An image's name says which registry; these say where that is, as seen from a node.
  pulled_from "$files" "$MIRROR" "$seen"
  pulled_from "$files" "$registry_name" "10.$octet.0.1:$registry_port"
  if ! hub_answers; then pulled_from "$files" docker.io "$seen"; fi
  mkdir -p "$files/network"
  # The MASQUERADE of node_connect stands in for the plugin's own, which would hide pods of one node from those of another.
  cat > "$files/network/10-panda.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "panda", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(node_pods "$1")"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
JSON
}

pulled_from() { # FILES REGISTRY ADDRESS
  mkdir -p "$1/registries/$2"
  printf 'server = "http://%s"\n' "$3" > "$1/registries/$2/hosts.toml"
}

kubelet_files() {
  local number=$1 files=$2
  # evictionHard and imageGCHighThresholdPercent: a disk that is nearly full is the machine's business, and would evict every pod.
  cat > "$files/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
failSwapOn: false
cgroupDriver: cgroupfs
cgroupRoot: /$(node_cgroup "$number")
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: /var/lib/panda/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: /var/lib/panda/node-$number.crt
tlsPrivateKeyFile: /var/lib/panda/node-$number.key
clusterDomain: cluster.local
clusterDNS: [$dns_address]
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
volumePluginDir: /var/lib/kubelet/volume-plugins
evictionHard: {memory.available: 100Mi}
imageGCHighThresholdPercent: 100
serializeImagePulls: false
nodeLeaseDurationSeconds: 20
YAML
  # conntrack's size is the machine's, and can't be set from a node.
  cat > "$files/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: /var/lib/panda/proxy.kubeconfig}
mode: nftables
hostnameOverride: node-$number
clusterCIDR: $(all_pods)
conntrack: {maxPerCore: 0}
YAML
}

# node_stop NUMBER: as when its power is cut.
node_stop() {
  if node_alive "$1"; then
    kill -9 "$(node_init "$1")"
    wait_for 20 not node_alive "$1" || die "node $1 doesn't end" "ps of process $(node_init "$1")"
  fi
  rm -f "$(node_folder "$1")/init.pid"
  # The last of its processes leave a moment after the first.
  wait_for 20 remove_cgroup "$(node_cgroup "$1")" || die "the cgroup $(node_cgroup "$1") can't be removed" "see its cgroup.procs"
}
