# shellcheck shell=bash
# What demo.sh and demo-down.sh share: names, folders, and who they run as. Sourced, after tests/ground/lib.sh.

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
