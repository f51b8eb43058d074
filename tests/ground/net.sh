# shellcheck shell=bash
# Networks of our own: 10.OCTET.0.0/16 for a private engine or a cluster. Sourced by private-dockerd.sh and tests/cluster.

# own_octet FOLDER: one that neither an interface of this machine nor another folder has yet; kept in FOLDER for whoever comes back.
own_octet() {
  [ -f "$1/octet" ] || (
    lock octets
    mkdir -p "$1"
    octet=$((RANDOM % 100 + 100))
    while taken "$octet"; do octet=$((octet == 199 ? 100 : octet + 1)); done
    echo "$octet" > "$1/octet"
  )
  cat "$1/octet"
}

taken() {
  { ip -4 -o addr show to "10.$1.0.0/16"; cat "$PANDA_GROUND"/*/*/octet 2>/dev/null; } | grep -E "^$1\$|^[0-9]+: " >/dev/null
}

# own_bridge NAME OCTET: a bridge at 10.OCTET.0.1, with the way out to the world.
own_bridge() {
  if ip link show "$1" >/dev/null 2>&1; then return 0; fi
  ip link add name "$1" type bridge
  ip addr replace "10.$2.0.1/24" dev "$1"
  ip link set "$1" up
  sysctl -qw net.ipv4.ip_forward=1
  way_out -I "$2"
}

remove_bridge() { # NAME OCTET
  way_out -D "$2"
  ip link delete "$1"
}

# way_out -I|-D OCTET: out to the world, and back. Docker's own rule for what passes through the host is to drop it.
way_out() {
  local net=10.$2.0.0/16
  iptables -t nat "$1" POSTROUTING -s "$net" ! -d "$net" -j MASQUERADE
  iptables "$1" FORWARD -s "$net" -j ACCEPT
  iptables "$1" FORWARD -d "$net" -j ACCEPT
}
