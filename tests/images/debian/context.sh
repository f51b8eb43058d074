#!/usr/bin/env bash
# Makes rootfs.tar: the smallest Debian that apt still works in, without manuals, as the official slim images have it.
set -euo pipefail
options=()
if [ -s apt.conf ]; then
  while read -r line; do options+=(--aptopt="$line"); done < apt.conf
fi
# On Debian the machine's own source is the nearest one that is known to answer.
sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null || true)
mirror=${PANDA_DEBIAN_MIRROR:-$(sed -n 's/^URIs: *\(\S*\/debian\)\/\?$/\1/p; s/^deb \(\[[^]]*\] \)\?\(\S*\/debian\)\/\? .*/\2/p' <<< "$sources" | head -1)}
mmdebstrap --quiet --variant=minbase --include=ca-certificates,tzdata,netbase "${options[@]}" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  "$SUITE" rootfs.tar ${mirror:+"$mirror"}
