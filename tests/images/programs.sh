# shellcheck shell=bash
# Go programs in $PANDA_CACHE/bin, each with the stamp that it was built from. Sourced by binaries.sh and tests/cluster/build.sh.

bin=$PANDA_CACHE/bin
mkdir -p "$bin"
export GOBIN=$bin GOFLAGS=-buildvcs=false

# built STAMP PROGRAM...: all of them are there and were built from that stamp.
built() {
  local stamp=$1 program
  shift
  for program in "$@"; do
    [ -x "$bin/$program" ] && [ "$(cat "$bin/.$program.version" 2>/dev/null)" = "$stamp" ] || return 1
  done
}
mark() {
  local stamp=$1 program
  shift
  for program in "$@"; do echo "$stamp" > "$bin/.$program.version"; done
}
# quietly NAME COMMAND...: Go names each module that it fetches; that is of interest only when it fails.
quietly() {
  local name=$1 log=$bin/.$1.log
  shift
  "$@" > "$log" 2>&1 ||
    die "\`go\` can't build $name: $(tail -1 "$log")" "read $log; see that the Go module proxy answers (\`go env GOPROXY\`)"
}

# module_version FOLDER MODULE: what FOLDER's go.mod asks for.
module_version() {
  awk -v module="$2" '$1 == "require" {$1 = ""; $0 = $0} $1 == module {print $2; exit}' "$1/go.mod"
}
