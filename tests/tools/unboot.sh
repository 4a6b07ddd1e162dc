#!/bin/sh
# unboot.sh NAME: removes the control groups that a machine of boot.sh leaves behind. Wants root and a
# private mount namespace.
set -eu
mount -t tmpfs none /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ ! -d "/sys/fs/cgroup/$1" ] || find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +
