# shellcheck shell=bash
# What the demos share, on Docker and on Kubernetes: names, folders, who they run as, and what they ask of a platform that runs.
# Sourced, after tests/ground/lib.sh.

name=${PANDA_DEMO_NAME:-panda-demo}
dir=${PANDA_DEMO_DIR:-/var/lib/$name}
# shellcheck disable=SC2034
email=${PANDA_DEMO_EMAIL:-owner@panda.localhost}
config=$dir/server.toml
# shellcheck disable=SC2034
owner=$dir/owner
demo_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
programs=${PANDA_DEMO_PROGRAMS:-$demo_root/target/release}

[[ $name =~ ^[a-z0-9][a-z0-9-]{0,39}$ ]] || die "\`$name\` can't name a demo" "PANDA_DEMO_NAME in a-z, 0-9 and -"

# The engine, the ports and the state need root. The caller's toolchains and logins are kept.
become_root() {
  if [ "$(id -u)" = 0 ]; then return 0; fi
  have sudo || die "the demo needs root and there is no sudo" "run this as root"
  exec sudo -E env "PATH=$PATH" "HOME=$HOME" "$0" "$@"
}

# What root wrote in the caller's folders is the caller's.
give_back() {
  if [ -z "${SUDO_UID:-}" ] || [ "$SUDO_UID" = 0 ]; then return 0; fi
  local folder
  for folder in "$demo_root/target" "$PANDA_CACHE" "$HOME/.config/panda" "$HOME/.cargo" "$HOME/.rustup"; do
    if [ -e "$folder" ]; then chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$folder"; fi
  done
}

# The programs read PANDA_* of their own: the demo's variables and the tests' aren't for them.
clean_env() {
  local keep=("PATH=$PATH" "HOME=$HOME" "LANG=${LANG:-C.UTF-8}" "TERM=${TERM:-dumb}")
  if [ -n "${PANDA_CONFIG_DIR:-}" ]; then keep+=("PANDA_CONFIG_DIR=$PANDA_CONFIG_DIR"); fi
  if [ -n "${XDG_CONFIG_HOME:-}" ]; then keep+=("XDG_CONFIG_HOME=$XDG_CONFIG_HOME"); fi
  env -i "${keep[@]}" "$@"
}
server() { clean_env "$programs/panda-server" --config "$config" "$@"; }
panda() { clean_env "$programs/panda" "$@"; }

# read_settings: platform, host, https_port and registry_port from the demo's configuration.
# shellcheck disable=SC2034
read_settings() {
  platform=$(sed -n 's/^public_url *= *"\(.*\)"/\1/p' "$config")
  host=$(sed 's#^https://##; s#[:/].*##' <<< "$platform")
  https_port=$(sed -n 's/^https_port *= *//p' "$config")
  registry_port=$(sed -n 's/^pull_url *= *".*:\([0-9]*\)"/\1/p' "$config")
}

# The rest speaks to a platform: $platform at $host:$https_port, found at $ingress, checked by $ca. $server_log is how a person
# reads its log, $target which make target this is.
# shellcheck disable=SC2034
ca='' jar='' ingress=127.0.0.1 server_log="docker logs $name-server" target=demo

platform_answers() {
  curl -fsS --max-time 5 --cacert "$ca" --resolve "$host:$https_port:$ingress" "$platform/api/v1/server"
}

# api METHOD PATH [BODY]: one call through the edge, as a browser makes it.
api() {
  local method=$1 path=$2 body=${3:-}
  curl -sS --max-time 30 --cacert "$ca" --resolve "$host:$https_port:$ingress" \
    -b "$jar" -c "$jar" -X "$method" -H 'content-type: application/json' -H "origin: $platform" ${body:+--data-binary "$body"} "$platform$path"
}

field() { sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p" | head -1; }

claim() {
  local token answer
  if api GET /api/v1/server | grep -q '"claimed":true'; then
    [ -f "$owner" ] || die "this demo was claimed by somebody else" "make $target-down, then make $target"
    return 0
  fi
  token=$(claim_token)
  [ -n "$token" ] || die "the server printed no claim token" "$server_log"
  (umask 077 && printf '%s\n%s\n' "$email" "$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')" > "$owner.new")
  answer=$(api POST /api/v1/claim "{\"claim_token\":\"$token\",\"email\":\"$email\",\"password\":\"$(sed -n 2p "$owner.new")\"}")
  grep -q '"email"' <<< "$answer" || die "the platform can't be claimed: $answer" "$server_log"
  mv "$owner.new" "$owner"
  say "claimed by $email, password $(sed -n 2p "$owner") (kept in $owner)"
}

# sign_in FLAGS OF panda login...
sign_in() {
  if panda whoami --server "$platform" >/dev/null 2>&1; then return 0; fi
  local answer token
  answer=$(api POST /api/v1/login "{\"email\":\"$email\",\"password\":\"$(sed -n 2p "$owner")\"}")
  grep -q '"email"' <<< "$answer" || die "$email can't sign in: $answer" "make $target-down, then make $target"
  answer=$(api POST /api/v1/tokens '{"name":"demo-'"$(date +%s)"'","scope":"full"}')
  token=$(field secret <<< "$answer")
  [ -n "$token" ] || die "no API token was made: $answer" "$server_log"
  panda login --server "$platform" --token - "$@" <<< "$token" >&2 ||
    die "the command line can't sign in at $platform" "$programs/panda doctor"
}

deploy_app() {
  panda deploy "$demo_root/tests/apps/hello-node" --server "$platform" --app hello-node --replicas 3 --create --yes >&2 ||
    die "hello-node can't be deployed: see above" "$programs/panda logs --build -a hello-node"
  app=$(panda status -a hello-node --server "$platform" --json | tr -d '\n' | field url)
  [ -n "$app" ] || die "the app has no address" "$programs/panda status -a hello-node"
}

app_answers() {
  local authority=${app#https://}
  authority=${authority%%/*}
  [[ $authority == *:* ]] || authority=$authority:443
  answer=$(curl -sS --max-time 15 --cacert "$ca" --resolve "$authority:$ingress" "$app")
}

# expect_hello: says what the app answers; dies unless it is what the sample says.
expect_hello() {
  local answer
  app_answers || die "$app doesn't answer" "$programs/panda doctor hello-node"
  [[ $answer == "hello from "* ]] || die "$app answers something else: $answer" "$programs/panda logs -a hello-node"
  say "$app answers: $answer"
}
