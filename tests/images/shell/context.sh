#!/usr/bin/env bash
# Debian's busybox: one static program that is whichever its name says.
set -euo pipefail
apt-get download -q busybox-static
dpkg-deb -x busybox-static_*.deb package
mkdir -p root/{bin,tmp}
chmod 1777 root/tmp
cp package/bin/busybox root/bin/
for name in $(root/bin/busybox --list); do
  [ "$name" = busybox ] || ln -s busybox "root/bin/$name"
done
rm -r package busybox-static_*.deb
