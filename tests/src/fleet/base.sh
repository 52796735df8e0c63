# Builds the image that every host of a fleet starts from.
#
# bash base.sh TARGET [MIRROR]; debootstrap knows a mirror of its own.
set -euo pipefail
target=$1
shift
packages=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,procps,tmux,at,cron
packages+=,libelf1,zlib1g,ca-certificates

debootstrap --variant=minbase --include="$packages" bookworm "$target" "$@"

# No terminals to log in on, no chores in the background, and no hand on the kernel's settings:
# the kernel is shared with the machine outside.
chroot "$target" systemctl mask \
  getty@tty1.service console-getty.service serial-getty@ttyS0.service getty.target \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer systemd-sysctl.service systemd-modules-load.service

# What makes a host this host and no other is made when it boots.
rm -f "$target"/etc/ssh/ssh_host_*
: >"$target/etc/machine-id"
: >"$target/etc/resolv.conf"
rm -rf "$target"/var/cache/apt/archives/*.deb "$target"/var/lib/apt/lists/*
