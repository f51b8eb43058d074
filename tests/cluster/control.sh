# shellcheck shell=bash
# The control plane, and Pebble beside it: processes of the machine on node 1's network. They outlive node 1's other processes, as
# they would on machines of their own. Sourced by cluster.sh.
# shellcheck disable=SC2154 # the variables that aren't set here are cluster.sh's

control_daemon() { # COMMAND...
  local pids=$state/control
  if alive "$pids/$1.pid" "$1"; then return 0; fi
  exec_in_net 1 setsid nohup env -i PATH="$PATH" HOME=/root PEBBLE_VA_NOSLEEP=1 "$bin/$1" "${@:2}" >> "$pids/$1.log" 2>&1 < /dev/null 9>&- &
  echo $! > "$pids/$1.pid"
}

control_certificates() {
  authority
  certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:$(node_address 1),IP:$api_service"
  certificate admin /O=system:masters/CN=admin
  certificate controllers /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate proxy /CN=system:kube-proxy
  certificate front-proxy /CN=front-proxy
  certificate pebble /CN=pebble "IP:$(node_address 1)"
  mkdir -p "$state/control"
  kubeconfig controllers > "$state/control/controllers.kubeconfig"
  kubeconfig scheduler > "$state/control/scheduler.kubeconfig"
  kubeconfig admin > "$state/kubeconfig"
}

etcd_start() {
  local client=http://127.0.0.1:2379 peer=http://127.0.0.1:2380
  control_daemon etcd --data-dir "$state/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls $client --advertise-client-urls $client \
    --listen-peer-urls $peer --initial-advertise-peer-urls $peer --initial-cluster default=$peer
}

# The tolerations: pods leave a lost node after seconds instead of 5 minutes.
api_start() {
  local pki=$state/pki
  control_daemon kube-apiserver --etcd-servers http://127.0.0.1:2379 --advertise-address "$(node_address 1)" --secure-port 6443 \
    --service-cluster-ip-range "$services" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --service-account-issuer https://kubernetes.default.svc --service-account-signing-key-file "$pki/accounts.key" \
    --service-account-key-file "$pki/accounts.key" \
    --kubelet-client-certificate "$pki/admin.crt" --kubelet-client-key "$pki/admin.key" --kubelet-preferred-address-types InternalIP \
    --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy --requestheader-username-headers X-Remote-User \
    --requestheader-group-headers X-Remote-Group --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$pki/front-proxy.crt" --proxy-client-key-file "$pki/front-proxy.key" \
    --default-not-ready-toleration-seconds 10 --default-unreachable-toleration-seconds 10
}
api_ready() {
  wait_for 60 kubectl get --raw /readyz ||
    die "the API server isn't ready: $(grep -E '^[EF][0-9]{4}' "$state/control/kube-apiserver.log" | tail -1)" "read $state/control/kube-apiserver.log"
}

# Both end at once when the API server isn't there yet.
controllers_start() {
  local pki=$state/pki at=$state/control
  control_daemon kube-controller-manager --leader-elect=false --use-service-account-credentials --node-monitor-grace-period 20s \
    --kubeconfig "$at/controllers.kubeconfig" --authentication-kubeconfig "$at/controllers.kubeconfig" --authorization-kubeconfig "$at/controllers.kubeconfig" \
    --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" --flex-volume-plugin-dir "$state/control/volume-plugins"
  control_daemon kube-scheduler --leader-elect=false \
    --kubeconfig "$at/scheduler.kubeconfig" --authentication-kubeconfig "$at/scheduler.kubeconfig" --authorization-kubeconfig "$at/scheduler.kubeconfig"
}

# Every name that this DNS server is asked for is node 1, where the ingress is, until a test says otherwise to its management port.
pebble_start() {
  local at=$state/control address
  address=$(node_address 1)
  cat > "$at/pebble.json" <<JSON
{"pebble": {
  "listenAddress": "$address:14000", "managementListenAddress": "$address:15000",
  "certificate": "$state/pki/pebble.crt", "privateKey": "$state/pki/pebble.key",
  "httpPort": 80, "tlsPort": 443, "ocspResponderURL": "", "externalAccountBindingRequired": false
}}
JSON
  control_daemon pebble-challtestsrv -dnsserver "$address:8053" -management "$address:8055" -defaultIPv4 "$address" -defaultIPv6 "" \
    -http01 "" -https01 "" -tlsalpn01 "" -doh ""
  control_daemon pebble -config "$at/pebble.json" -dnsserver "$address:8053"
}

control_down() { control_stop pebble pebble-challtestsrv kube-scheduler kube-controller-manager kube-apiserver etcd; }

# control_stop PROCESS...: KILL, as nothing of it is kept, and the API server would drain for many seconds.
control_stop() {
  local process
  for process in "$@"; do stop_pidfile "$state/control/$process.pid" "$process" 0; done
}
