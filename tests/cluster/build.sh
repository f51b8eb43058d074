#!/usr/bin/env bash
# build.sh [helm|helm3]: builds a real Kubernetes and what stands round it from their Go modules into $PANDA_CACHE/bin, and publishes the images that its
# pods need to the local registry. tests/cluster/README.md says what each is for.
# A program is rebuilt when its version here, or its folder here, changes. Cold: about 20 minutes on 2 cores; warm: nothing is done.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/ground/lib.sh
. "$here/../ground/lib.sh"
# shellcheck source=tests/images/programs.sh
. "$here/../images/programs.sh"

containerd=v2.3.7
coredns=v1.15.0
metrics_server=v0.9.0
local_path=v0.0.30
helm=v4.3.1
helm3=v3.22.0
kubernetes=$(module_version "$here/kube" k8s.io/kubernetes)
traefik=$(module_version "$here/traefik" github.com/traefik/traefik/v3)
cert_manager=$(module_version "$here/cert-manager" github.com/cert-manager/cert-manager)

"$here/../images/binaries.sh" # runc and Pebble
lock programs-of-the-cluster # its own, so that those who need no cluster needn't wait for it

# program "NAME..." VERSION COLD COMMAND...: runs COMMAND unless these programs were built from VERSION. COLD is how long it takes.
program() {
  local version=$2 cold=$3 started=$SECONDS names
  read -ra names <<< "$1"
  shift 3
  if built "$version" "${names[@]}"; then return 0; fi
  say "${names[0]} $version (cold: about $cold)"
  quietly "${names[0]}" "$@"
  mark "$version" "${names[@]}"
  say "${names[0]} took $((SECONDS - started)) s"
}

# Go keeps what it fetched and compiled; once the programs are there, `go clean -cache -modcache` gives it back.
enough_disk() {
  local cache free
  cache=$(go env GOCACHE)
  mkdir -p "$cache"
  free=$(df -Pm "$cache" | awk 'NR == 2 {print $4}')
  [ "$free" -ge 18000 ] || die "$cache has $free MB free, and a cold build of a cluster takes about 18,000 MB" "free some space, or set GOCACHE and GOMODCACHE to where there is some"
}

# own FOLDER VERSION: a version for what is built in FOLDER, whose own files count too.
own() { echo "$2-$(find "$here/$1" -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -c1-12)"; }

# build FOLDER PACKAGE...: `go install` refuses a module whose go.mod has replace lines, hence a go.mod of our own.
build() {
  local folder=$1
  shift
  go -C "$here/$folder" build -trimpath -ldflags "$flags" -o "$bin/" "$@"
}
install() { go install -trimpath -ldflags '-s -w' "$@"; }

# Each part of Kubernetes is a link to the one program, which looks at its name.
build_kube() {
  local flags="-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1"
  flags+=" -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<< "$kubernetes")"
  build kube . k8s.io/kubernetes/cmd/kubectl
  local part
  for part in etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet; do ln -sf kube "$bin/$part"; done
}

# Kubernetes' own pause: the first process of every pod, and of every node here. Its one C file comes with the module.
build_pause() {
  local module
  module=$(go -C "$here/kube" mod download -json k8s.io/kubernetes | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  gcc -Os -static -DVERSION="$kubernetes" -o "$bin/pause" "$module/build/pause/linux/pause.c"
}

# The resource definitions are files of the module and are kept with the programs.
build_cert_manager() {
  local flags='-s -w' module file
  build cert-manager ./cert-manager ./acmesolver
  module=$(go -C "$here/cert-manager" mod download -json github.com/cert-manager/cert-manager | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  for file in "$module"/deploy/crds/*.yaml; do
    echo ---
    cat "$file"
  done > "$bin/cert-manager-crds.yaml"
}

# Two versions of helm install the chart; both are called helm by their modules.
build_helm() { # MODULE PROGRAM
  local folder
  folder=$(mktemp -d)
  GOBIN=$folder install "$1"
  mv "$folder/helm" "$bin/$2"
  rmdir "$folder"
}

export CGO_ENABLED=0
case ${1:-} in
  helm) program helm $helm "3 minutes" build_helm helm.sh/helm/v4/cmd/helm@$helm helm; exit ;;
  helm3) program helm3 $helm3 "2 minutes" build_helm helm.sh/helm/v3/cmd/helm@$helm3 helm3; exit ;;
esac
built "$(own kube "$kubernetes")" kube kubectl || enough_disk
program "kube kubectl" "$(own kube "$kubernetes")" "6 minutes" build_kube
program pause "$kubernetes" "a second" build_pause
program "containerd containerd-shim-runc-v2 ctr" $containerd "a minute" \
  install github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr}@$containerd
program coredns $coredns "2 minutes" install github.com/coredns/coredns@$coredns
program "cert-manager acmesolver" "$(own cert-manager "$cert_manager")" "2 minutes" build_cert_manager
flags='-s -w' program traefik "$(own traefik "$traefik")" "4 minutes" build traefik github.com/traefik/traefik/v3/cmd/traefik
program metrics-server $metrics_server "2 minutes" install sigs.k8s.io/metrics-server/cmd/metrics-server@$metrics_server
program local-path-provisioner $local_path "a minute" install github.com/rancher/local-path-provisioner@$local_path

# shellcheck source=tests/images/publish.sh
. "$here/../images/publish.sh"
lock images
publish pause panda-test/pause:1
publish acmesolver panda-test/acmesolver:1
publish shell panda-test/shell:1
