# Builds the image that every host of a fleet starts from.
#
# bash base.sh SUITE TARGET [MIRROR]; debootstrap knows a mirror of its own.
set -euo pipefail
suite=$1
target=$2
shift 2
packages=systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,iproute2,procps,tmux,at,cron
packages+=,zlib1g,ca-certificates
# debootstrap knows a package by its own name alone, not by what it provides.
case $suite in
  bookworm) packages+=,libelf1 ;;
  *) packages+=,libelf1t64 ;;
esac

debootstrap --variant=minbase --include="$packages" "$suite" "$target" "$@"

# No terminals to log in on, no chores in the background, and no hand on the kernel's settings:
# the kernel is shared with the machine outside.
chroot "$target" systemctl mask \
  getty@tty1.service console-getty.service serial-getty@ttyS0.service getty.target \
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
  fstrim.timer systemd-sysctl.service systemd-modules-load.service

# From OpenSSH 9.8 on, sshd turns away an address from which too many logins failed. Here everybody comes from one.
if [ "$suite" != bookworm ]; then
  echo 'PerSourcePenalties no' >"$target/etc/ssh/sshd_config.d/50-many-logins.conf"
fi

# What makes a host this host and no other is made when it boots.
rm -f "$target"/etc/ssh/ssh_host_*
: >"$target/etc/machine-id"
: >"$target/etc/resolv.conf"
rm -rf "$target"/var/cache/apt/archives/*.deb "$target"/var/lib/apt/lists/*
