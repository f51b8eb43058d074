#!/usr/bin/env bash
# The registry is Debian's own package: one static program and nothing round it.
set -euo pipefail
cp "$(command -v docker-registry)" registry
