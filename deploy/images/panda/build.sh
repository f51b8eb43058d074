#!/usr/bin/env bash
# build.sh BINARY IMAGE: an image of panda-server or panda-edge that holds the program, the shared libraries it is linked to,
# the CA bundle, and nothing else. Needs no base image and no registry: it works on any host that runs the program itself.
set -euo pipefail

fail() {
  printf 'error: %s\nfix:   %s\n' "$1" "$2" >&2
  exit 1
}

[ $# = 2 ] || fail "two arguments are needed, not $#" "build.sh target/release/panda-server panda-server:dev"
binary=$1 image=$2
[ -x "$binary" ] || fail "\`$binary\` isn't a program" "make build"
program=$(basename "$binary")
certificates=/etc/ssl/certs/ca-certificates.crt
[ -r "$certificates" ] || fail "$certificates can't be read" "install the package ca-certificates"

# The files' contents decide; an image that holds them already stays as it is.
libraries=$(ldd "$binary" 2>/dev/null | grep -oE '/[^ ]+' || true) # none: linked statically
# shellcheck disable=SC2086 # one word a library
content=$(cat "$binary" $libraries "$certificates" "${BASH_SOURCE[0]}" | sha256sum | cut -c1-16)
if [ "$(docker image inspect --format '{{index .Config.Labels "panda.content"}}' "$image" 2>/dev/null)" = "$content" ]; then
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rootfs=$work/rootfs
mkdir -p "$rootfs"/{etc/ssl/certs,etc/panda,run/panda,tmp,usr/bin,var/lib/panda}
chmod 755 "$rootfs"
chmod 1777 "$rootfs/tmp"
cp "$binary" "$rootfs/usr/bin/$program"
for library in $libraries; do
  mkdir -p "$rootfs$(dirname "$library")"
  cp -L "$library" "$rootfs$library"
done
# A C library before 2.34 loads these by name to resolve hosts.
for library in libnss_dns.so.2 libnss_files.so.2 libresolv.so.2; do
  found=$(ldconfig -p 2>/dev/null | awk -v name="$library" '$1 == name {print $NF; exit}') || true
  if [ -n "$libraries" ] && [ -n "$found" ]; then
    mkdir -p "$rootfs$(dirname "$found")"
    cp -L "$found" "$rootfs$found"
  fi
done
cp -L "$certificates" "$rootfs$certificates"
printf 'root:x:0:0:root:/:/sbin/nologin\npanda:x:10001:10001:panda:/var/lib/panda:/sbin/nologin\n' > "$rootfs/etc/passwd"
printf 'root:x:0:\npanda:x:10001:\n' > "$rootfs/etc/group"
printf 'passwd: files\ngroup: files\nhosts: files dns\n' > "$rootfs/etc/nsswitch.conf"

tar -C "$rootfs" --numeric-owner --owner=0 --group=0 -cf "$work/rootfs.tar" .
docker import --change "ENTRYPOINT [\"/usr/bin/$program\"]" --change "ENV SSL_CERT_FILE=$certificates" \
  --change "LABEL panda.content=$content" "$work/rootfs.tar" "$image" > "$work/log" 2>&1 ||
  fail "the engine can't import $image: $(tail -1 "$work/log")" "see that \`docker info\` answers"
echo "$image"
