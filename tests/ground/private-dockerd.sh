#!/usr/bin/env bash
# private-dockerd.sh start|stop|kill|crash|remove|socket NAME: an engine of NAME's own, for tests that restart or kill one.
# It shares nothing with the machine's engine but the kernel: own socket, data, run folder, bridge and subnet.
#   stop    the daemon ends, its containers keep running (live-restore)
#   kill    kill -9 of the daemon
#   crash   kill -9 of the daemons and all containers, run state emptied, as after a power cut; start brings back what restarts
#   remove  ends the daemon and everything that it ran, and deletes its folder
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/ground/engine.sh
. "$here/engine.sh"

verb=${1:-} name=${2:-}
[[ $name =~ ^[a-z0-9-]{1,40}$ ]] || die "\`$name\` can't name an engine" "private-dockerd.sh $verb NAME, in a-z, 0-9 and -"
home=$PANDA_GROUND/engines/$name
socket=$home/docker.sock

# An interface name has at most 15 characters, hence a hash of the engine's.
bridge() { printf 'pd%s' "$(sha256sum <<< "$name" | cut -c1-10)"; }

# A second octet that no interface of this machine has yet; kept, so that a restart finds its containers' network.
subnet_octet() {
  if [ ! -f "$home/octet" ]; then
    mkdir -p "$home"
    local octet=$((RANDOM % 100 + 100))
    while ip -4 -o addr | grep -q "inet 10\.$octet\."; do octet=$((octet % 200 + 50)); done
    echo "$octet" > "$home/octet"
  fi
  cat "$home/octet"
}

# Engines share the chains that Docker makes in iptables, and one that starts empties them for all others (seen with 20.10).
# So a private engine leaves iptables alone, and these rules stand in: out to the world, and back. What is lost is the
# isolation between its networks; published ports work by the userland proxy.
firewall() { # -I or -D
  local net verb=$1
  net=10.$(subnet_octet).0.0/16
  iptables -t nat "$verb" POSTROUTING -s "$net" ! -d "$net" -j MASQUERADE
  iptables "$verb" FORWARD -s "$net" -j ACCEPT
  iptables "$verb" FORWARD -d "$net" -j ACCEPT
}

start() {
  [ "$(id -u)" = 0 ] || die "only root can start a private Docker engine" "run this as root"
  have dockerd || die "no Docker engine is installed" "run tests/ground/install.sh"
  local octet bridge mirror=
  octet=$(subnet_octet)
  bridge=$(bridge)
  if ! ip link show "$bridge" >/dev/null 2>&1; then
    ip link add name "$bridge" type bridge
    ip addr replace "10.$octet.0.1/24" dev "$bridge"
    ip link set "$bridge" up
    sysctl -qw net.ipv4.ip_forward=1
    firewall -I
  fi
  if ! hub_answers; then mirror="\"registry-mirrors\": [\"http://$MIRROR\"],"; fi
  engine_start "$home" "$socket" "$mirror
  \"bridge\": \"$bridge\",
  \"iptables\": false,
  \"default-address-pools\": [{\"base\": \"10.$octet.128.0/17\", \"size\": 24}],"
}

# Through the engine itself as far as it can: only it knows its containers, networks and mounts.
remove() {
  if [ ! -d "$home" ]; then return 0; fi
  start
  export DOCKER_HOST=unix://$socket
  docker ps -aq | xargs -r docker rm -f -v >/dev/null
  docker network ls -q --filter type=custom | xargs -r docker network rm >/dev/null
  engine_stop "$home"
  firewall -D
  ip link delete "$(bridge)"
  awk -v home="$home/" 'index($2, home) == 1 {print $2}' /proc/mounts | sort -r | xargs -r -n1 umount -l
  rm -rf "$home"
}

crash() {
  local file pid
  for file in dockerd containerd; do
    if alive "$home/$file.pid" "$file"; then kill -9 "$(cat "$home/$file.pid")"; fi
  done
  for pid in $(engine_processes); do kill -9 "$pid" 2>/dev/null || true; done
  awk -v home="$home/" 'index($2, home) == 1 {print $2}' /proc/mounts | sort -r | xargs -r -n1 umount -l
  rm -rf "$home/exec" "$home"/*.pid "$home"/*.sock
}

# The shims of this engine, known by the address in their arguments, and what runs below them.
engine_processes() {
  local cmdline pid
  for cmdline in /proc/[0-9]*/cmdline; do
    if tr '\0' ' ' 2>/dev/null < "$cmdline" | grep -q "^[^ ]*containerd-shim[^ ]* .*$home/"; then
      pid=$(basename "$(dirname "$cmdline")")
      pgrep -P "$pid" || true
      echo "$pid"
    fi
  done
}

case $verb in
  start) start ;;
  stop) stop_pidfile "$home/dockerd.pid" dockerd 30 ;;
  kill) if alive "$home/dockerd.pid" dockerd; then kill -9 "$(cat "$home/dockerd.pid")"; fi ;;
  crash) crash ;;
  remove) remove ;;
  socket) echo "$socket" ;;
  *) die "unknown argument \`$verb\`" "private-dockerd.sh start|stop|kill|crash|remove|socket NAME" ;;
esac
