# shellcheck shell=bash
# Starting and stopping a dockerd of our own in a folder of its own. Sourced by docker.sh and private-dockerd.sh.

# containerd is a process of its own, as on every distribution: one that dockerd starts dies with it, and a dockerd that
# was killed then finds a stale pid and doesn't come back (seen with 20.10).

# engine_start HOME SOCKET EXTRA-JSON: HOME holds data, run state, pid, log and daemon.json.
# live-restore keeps containers running while the daemon is away, as a production host should.
# EXTRA-JSON is lines of daemon.json, each with its comma at the end.
engine_start() {
  local home=$1 socket=$2 extra=${3:-}
  if alive "$home/dockerd.pid" dockerd && DOCKER_HOST=unix://$socket docker info >/dev/null 2>&1; then
    return 0
  fi
  mkdir -p "$home/data" "$home/exec" "$(dirname "$socket")"
  alive "$home/containerd.pid" containerd || containerd_start "$home"
  rm -f "$home/dockerd.pid" "$socket"
  cat > "$home/daemon.json" <<JSON
{
  $extra
  "data-root": "$home/data",
  "exec-root": "$home/exec",
  "containerd": "$home/containerd.sock",
  "pidfile": "$home/dockerd.pid",
  "hosts": ["unix://$socket"],
  "live-restore": true,
  "log-driver": "json-file",
  "log-opts": {"max-size": "10m", "max-file": "2"}
}
JSON
  # setsid: a Ctrl-C in the terminal of a test must not reach the engine.
  setsid nohup dockerd --config-file "$home/daemon.json" >> "$home/dockerd.log" 2>&1 < /dev/null 9>&- &
  DOCKER_HOST=unix://$socket wait_for 60 docker info ||
    die "dockerd doesn't answer on $socket after 60 s: $(engine_complaint "$home")" "read $home/dockerd.log"
}

containerd_start() {
  local home=$1
  cat > "$home/containerd.toml" <<TOML
version = 2
root = "$home/containerd"
state = "$home/exec/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$home/containerd.sock"
TOML
  rm -f "$home/containerd.sock"
  setsid nohup containerd --config "$home/containerd.toml" >> "$home/containerd.log" 2>&1 < /dev/null 9>&- &
  echo $! > "$home/containerd.pid"
  wait_for 20 test -S "$home/containerd.sock" ||
    die "containerd doesn't answer on $home/containerd.sock after 20 s: $(tail -1 "$home/containerd.log")" "read $home/containerd.log"
}

engine_complaint() { grep -E 'level=(error|fatal)|^failed' "$1/dockerd.log" 2>/dev/null | tail -1; }

# engine_stop HOME: stops the daemons, leaves their containers to live-restore.
engine_stop() {
  stop_pidfile "$1/dockerd.pid" dockerd 30
  stop_pidfile "$1/containerd.pid" containerd 10
}
