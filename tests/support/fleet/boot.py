# SPDX-License-Identifier: Apache-2.0
"""What runs first in new namespaces, as shell scripts: in the switch's, and in those of each host."""

#: Run as pid 1 of the switch's namespaces, with the fleet's folder as $1. It reads one line: the end of its input, when
#: the process that made the fleet dies however it dies, is the end of the fleet; "stay" cuts that tie. `head` and
#: `sleep` run as children so that the shell waits, and thereby reaps what the hosts orphan.
SWITCH = r"""
set -e
read -r pid rest < /proc/self/stat  # the machine's /proc still: our pid as the machine counts
mount -t tmpfs -o mode=755 savedump-fleet "$1/layers"
ip link set lo up
ip link add switch type bridge
ip link set switch up
echo "$pid"
word=$(head -n 1)
[ "$word" = stay ] || exit 0
exec < /dev/null > /dev/null
while :; do sleep 1000000; done
"""

#: Run as pid 1 of a host's namespaces: $1 the overlay's lower folder, $2 its layers, $3 the host's name, then folders
#: of the machine to show. /proc/sys is read-only: most of what is under it belongs to the kernel all hosts share.
HOST = r"""
set -e
read -r pid rest < /proc/self/stat
lower=$1 layers=$2 name=$3 root=$2/root
shift 3
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$layers/upper,workdir=$layers/work" "$root"
for folder; do
    mount --bind "$folder" "$root$folder"
    mount -o remount,bind,ro "$root$folder"
done
hostname "$name"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
for node in null:3 zero:5 full:7 random:8 urandom:9; do
    mknod -m 666 "$root/dev/${node%:*}" c 1 "${node#*:}"
done
mknod -m 666 "$root/dev/tty" c 5 0
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${number%:*}" "$root/dev/${number#*:}"; done
cd "$root"
pivot_root . .
umount -l .
cd /
exec /bin/sh -c 'echo "$1"; exec > /dev/null; while :; do sleep 1000000; done' init "$pid"
"""
