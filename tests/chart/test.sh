#!/usr/bin/env bash
# test.sh [TEST...]: the platform on a real cluster, as its chart installs it: make test-chart. Installs it by make demo-k8s under a name of
# its own and removes it afterwards. PANDA_DEMO_PROGRAMS=FOLDER takes programs that are built already.
# Every function of `tests` is a sentence that holds; the last line is `N passed, N failed`.
# shellcheck disable=SC2317 # they are called by name
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PANDA_DEMO_NAME=${PANDA_DEMO_NAME:-panda-chart-test}
# shellcheck source=tests/ground/lib.sh
. "$root/tests/ground/lib.sh"
# shellcheck source=deploy/demo-lib.sh
. "$root/deploy/demo-lib.sh"
# shellcheck source=deploy/demo-k8s-lib.sh
. "$root/deploy/demo-k8s-lib.sh"

chart=$root/deploy/helm/panda
works=(--set publicUrl=https://panda.example.com --set appsDomain=apps.example.net --set registry.host=registry.example.com
  --set issuer.name=any --set database.secret=panda-database)
tests="both_helms_lint_it
every_mistake_is_refused_with_its_fix
the_plain_manifests_are_the_chart_s
the_server_may_do_what_its_driver_does_and_no_more
the_server_writes_into_environments_and_nowhere_else
servers_that_start_at_once_have_the_same_keys
a_secret_that_lacks_a_part_stops_the_start_and_stays
the_builder_listens_to_the_server_alone
an_app_serves_through_upgrade_and_uninstall_and_a_new_install_finds_it"

# What a test says before it fails.
wrong() { printf '    %s\n' "$*" >&2; return 1; }

both_helms_lint_it() {
  local program
  for program in helm helm3; do
    "$PANDA_CACHE/bin/$program" lint "$chart" "${works[@]}" > "$scratch/lint" 2>&1 || wrong "$program: $(grep ERROR "$scratch/lint")" || return 1
    # What they take a cluster for that they don't ask differs.
    "$PANDA_CACHE/bin/$program" template panda "$chart" -n panda --kube-version 1.36.0 "${works[@]}" 2> "$scratch/log" > "$scratch/$program.yaml" ||
      wrong "$program: $(tail -1 "$scratch/log")" || return 1
  done
  # They leave different empty lines.
  sed -i '/^ *$/d' "$scratch/helm.yaml" "$scratch/helm3.yaml"
  cmp -s "$scratch/helm.yaml" "$scratch/helm3.yaml" || wrong "they render different objects: $(diff "$scratch/helm.yaml" "$scratch/helm3.yaml" | head -5)"
}

every_mistake_is_refused_with_its_fix() {
  local flags words said bad=0
  while IFS=$'\t' read -r flags words; do
    # shellcheck disable=SC2086 # several flags
    if said=$(helm template panda "$chart" -n panda "${works[@]}" $flags 2>&1); then
      wrong "accepted: $flags" || bad=1
    elif [[ $said != *"$words"* ]]; then
      wrong "$flags says: $(grep Error <<< "$said")" || bad=1
    fi
  done <<'MISTAKES'
--set publicUrl=http://x	set it to the platform's own https address
--set appsDomain=	appsDomain is empty
--set database.secret=	make a Secret with PostgreSQL's URL
--set database.sqlite=true	database.sqlite and database.secret are both set
--set database.secret= --set database.sqlite=true --set server.replicas=2	SQLite takes exactly one server
--set database.secret= --set database.sqlite=true --set server.storage.accessMode=ReadWriteMany	SQLite breaks on those
--set server.replicas=2	set server.storage.accessMode=ReadWriteMany
--set server.replicas=0	1 to 3
--set server.replicas=4	1 to 3
--set issuer.name=	set issuer.acme.email
--set tls.platformSecret=x	tls.registrySecret isn't
--set registry.host=	registry.host is empty
--set registry.enabled=false	registry.external.host
--set builder.namespace=panda	builder.namespace is the server's own
MISTAKES
  return "$bad"
}

the_plain_manifests_are_the_chart_s() { "$root/deploy/kubernetes/make.sh" --check; }

# place WORD: the namespace that the table means.
place() {
  case $1 in
    environment) kubectl get namespaces -l dev.panda/environment -o jsonpath='{.items[0].metadata.name}' ;;
    own) echo "$name" ;;
    build) echo "$name-build" ;;
    other) echo kube-system ;;
  esac
}

the_server_may_do_what_its_driver_does_and_no_more() {
  local may verb resource where subresource answer bad=0 count=0 flags
  local -A places
  for where in environment own build other; do places[$where]=$(place "$where"); done
  while IFS=$'\t' read -r may verb resource where; do
    case $may in '' | '#'*) continue ;; esac
    resource=${resource/secrets\/panda-/secrets/$name-}
    flags=(--all-namespaces)
    [ "$where" = cluster ] || flags=(-n "${places[$where]}")
    # TYPE/NAME is a name for kubectl; what stands behind pods and nodes is a subresource.
    case $resource in
      secrets/*) ;;
      */*)
        subresource=${resource#*/}
        resource=${resource%%/*}
        flags+=("--subresource=$subresource")
        ;;
    esac
    answer=$(kubectl auth can-i "$verb" "$resource" "${flags[@]}" --as "$account" 2>/dev/null || true)
    [ "$answer" = "$may" ] || wrong "$verb $resource ${flags[*]}: $answer" || bad=1
    count=$((count + 1))
  done < "$here/rights.tsv"
  [ "$count" -gt 100 ] || wrong "only $count rights were asked" || bad=1
  return "$bad"
}

# as_server COMMAND...: kubectl with the server's rights. What is admitted isn't kept.
as_server() { kubectl --as "$account" "$@" --dry-run=server 2>&1; }
refused() { # WORDS COMMAND...
  local words=$1 said
  shift
  if said=$(as_server "$@"); then wrong "admitted: $*"; else [[ $said == *"$words"* ]] || wrong "$* says: $said"; fi
}
namespace_yaml() { printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {%s}}\n' "$1" "$2" > "$scratch/namespace.yaml"; }

the_server_writes_into_environments_and_nowhere_else() {
  local environment words='Panda writes into environments only' bad=0
  environment=$(place environment)
  printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: panda-probe}\n' > "$scratch/secret.yaml"
  as_server apply --server-side -n "$environment" -f "$scratch/secret.yaml" >/dev/null || wrong "an environment's Secret is refused" || bad=1
  refused "$words" apply --server-side -n kube-system -f "$scratch/secret.yaml" || bad=1
  refused "$words" apply --server-side -n "$name" -f "$scratch/secret.yaml" || bad=1
  refused "$words" create secret generic x -n "$name-build" || bad=1
  # Server-side apply of nothing would answer with what is in there.
  sed "s/panda-probe/$name-keys/" "$scratch/secret.yaml" > "$scratch/keys.yaml"
  refused "$words" apply --server-side --force-conflicts -n "$name" -f "$scratch/keys.yaml" || bad=1
  refused "$words" delete secret "$name-keys" -n "$name" || bad=1
  refused "$words" delete deployment coredns -n kube-system || bad=1
  refused "$words" create deployment x --image x -n "$name-build" || bad=1
  refused "isn't an environment" delete namespace "$name-build" || bad=1
  refused "isn't an environment" label namespace kube-system dev.panda/environment=x || bad=1
  namespace_yaml panda-probe ''
  refused "for environments only" create -f "$scratch/namespace.yaml" || bad=1
  namespace_yaml panda-probe 'dev.panda/environment: x, pod-security.kubernetes.io/enforce: privileged'
  refused "without Pod Security" create -f "$scratch/namespace.yaml" || bad=1
  namespace_yaml panda-probe 'dev.panda/environment: x, pod-security.kubernetes.io/enforce: baseline'
  as_server create -f "$scratch/namespace.yaml" >/dev/null || wrong "an environment's namespace is refused" || bad=1
  return "$bad"
}

# keys_job NAME SECRET: a pod's start, of whose keys nothing is used. Its rights name the real Secret, hence a copy of the Role.
keys_job() {
  local image
  image=$(kubectl -n "$name" get deployment "$name-server" -o jsonpath='{.spec.template.spec.initContainers[0].image}')
  kubectl apply -f - >/dev/null <<YAML
apiVersion: batch/v1
kind: Job
metadata: {name: $1, namespace: $keys_namespace}
spec:
  backoffLimit: 0
  template:
    spec:
      serviceAccountName: keys
      restartPolicy: Never
      containers:
      - {name: keys, image: "$image", args: [cluster-keys, --secret=$2], volumeMounts: [{name: keys, mountPath: /var/lib/panda/keys}]}
      volumes: [{name: keys, emptyDir: {medium: Memory}}]
YAML
}
keys_namespace=panda-chart-keys
keys_ground() {
  kubectl create namespace $keys_namespace --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl -n $keys_namespace create serviceaccount keys --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl -n $keys_namespace create role keys --verb get,create --resource secrets --dry-run=client -o yaml | kubectl apply -f - >/dev/null
  kubectl -n $keys_namespace create rolebinding keys --role keys --serviceaccount $keys_namespace:keys --dry-run=client -o yaml | kubectl apply -f - >/dev/null
}
job_ended() { [ -n "$(kubectl -n $keys_namespace get job "$1" -o jsonpath='{.status.conditions[?(@.status=="True")].type}')" ]; }
job_succeeded() { [ "$(kubectl -n $keys_namespace get job "$1" -o jsonpath='{.status.succeeded}')" = 1 ]; }

servers_that_start_at_once_have_the_same_keys() {
  local number before bad=0
  keys_ground
  for number in 1 2 3 4; do keys_job "start-$number" all-keys; done
  for number in 1 2 3 4; do
    wait_for 60 job_ended "start-$number" && job_succeeded "start-$number" ||
      wrong "start $number: $(kubectl -n $keys_namespace logs "job/start-$number")" || bad=1
  done
  before=$(kubectl -n $keys_namespace get secret all-keys -o jsonpath='{.metadata.uid} {.metadata.resourceVersion} {.data}')
  keys_job later all-keys
  wait_for 60 job_ended later && job_succeeded later || wrong "a later start: $(kubectl -n $keys_namespace logs job/later)" || bad=1
  [ "$before" = "$(kubectl -n $keys_namespace get secret all-keys -o jsonpath='{.metadata.uid} {.metadata.resourceVersion} {.data}')" ] || wrong "a later start changed the keys" || bad=1
  return "$bad"
}

a_secret_that_lacks_a_part_stops_the_start_and_stays() {
  local said
  keys_ground
  kubectl -n $keys_namespace create secret generic half-keys --from-literal=registry.key=x >/dev/null
  keys_job half half-keys
  wait_for 60 job_ended half
  said=$(kubectl -n $keys_namespace logs job/half)
  [[ $said == *"has no \`master.key\`"* ]] || wrong "it says: $said" || return 1
  [ "$(kubectl -n $keys_namespace get secret half-keys -o jsonpath='{.data}')" = '{"registry.key":"eA=="}' ] || wrong "the Secret was changed"
}

# From beside the daemon, as a build step would: it listens, and refuses whoever shows no certificate of its authority.
the_builder_listens_to_the_server_alone() {
  local said
  said=$(kubectl -n "$name-build" exec "$name-builder-0" -- buildctl --addr tcp://127.0.0.1:1234 --tlscacert /etc/panda-tls/ca.crt --tlsservername "$name-builder.$name-build.svc" debug workers 2>&1) &&
    wrong "a stranger is listened to" && return 1
  [[ $said == *"certificate required"* ]] || wrong "a stranger is told: $said" || return 1
  said=$(kubectl -n "$name-build" exec "$name-builder-0" -- buildctl --addr tcp://127.0.0.1:1234 debug workers 2>&1) &&
    wrong "plain text is listened to" && return 1
  return 0
}

# Asks the app without a pause until the file is gone; each line of the log is an answer that wasn't the app's.
probe() {
  local answer
  while [ -e "$scratch/probing" ]; do
    answer=$(curl -sS --max-time 5 --cacert "$ca" --resolve "$app_host:443:$ingress" "https://$app_host/" 2>&1) || true
    [[ $answer == "hello from "* ]] || echo "$(date +%T) $answer" >> "$scratch/failures"
    echo >> "$scratch/asked"
    sleep 0.02
  done
}

server_is_ready() { kubectl -n "$name" rollout status "deployment/$name-server" --timeout 120s >/dev/null && wait_for 60 platform_answers; }

an_app_serves_through_upgrade_and_uninstall_and_a_new_install_finds_it() {
  local pods bad=0
  app_host=hello-node.$apps_domain
  helm get values "$name" -n "$name" -o yaml > "$scratch/values.yaml" 2>/dev/null
  pods=$(kubectl -n "$(place environment)" get pods -o jsonpath='{.items[*].metadata.uid}')
  : > "$scratch/failures"
  touch "$scratch/probing"
  for _ in 1 2 3 4 5 6; do probe & done
  helm upgrade "$name" "$chart" -n "$name" -f "$scratch/values.yaml" --set server.settings.garbage.keep_releases=7 > "$scratch/log" 2>&1 || wrong "upgrade: $(tail -1 "$scratch/log")" || bad=1
  server_is_ready || wrong "the server isn't ready after the upgrade" || bad=1
  helm uninstall "$name" -n "$name" > "$scratch/log" 2>&1 || wrong "uninstall: $(tail -1 "$scratch/log")" || bad=1
  wait_for 90 gone || wrong "something of the platform stays: $(kubectl -n "$name" get pods --no-headers | head -1)" || bad=1
  sleep 5 # nothing is waited for: for five seconds there is no platform at all
  # The other helm: both have to find the volumes that stayed.
  "$PANDA_CACHE/bin/helm3" install "$name" "$chart" -n "$name" -f "$scratch/values.yaml" > "$scratch/log" 2>&1 || wrong "install: $(tail -1 "$scratch/log")" || bad=1
  server_is_ready || wrong "the server isn't ready after the new install" || bad=1
  wait_for 60 panda_knows_the_app || wrong "the new install doesn't know the app" || bad=1
  rm "$scratch/probing"
  wait
  [ ! -s "$scratch/failures" ] || wrong "$(wc -l < "$scratch/failures") of $(wc -l < "$scratch/asked") requests failed: $(head -2 "$scratch/failures")" || bad=1
  [ "$pods" = "$(kubectl -n "$(place environment)" get pods -o jsonpath='{.items[*].metadata.uid}')" ] || wrong "the app's pods were replaced" || bad=1
  say "$(wc -l < "$scratch/asked") requests"
  return "$bad"
}
gone() { [ -z "$(kubectl -n "$name" get pods --no-headers 2>/dev/null)" ] && ! kubectl get namespace "$name-build" >/dev/null 2>&1; }
panda_knows_the_app() { panda status -a hello-node --server "$platform" --json | grep -q '"url"'; }

# shellcheck disable=SC2317
cleanup() {
  local status=$?
  trap - EXIT INT TERM
  rm -rf "$scratch"
  [ -n "${PANDA_TEST_KEEP:-}" ] || "$root/deploy/demo-k8s-down.sh" || true
  exit "$status"
}

scratch=$(mktemp -d)
trap cleanup EXIT
trap 'exit 130' INT TERM
"$root/tests/cluster/build.sh" helm3 # the demo brings helm
"$root/deploy/demo-k8s.sh"
read_cluster
account=system:serviceaccount:$name:$name-server
passed=0 failed=0
# shellcheck disable=SC2086 # one word a test
[ $# -gt 0 ] || set -- $tests
for test in "$@"; do
  started=$SECONDS
  if "$test"; then
    passed=$((passed + 1))
    echo "ok    $test ($((SECONDS - started)) s)" >&2
  else
    failed=$((failed + 1))
    echo "FAIL  $test ($((SECONDS - started)) s)" >&2
  fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
