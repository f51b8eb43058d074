# shellcheck shell=bash
# Certificates and kubeconfigs, all signed by the cluster's own authority. Sourced by cluster.sh.
# shellcheck disable=SC2154 # the variables that aren't set here are cluster.sh's

key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650)

signed() { # ARGUMENTS OF openssl req...
  openssl req -x509 "${key[@]}" -config <(printf '[req]\ndistinguished_name=name\n[name]\n') "$@" 2>"$state/pki/log" ||
    die "a certificate can't be made: $(tail -1 "$state/pki/log")" "install openssl 3"
}

authority() {
  mkdir -p "$state/pki"
  if [ -f "$state/pki/ca.crt" ]; then return 0; fi
  signed -subj /CN=panda-test-cluster -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign,digitalSignature \
    -keyout "$state/pki/ca.key" -out "$state/pki/ca.crt"
  # Service accounts: the API server signs their tokens and checks them.
  openssl ecparam -name prime256v1 -genkey -noout -out "$state/pki/accounts.key"
}

certificate() { # NAME SUBJECT [ALTERNATIVE NAMES]
  if [ -f "$state/pki/$1.crt" ]; then return 0; fi
  signed -CA "$state/pki/ca.crt" -CAkey "$state/pki/ca.key" -subj "$2" -addext "subjectAltName=${3:-DNS:$1}" \
    -addext basicConstraints=critical,CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth \
    -keyout "$state/pki/$1.key" -out "$state/pki/$1.crt"
}

kubeconfig() { # NAME: of whom a certificate was made
  cat <<YAML
apiVersion: v1
kind: Config
clusters: [{name: panda-$name, cluster: {server: "$api", certificate-authority-data: $(base64 -w0 "$state/pki/ca.crt")}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$state/pki/$1.crt"), client-key-data: $(base64 -w0 "$state/pki/$1.key")}}]
contexts: [{name: panda-$name, context: {cluster: panda-$name, user: $1}}]
current-context: panda-$name
YAML
}
