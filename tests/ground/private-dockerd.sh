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
# shellcheck source=tests/ground/net.sh
. "$here/net.sh"

verb=${1:-} name=${2:-}
[[ $name =~ ^[a-z0-9-]{1,40}$ ]] || die "\`$name\` can't name an engine" "private-dockerd.sh $verb NAME, in a-z, 0-9 and -"
home=$PANDA_GROUND/engines/$name
socket=$home/docker.sock

# An interface name has at most 15 characters, hence a hash of the engine's.
bridge() { printf 'pd%s' "$(sha256sum <<< "$name" | cut -c1-10)"; }

# Engines share the chains that Docker makes in iptables, and one that starts empties them for all others (seen with 20.10).
# So a private engine leaves iptables alone, and the rules of our own bridge stand in. What is lost is the isolation between
# its networks; published ports work by the userland proxy.
start() {
  [ "$(id -u)" = 0 ] || die "only root can start a private Docker engine" "run this as root"
  have dockerd || die "no Docker engine is installed" "run tests/ground/install.sh"
  local octet bridge mirror=
  octet=$(own_octet "$home")
  bridge=$(bridge)
  own_bridge "$bridge" "$octet"
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
  remove_bridge "$(bridge)" "$(own_octet "$home")"
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
