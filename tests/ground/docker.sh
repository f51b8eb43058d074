#!/usr/bin/env bash
# docker.sh up|down|status: makes sure that a Docker engine answers.
# An engine that already answers is used as it is. Without one, systemd starts the installed one;
# without systemd (a container, a bare VM) we start dockerd ourselves, with state of its own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/ground/engine.sh
. "$here/engine.sh"

home=$PANDA_GROUND/main
socket=/var/run/docker.sock

up() {
  if docker info >/dev/null 2>&1; then
    return 0
  fi
  have dockerd || die "no Docker engine is installed" "run tests/ground/install.sh"
  if has_systemd; then
    as_root systemctl enable --now docker || die "systemd can't start docker.service" "read \`journalctl -u docker\`"
    wait_for 60 docker info || die "docker.service runs but \`docker info\` fails" "add yourself to the group docker, or use sudo"
    return 0
  fi
  [ "$(id -u)" = 0 ] || die "no Docker engine answers and only root can start one here" "run this as root"
  engine_start "$home" "$socket" "$(mirror_setting)"
}

# The engine's mirror is the local registry only where Docker Hub can't be reached.
mirror_setting() {
  if ! hub_answers; then printf '"registry-mirrors": ["http://%s"],' "$MIRROR"; fi
}

case ${1:-} in
  up)
    lock docker
    up
    ;;
  down) engine_stop "$home" ;; # only the one that we started
  status) docker info --format '{{.ServerVersion}} {{.Driver}} cgroup v{{.CgroupVersion}} {{.DockerRootDir}}' ;;
  *) die "unknown argument \`${1:-}\`" "docker.sh up|down|status" ;;
esac
