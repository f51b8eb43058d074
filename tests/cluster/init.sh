#!/usr/bin/env bash
# init.sh FOLDER PROGRAMS HOSTNAME: the first process of a node, in namespaces that node.sh made. It gives the node folders of its
# own where the daemons look by default, so that they leave nothing on the machine, and ends as `pause`, which reaps what is orphaned.
set -euo pipefail
folder=$1 programs=$2 hostname=$3

hostname "$hostname"
# Mounts of pods have to reach containerd and kubelet alike. None of them reaches the machine: this tree is its slave.
mount --make-rshared /
mount --bind "$folder/log" /var/log
mount -t tmpfs -o mode=755 tmpfs /run

# systemd-resolved's resolver listens on a loopback that isn't this node's.
resolv=$(readlink -f /etc/resolv.conf)
mkdir -p "$(dirname "$resolv")"
touch "$resolv"
mount --bind "$folder/lib/panda/resolv.conf" "$resolv"

# kubelet sets these to its liking, for the whole machine. It doesn't where it finds them so.
tunable() {
  local file=$folder/tunables/$1
  mkdir -p "$(dirname "$file")"
  echo "$2" > "$file"
  mount --bind "$file" "/proc/sys/$1"
}
tunable vm/overcommit_memory 1
tunable vm/panic_on_oom 0
tunable kernel/panic 10
tunable kernel/panic_on_oops 1
tunable kernel/keys/root_maxkeys 1000000
tunable kernel/keys/root_maxbytes 25000000
# The kernel lets a pod with a user namespace of its own mount /proc only where it sees one with nothing hidden.
mkdir -p "$folder/lib/panda/proc"
mount -t proc proc "$folder/lib/panda/proc"

mkdir -p "$folder/lib/panda/bin"
mount --bind -o ro "$programs" "$folder/lib/panda/bin"
mount --rbind "$folder/lib" /var/lib # last: $folder may be below it
cd /
exec /var/lib/panda/bin/pause
