# The first process of a host: builds its root and becomes its systemd.
# It runs in namespaces of its own, so every mount made here ends with the host.
#
# bash boot.sh WORK LOWER NAME ADDRESS AUTHORITY
set -euo pipefail
work=$1 lower=$2 name=$3 address=$4 authority=$5

hostname "$name"
mount -t tmpfs -o size=1g,mode=755 disk "$work"
mkdir "$work"/{up,wk,root}
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/up,workdir=$work/wk" "$work/root"
cd "$work/root"

echo "$name" >etc/hostname
tr -d - </proc/sys/kernel/random/uuid >etc/machine-id   # systemd would take the machine's own
printf '127.0.0.1 localhost\n%s %s\n%s authority\n' "$address" "$name" "$authority" >etc/hosts
ssh-keygen -q -t ed25519 -N '' -C "$name" -f etc/ssh/ssh_host_ed25519_key

mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf -o mode=700 bpf sys/fs/bpf
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp

mount -t tmpfs -o mode=755,size=1m dev dev
for node in null zero full random urandom tty; do
  mknod -m 666 "dev/$node" c "0x$(stat -c %t "/dev/$node")" "0x$(stat -c %T "/dev/$node")"
done
mkdir -p dev/{pts,shm}
mount -t devpts -o newinstance,mode=620,gid=5,ptmxmode=666 devpts dev/pts
mount -t tmpfs -o mode=1777 shm dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
ln -s /proc/self/fd/0 dev/stdin
ln -s /proc/self/fd/1 dev/stdout
ln -s /proc/self/fd/2 dev/stderr

mkdir -p outside
pivot_root . outside
umount -l /outside
rmdir /outside
exec env -i container=custom PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal
