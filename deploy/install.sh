#!/usr/bin/env bash
# install.sh [--binaries DIR] [FLAGS OF panda-server install]: makes this machine a Docker host of Panda. Safe to run again.
#
#   install.sh --server-image REGISTRY/panda-server:VERSION --edge-image REGISTRY/panda-edge:VERSION --public-url https://panda.example.com
#   install.sh --binaries target/release --public-url https://panda.example.com      # images are made from these programs
#
# Needs root and a Docker engine, nothing else. Leaves a command `panda-server` in /usr/local/bin that runs the installed
# version in a container, with the same paths as on the host.
set -euo pipefail

fail() {
  printf 'error: %s\nfix:   %s\n' "$1" "$2" >&2
  exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
config=${PANDA_CONFIG:-/etc/panda/server.toml}
command=${PANDA_COMMAND:-/usr/local/bin/panda-server}

[ "$(id -u)" = 0 ] || fail "this needs root" "sudo $0 $*"
command -v docker >/dev/null || fail "no Docker engine is installed" "https://docs.docker.com/engine/install, or apt-get install docker.io"
docker info >/dev/null 2>&1 || fail "the Docker engine doesn't answer" "systemctl start docker"

binaries=
image=
data=/var/lib/panda
flags=()
while [ $# -gt 0 ]; do
  case $1 in
    --binaries) binaries=${2:?--binaries needs a folder} && shift 2 ;;
    --server-image) image=${2:?--server-image needs an image} && flags+=("$1" "$2") && shift 2 ;;
    --data-dir) data=${2:?--data-dir needs a folder} && shift 2 ;;
    *) flags+=("$1") && shift ;;
  esac
done

if [ -n "$binaries" ]; then
  # Tags by content, so that an upgrade has something to go back to.
  for program in server edge; do
    [ -x "$binaries/panda-$program" ] || fail "$binaries/panda-$program isn't a program" "make build"
    tag=panda-$program:$(sha256sum "$binaries/panda-$program" | cut -c1-12)
    "$here/images/panda/build.sh" "$binaries/panda-$program" "$tag" >/dev/null
    flags+=("--$program-image" "$tag")
    if [ "$program" = server ]; then image=$tag; fi
  done
fi
# Run again without naming one: the version that is installed.
image=${image:-$(sed -n 's/^server *= *"\(.*\)"/\1/p' "$data/install.toml" 2>/dev/null || true)}
[ -n "$image" ] || fail "no version was named" "--server-image IMAGE --edge-image IMAGE, or --binaries DIR"

mkdir -p "$(dirname "$config")" "$data"
cat > "$command.new" <<SH
#!/bin/sh
# Runs the installed panda-server in a container, with the host's paths. Written by Panda's install.sh.
image=\$(sed -n 's/^server *= *"\\(.*\\)"/\\1/p' "$data/install.toml" 2>/dev/null)
exec docker run --rm -i -e PANDA_COPY_TO --network host --pid host --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH \\
  -v /var/run/docker.sock:/var/run/docker.sock -v "$(dirname "$config"):$(dirname "$config")" -v "$data:$data" \\
  -v "\$PWD:\$PWD" -w "\$PWD" "\${PANDA_IMAGE:-\$image}" --config "$config" "\$@"
SH
chmod 755 "$command.new"
mv "$command.new" "$command"
PANDA_IMAGE=$image "$command" --data-dir "$data" install "${flags[@]}"
