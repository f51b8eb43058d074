#!/usr/bin/env bash
# make.sh [--check]: writes the plain manifests beside it from the chart, or tells whether they are what the chart says now.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
# shellcheck source=tests/ground/lib.sh
. "$root/tests/ground/lib.sh"

helm=$PANDA_CACHE/bin/helm
[ -x "$helm" ] || helm=$(type -P helm) || die "there is no helm" "tests/cluster/build.sh helm"

# manifests DATABASE-FLAGS...
manifests() {
  echo "# Made from deploy/helm/panda by \`make manifests\`: change the chart, not this."
  "$helm" template panda "$root/deploy/helm/panda" --namespace panda --set publicUrl=https://panda.example.com \
    --set appsDomain=apps.example.net --set registry.host=registry.panda.example.com --set issuer.acme.email=ops@example.com \
    "$@" 2>"$work/log" || die "the chart can't be rendered: $(grep Error "$work/log")" "helm lint deploy/helm/panda"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
manifests --set database.secret=panda-database > "$work/postgresql.yaml"
manifests --set database.sqlite=true > "$work/sqlite.yaml"
for file in postgresql.yaml sqlite.yaml; do
  if [ "${1:-}" = --check ]; then
    cmp -s "$work/$file" "$here/$file" || die "deploy/kubernetes/$file isn't what the chart says" "make manifests"
  else
    cp "$work/$file" "$here/$file"
  fi
done
