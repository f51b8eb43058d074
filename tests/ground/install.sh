#!/usr/bin/env bash
# install.sh demo|test|bench: installs what is missing on a Debian or Ubuntu, as root or through sudo. Nothing missing: nothing done.
#   demo   a Docker engine, a C compiler, Rust; what makes the local images where Docker Hub can't be reached
#   test   also Go, PostgreSQL's programs, the local registry, what a test cluster's nodes take from the system
#   bench  also the proxies and the load generator that we are compared with
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/lib.sh"

rust=1.95
go=1.26
go_release=1.26.8

purpose=${1:-test}
case $purpose in demo | test | bench) ;; *) die "unknown argument \`$purpose\`" "install.sh demo|test|bench" ;; esac

# stand_ins: the local images have to be built here. Tests always need some of what builds them.
stand_ins() { [ "$purpose" != demo ] || ! hub_answers; }

wanted_packages() {
  echo build-essential pkg-config openssl curl ca-certificates iproute2 procps iptables
  have dockerd || docker info >/dev/null 2>&1 || echo docker.io
  if stand_ins; then
    echo docker-registry mmdebstrap debian-archive-keyring libseccomp-dev
    have npm || echo npm
  fi
  # socat: nodes have networks of their own and reach the host's loopback through it.
  [ "$purpose" = demo ] || echo containernetworking-plugins nftables socat
  [ "$purpose" = demo ] || [ -n "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || echo postgresql
  if [ "$purpose" = bench ]; then echo wrk nginx-light haproxy caddy; fi
}

missing_packages() {
  local package
  for package in "$@"; do
    # nginx-light is one of several packages with the same program.
    if [ "$package" = nginx-light ] && have nginx; then continue; fi
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q '^install ok' || echo "$package"
  done
}

install_packages() {
  # Whether Docker Hub answers, and so what else is needed, takes curl to find out.
  apt_install curl ca-certificates
  local packages
  mapfile -t packages < <(wanted_packages | tr ' ' '\n')
  apt_install "${packages[@]}"
  # Newer releases have the client in a package of its own.
  if ! have docker; then apt_install docker-cli; fi
}

apt_install() {
  local missing log
  mapfile -t missing < <(missing_packages "$@")
  if [ ${#missing[@]} = 0 ]; then return 0; fi
  have apt-get || die "this is neither Debian nor Ubuntu, and these are missing: ${missing[*]}" "install them by hand, then run this again"
  say "installing ${missing[*]}"
  log=$(mktemp)
  quiet_services
  as_root apt-get update -q > "$log" 2>&1 ||
    die "\`apt-get update\` failed: $(grep -E '^(E|Err)' "$log" | tail -1)" "see that the sources in /etc/apt answer"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends "${missing[@]}" > "$log" 2>&1 ||
    die "\`apt-get install ${missing[*]}\` failed: $(grep '^E' "$log" | tail -1)" "run it by hand; the whole output is in $log"
  loud_services "${missing[@]}"
  rm -f "$log"
}

# Packages of servers start them, on ports that we or the user may need. Docker's is wanted and started by docker.sh.
quiet_services() {
  if [ -e /usr/sbin/policy-rc.d ]; then return 0; fi
  printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
  as_root chmod +x /usr/sbin/policy-rc.d
  trap loud_services EXIT
}
loud_services() {
  if [ "$(cat /usr/sbin/policy-rc.d 2>/dev/null)" = "$(printf '#!/bin/sh\nexit 101\n')" ]; then as_root rm -f /usr/sbin/policy-rc.d; fi
  trap - EXIT
  if ! has_systemd; then return 0; fi
  local package
  for package in "$@"; do
    case $package in
      docker-registry | nftables | postgresql | haproxy | caddy) as_root systemctl disable -q "$package" 2>/dev/null || true ;;
      nginx-light) as_root systemctl disable -q nginx 2>/dev/null || true ;;
    esac
  done
}

reachable() { curl -fsSIL -m 5 -o /dev/null "$1" 2>/dev/null; }

install_rust() {
  local found
  found=$(rustc --version 2>/dev/null | awk '{print $2}') || true
  if at_least "$rust" "$found" && have cargo; then return 0; fi
  local cause="Rust ${found:-(none)} is installed and $rust or newer is needed"
  if have rustup; then
    if rustup toolchain install stable --profile minimal -c clippy -c rustfmt && rustup default stable; then return 0; fi
    die "$cause; rustup can't fetch it" "see that https://static.rust-lang.org answers"
  fi
  reachable https://sh.rustup.rs || die "$cause; https://sh.rustup.rs doesn't answer" "install Rust by hand: https://rustup.rs"
  say "installing Rust by rustup"
  curl -fsS https://sh.rustup.rs | sh -s -- -qy --profile minimal -c clippy -c rustfmt >/dev/null ||
    die "$cause; rustup's installer failed" "install Rust by hand: https://rustup.rs"
}

install_go() {
  local found arch
  found=$(go env GOVERSION 2>/dev/null | sed 's/^go//') || true
  if at_least "$go" "$found"; then return 0; fi
  # Since 1.21 an older Go fetches the release that a module asks for.
  if at_least 1.21 "$found" && GOTOOLCHAIN=go$go_release go version >/dev/null 2>&1; then return 0; fi
  local cause="Go ${found:-(none)} is installed and $go or newer is needed"
  arch=$(dpkg --print-architecture)
  local archive=https://go.dev/dl/go$go_release.linux-$arch.tar.gz
  reachable "$archive" || die "$cause; $archive doesn't answer" "install Go by hand: https://go.dev/doc/install"
  say "installing Go $go_release into $PANDA_CACHE/go"
  mkdir -p "$PANDA_CACHE"
  rm -rf "$PANDA_CACHE/go"
  curl -fsSL "$archive" | tar -xz -C "$PANDA_CACHE" || die "$cause; $archive can't be unpacked" "see that the disk isn't full, then run this again"
}

# A build tree, the images and a few databases.
enough_disk() {
  local free
  free=$(df -Pm "$HOME" | awk 'NR == 2 {print $4}')
  [ "$free" -ge 10000 ] || die "$HOME has $free MB free and about 10,000 MB are needed" "free some space"
}

enough_disk
install_packages
install_rust
if stand_ins; then install_go; fi
