#!/usr/bin/env bash
# postgres.sh up|down|url FOLDER: a PostgreSQL of FOLDER's own, on a free loopback port, without durability.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/lib.sh"

verb=${1:-} home=${2:-}
[ -n "$home" ] || die "no folder was given" "postgres.sh up|down|url FOLDER"

# PostgreSQL refuses to run as root.
unprivileged() {
  if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME=/ "$@"); else "$@"; fi
}

free_port() {
  local port
  for _ in $(seq 100); do
    port=$((RANDOM % 10000 + 20000))
    ss -Hltn "sport = :$port" | grep -q . || { echo "$port"; return; }
  done
}

up() {
  local bin port
  bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -1)
  [ -x "$bin/initdb" ] || die "PostgreSQL's programs aren't installed" "run tests/ground/install.sh test"
  mkdir -p "$home"
  if [ "$(id -u)" = 0 ]; then chown nobody:nogroup "$home"; fi
  unprivileged "$bin/initdb" -D "$home/data" -U panda --auth=trust -E UTF8 --no-sync > "$home/initdb.log" 2>&1 ||
    die "PostgreSQL's initdb failed: $(tail -1 "$home/initdb.log")" "read $home/initdb.log"
  port=$(free_port)
  echo "$port" > "$home/port"
  # Each test has a database of its own, and each its own pool.
  unprivileged setsid nohup "$bin/postgres" -D "$home/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
    -c max_connections=500 -c fsync=off -c synchronous_commit=off -c full_page_writes=off > "$home/log" 2>&1 < /dev/null &
  wait_for 30 "$bin/pg_isready" -q -h 127.0.0.1 -p "$port" -U panda || die "PostgreSQL doesn't answer on port $port: $(tail -1 "$home/log")" "read $home/log"
}

case $verb in
  up) up ;;
  down)
    if [ -f "$home/data/postmaster.pid" ]; then
      head -1 "$home/data/postmaster.pid" > "$home/pid"
      # INT: ends the sessions that are open.
      if alive "$home/pid" postgres; then kill -INT "$(cat "$home/pid")"; fi
      wait_for 10 not alive "$home/pid" postgres || stop_pidfile "$home/pid" postgres 0
    fi
    ;;
  url) echo "postgres://panda@127.0.0.1:$(cat "$home/port")/postgres" ;;
  *) die "unknown argument \`$verb\`" "postgres.sh up|down|url FOLDER" ;;
esac
