#!/usr/bin/env bash
# Copies what tests/cluster/build.sh built.
set -euo pipefail
cp "$PANDA_CACHE/bin/pause" .
