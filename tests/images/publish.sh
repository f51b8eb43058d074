# shellcheck shell=bash
# publish FOLDER NAME:TAG KEY=VALUE...: builds FOLDER's image and pushes it to the local registry. Sourced by build.sh and tests/cluster/build.sh.
# FOLDER holds a Dockerfile and may hold context.sh, which fetches into the current folder what the Dockerfile copies;
# both get the KEYs, as variables and as build arguments.

publish_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
publish_work=$(mktemp -d)
trap 'rm -rf "$publish_work"' EXIT
machine=$publish_work/machine
mkdir "$machine"

# What every stand-in carries from this machine: its CA bundle, and the settings (no credentials) of its package clients.
# Written at build time only: none of it is in the repository.
machine_settings() {
  cat /etc/ssl/certs/ca-certificates.crt > "$machine/ca-certificates.crt" 2>/dev/null ||
    die "/etc/ssl/certs/ca-certificates.crt can't be read" "install the package ca-certificates"
  : > "$machine/npmrc"
  : > "$machine/pip.conf"
  : > "$machine/apt.conf"
  # Both clients take a moment to start: side by side.
  {
    if have npm && value=$(npm config get registry 2>/dev/null) && [ -n "$value" ]; then
      echo "registry=$value" > "$machine/npmrc"
    fi
  } &
  {
    if have pip && value=$(pip config get global.index-url 2>/dev/null); then
      printf '[global]\nindex-url = %s\n' "$value" > "$machine/pip.conf"
    fi
  } &
  wait
  apt-config dump 2>/dev/null | grep -E '^Acquire::https?::Proxy ' > "$machine/apt.conf" || true
}
machine_settings

# stamp FOLDER KEY=VALUE...: a hash over all that goes into the image, its base's stamp included.
stamp() {
  local folder=$1 argument program programs=
  shift
  {
    printf '%s\n' "$@"
    cat "$machine"/* "$publish_here/publish.sh"
    find "$publish_here/$folder" -type f -print0 | sort -z | xargs -0 cat
    for argument in "$@"; do
      case $argument in
        BASE=*) manifest_digest "${argument#BASE="$MIRROR"/}" ;;
      esac
    done
    case $folder in
      buildkit) programs="buildkitd buildctl runc" ;;
      acmesolver | pause) programs=$folder ;;
    esac
    for program in $programs; do cat "$PANDA_CACHE/bin/.$program.version"; done
  } | sha256sum | cut -c1-16
}

accept='Accept: application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json'
# manifest_digest NAME:TAG: what the local registry holds under that name; fails if it holds nothing.
manifest_digest() {
  curl -fsSI -H "$accept" "http://$MIRROR/v2/${1%:*}/manifests/${1##*:}" 2>/dev/null |
    tr -d '\r' | awk 'tolower($1) == "docker-content-digest:" {print $2; found = 1} END {exit !found}'
}

publish() {
  local folder=$1 image=$2 stamp work argument started=$SECONDS
  shift 2
  stamp=$(stamp "$folder" "$@")
  # The stamp is a second tag on the same manifest: it can't say more than what the registry really holds.
  if [ "$(manifest_digest "${image%:*}:stamp-${image##*:}-$stamp" || echo none)" = "$(manifest_digest "$image" || echo missing)" ]; then
    return 0
  fi
  work=$(mktemp -d "$publish_work/XXXXXX")
  cp "$machine"/{ca-certificates.crt,npmrc,pip.conf,apt.conf} "$work/"
  cp -r "$publish_here/$folder/." "$work/"
  local build_args=()
  for argument in "$@"; do build_args+=(--build-arg "$argument"); done
  if [ -f "$work/context.sh" ]; then
    (cd "$work" && env "$@" MACHINE="$work" bash ./context.sh) > "$work.log" 2>&1 ||
      die "what image $image is made of can't be fetched: $(grep -iE 'err|fail|unable' "$work.log" | tail -1)" \
        "see that the package registries are reachable; by hand: bash tests/images/$folder/context.sh"
  fi
  local proxy
  for proxy in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [ -n "${!proxy:-}" ]; then build_args+=(--build-arg "$proxy"); fi
  done
  DOCKER_BUILDKIT=0 docker build -q "${build_args[@]}" -t "$MIRROR/$image" "$work" > "$work.log" 2>&1 ||
    die "image $image can't be built: $(tail -1 "$work.log")" "docker build ${build_args[*]} tests/images/$folder"
  docker tag "$MIRROR/$image" "$MIRROR/${image%:*}:stamp-${image##*:}-$stamp"
  push "$MIRROR/$image"
  push "$MIRROR/${image%:*}:stamp-${image##*:}-$stamp"
  docker rmi -f "$MIRROR/${image%:*}:stamp-${image##*:}-$stamp" >/dev/null
  rm -rf "$work"
  say "$image ($((SECONDS - started)) s)"
}

push() {
  docker push -q "$1" > "$publish_work/push.log" 2>&1 ||
    die "\`$1\` can't be pushed: $(tail -1 "$publish_work/push.log")" "run tests/ground/registry.sh up; see its log in $PANDA_CACHE/run"
}
