#!/bin/sh
# boot.sh TREE DIR NAME SHARE [ARGUMENT...]: boots the tree of debian-tree.sh with its own systemd as
# process 1, in the network of whoever calls. The tree stays as it is: what is written goes to DIR/upper,
# and is there again at the next boot. SHARE is read-only at /mnt/share in there; systemd gets the
# ARGUMENTs. Runs until the machine is powered off.
#
# Wants root and a private mount namespace (unshare --mount). The one trick is the pure cgroup2 view:
# on a host of the older layout systemd 256 and later would not boot.
set -eu
tree=$1 dir=$2 name=$3 share=$4
shift 4
mkdir -p "$dir/upper" "$dir/work" "$dir/root"
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$name"
echo $$ >"/sys/fs/cgroup/$name/cgroup.procs"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"
exec systemd-nspawn --quiet --directory="$dir/root" --machine="$name" --boot --register=no --keep-unit \
    --console=pipe --bind-ro="$share:/mnt/share" --resolv-conf=off --timezone=off -- "$@"
