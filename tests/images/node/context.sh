#!/usr/bin/env bash
# Fetches node, npm and corepack as npm packages into ./node, ./npm and ./corepack.
set -euo pipefail
case $(uname -m) in
  x86_64) arch=x64 ;;
  aarch64) arch=arm64 ;;
  *) echo "error: npm has no node for $(uname -m)"; exit 1 ;;
esac
fetch() { # package version folder
  local archive
  archive=$(npm pack --silent --ignore-scripts "$1@$2" | tail -1)
  mkdir "$3"
  tar xzf "$archive" -C "$3" --strip-components=1
  rm "$archive"
}
fetch "node-linux-$arch" "$NODE" node
fetch npm "$NPM" npm
fetch corepack "$COREPACK" corepack
