#!/usr/bin/env bash
# Builds the one static program.
set -euo pipefail
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o web .
