#!/bin/sh
# Starts buildkitd inside a container that isn't privileged. POSIX sh: the official image is Alpine.
set -eu

# Docker mounts the container's own cgroups read-only, and buildkitd needs a child cgroup for each step.
# Only the mount is made writable: the tree stays the container's own, so that a step stays inside its limits.
writable_cgroups() {
  # A read-only bind mount needs `bind` to be remounted; already writable (privileged, or a user namespace): nothing to do.
  for mount in /sys/fs/cgroup /sys/fs/cgroup/*; do
    mountpoint -q "$mount" || continue
    grep -q " $mount [a-z0-9]* rw[, ]" /proc/mounts && continue
    mount -o remount,bind,rw "$mount"
  done
  # Version 2: a cgroup with processes in it can't pass controllers on to children, so everything moves one level down.
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    mkdir -p /sys/fs/cgroup/init
    while read -r pid; do
      echo "$pid" > /sys/fs/cgroup/init/cgroup.procs 2>/dev/null || true # a process may have ended by now
    done < /sys/fs/cgroup/cgroup.procs
    read -r controllers < /sys/fs/cgroup/cgroup.controllers
    for controller in $controllers; do
      echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control || true # one that can't be handed on isn't needed
    done
  fi
}

# reserve_processes: a step that starts processes without end must leave the daemon some, or nothing could kill it any more.
reserve_processes() {
  for root in /sys/fs/cgroup /sys/fs/cgroup/pids; do
    [ -f "$root/pids.max" ] || continue
    read -r limit < "$root/pids.max"
    [ "$limit" != max ] || continue
    mkdir -p "$root/buildkit" # where the daemon makes its steps' cgroups
    echo $((limit - limit / 8)) > "$root/buildkit/pids.max"
  done
}

# keep_reserve: on a disk that is full to the last block the daemon can't delete anything either, because its databases note
# each deletion in blocks that are new to them. A file that is given up then makes room for that; it comes back later.
keep_reserve() {
  reserve=/var/lib/buildkit/reserve reserve_mb=32
  while :; do
    df -Pk /var/lib/buildkit | {
      read -r _
      # Not the fourth column: root, and so the daemon and its steps, may use what a filesystem keeps back from others.
      read -r _ total used _
      case $total$used in '' | *[!0-9]*) exit 0 ;; esac
      free_kb=$((total - used))
      if [ "$free_kb" -lt 4096 ]; then
        rm -f "$reserve" "$reserve.new"
      elif [ ! -f "$reserve" ] && [ "$free_kb" -gt $((reserve_mb * 4096)) ]; then
        # Random, because a filesystem that compresses would keep no room for zeros.
        dd if=/dev/urandom of="$reserve.new" bs=1048576 count="$reserve_mb" 2>/dev/null && mv "$reserve.new" "$reserve"
      fi
    } || true # a full disk: next time
    sleep 1
  done
}

# configure: the template, plus what depends on the machine.
configure() {
  # Who can't make cgroups runs steps in this container's own; BuildKit calls that rootless.
  rootless=false
  [ "${PANDA_BUILD_CGROUPS:-own}" = own ] || rootless=true
  sed -e "s/@PARALLEL@/${PANDA_BUILD_PARALLEL:-2}/" -e "s/@ROOTLESS@/$rootless/" \
    -e "s/@CACHE_MB@/${PANDA_BUILD_CACHE_MB:-10240}/" -e "s/@FREE_MB@/${PANDA_BUILD_FREE_MB:-2048}/" \
    /etc/panda/buildkitd.toml
  # A step can't use this container's resolver: it is a loopback address, which BuildKit replaces by a public one.
  if [ -n "${PANDA_BUILD_DNS:-}" ]; then
    printf '[dns]\n  nameservers = ['
    separator=
    for server in $PANDA_BUILD_DNS; do
      printf '%s"%s"' "$separator" "$server"
      separator=', '
    done
    printf ']\n'
  fi
  # Registries spoken to by plain http: the platform's own, inside the build network.
  for host in ${PANDA_BUILD_PLAIN_HTTP:-}; do
    printf '[registry."%s"]\n  http = true\n' "$host"
  done
  # "docker.io=host:port ghcr.io=host:port": mirrors by plain http.
  for pair in ${PANDA_BUILD_MIRRORS:-}; do
    printf '[registry."%s"]\n  mirrors = ["%s"]\n[registry."%s"]\n  http = true\n' "${pair%%=*}" "${pair#*=}" "${pair#*=}"
  done
}

if [ "${PANDA_BUILD_CGROUPS:-own}" = own ]; then
  writable_cgroups
  reserve_processes
fi
# Where no cgroup counts processes, the user namespace does: daemon and steps together.
# shellcheck disable=SC3045 # Alpine's and Debian's sh both have it
if [ -n "${PANDA_BUILD_PROCESSES:-}" ]; then ulimit -p "$PANDA_BUILD_PROCESSES"; fi
mkdir -p /run/panda-buildkit
configure > /run/buildkitd.toml
keep_reserve &
exec buildkitd --config /run/buildkitd.toml "$@"
