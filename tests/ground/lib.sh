# shellcheck shell=bash
# What the scripts of tests/ground and tests/images share. Sourced, never run.

# Everything that is kept between runs: built binaries, the local registry's blobs.
PANDA_CACHE=${PANDA_CACHE:-$HOME/.cache/panda}
# State of the engine that we start ourselves, where the machine runs none.
PANDA_GROUND=${PANDA_GROUND:-/var/lib/panda-ground}
# The local registry that stands in for Docker Hub. Read and write on loopback only.
MIRROR_PORT=${PANDA_MIRROR_PORT:-5000}
MIRROR=127.0.0.1:$MIRROR_PORT
export PANDA_CACHE PANDA_GROUND MIRROR MIRROR_PORT

# Where engines, Rust and Go are when a login shell didn't add them. Go's own folder is install.sh's.
export PATH=$PATH:/usr/sbin:/sbin:$HOME/.cargo/bin:$PANDA_CACHE/go/bin:/usr/local/go/bin

say() { printf '%s: %s\n' "$(basename "$0" .sh)" "$*" >&2; }

# die CAUSE FIX: every failure names both.
die() {
  printf 'error: %s\nfix:   %s\n' "$1" "$2" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# at_least WANTED FOUND: versions.
at_least() { [ -n "${2:-}" ] && printf '%s\n' "$1" "$2" | sort -VC; }

# as_root COMMAND...: through sudo where we aren't root.
as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else
    have sudo || die "\`$1\` needs root and there is no sudo" "run this as root, or install sudo"
    sudo "$@"
  fi
}

has_systemd() { [ -d /run/systemd/system ]; }

# wait_for SECONDS COMMAND...: true as soon as COMMAND is, false after SECONDS.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || return 1
    sleep 0.1
  done
}

# lock NAME: one at a time of those who set up what is shared between runs; held until this script ends.
# Daemons are started with 9>&-, or they would hold it for as long as they live.
lock() {
  mkdir -p "$PANDA_CACHE"
  exec 9> "$PANDA_CACHE/$1.lock"
  flock 9
}

# alive PIDFILE NAME: the file names a live process of that program.
# The name is compared because a pid of the last boot may belong to somebody else by now.
alive() {
  local pid
  pid=$(cat "$1" 2>/dev/null) || return 1
  [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "${2:0:15}" ]
}

# stop_pidfile PIDFILE NAME SECONDS: TERM, then KILL after SECONDS.
stop_pidfile() {
  alive "$1" "$2" || { rm -f "$1"; return 0; }
  local pid
  pid=$(cat "$1")
  kill "$pid" 2>/dev/null || true
  wait_for "$3" not alive "$1" "$2" || kill -9 "$pid" 2>/dev/null || true
  rm -f "$1"
}

not() { ! "$@"; }

# hub_answers: Docker Hub serves a manifest within 3 seconds. Then nothing needs to stand in for it.
# The answer is kept in PANDA_HUB=yes|no so that one run asks once (and a person can decide).
hub_answers() {
  if [ -z "${PANDA_HUB:-}" ]; then
    PANDA_HUB=no
    local scope='service=registry.docker.io&scope=repository:library/hello-world:pull' token
    token=$(curl -fsS -m 3 "https://auth.docker.io/token?$scope" 2>/dev/null | sed -n 's/.*"token":"\([^"]*\)".*/\1/p') || true
    if [ -n "$token" ] && curl -fsS -m 3 -o /dev/null -I -H "Authorization: Bearer $token" \
      -H 'Accept: application/vnd.oci.image.index.v1+json' \
      https://registry-1.docker.io/v2/library/hello-world/manifests/latest 2>/dev/null; then
      PANDA_HUB=yes
    fi
    export PANDA_HUB
  fi
  [ "$PANDA_HUB" = yes ]
}

# With systemd-resolved, /etc/resolv.conf names a loopback address and the real servers stand elsewhere.
host_resolv_conf() {
  if grep -q '^nameserver 127.0.0.53' /etc/resolv.conf && [ -f /run/systemd/resolve/resolv.conf ]; then
    echo /run/systemd/resolve/resolv.conf
  else
    echo /etc/resolv.conf
  fi
}
