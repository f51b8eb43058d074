#!/usr/bin/env bash
# Copies what tests/images/binaries.sh built.
set -euo pipefail
cp "$PANDA_CACHE"/bin/{buildkitd,buildctl} .
cp "$PANDA_CACHE/bin/runc" buildkit-runc
