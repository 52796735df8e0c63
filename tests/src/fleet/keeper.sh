# Keeps one host: builds its network and cgroup, starts it, holds it for as long as somebody holds
# the other end of our standard input, and then takes everything down. However the test ends (return,
# panic, interrupt, SIGKILL), the pipe closes and this script cleans up.
#
# bash keeper.sh FLEET NAME INDEX WORK CGROUP LOWER LOCK BOOT
#   FLEET  the fleet's number; its bridges are cfFLEET (people) and cfFLEETa (the authority)
#   INDEX  the host's number: 10.99.FLEET.INDEX for people, 10.99.FLEET.(128+INDEX) towards the authority
#   LOWER  the read-only layers of the root filesystem, topmost first, separated by colons
#   LOCK   held shared while this host exists, so that nobody takes the fleet's number before it is gone
#   BOOT   the text of boot.sh
# Says the process id of the host's holder on standard output; everything else goes to standard error.
set -euo pipefail
fleet=$1 name=$2 index=$3 work=$4 cgroup=$5 lower=$6 lock=$7 boot=$8
netns=curfew-$fleet-$name
near=cf${fleet}h$index
authority=cf${fleet}a$index
holder=

exec 9<"$lock"
flock -s 9
trap '' INT TERM HUP

take_down() {
  set +e
  exec 2>/dev/null
  if [ -n "$holder" ]; then
    # The host's systemd first: the holder collects it, and no zombie is left to others.
    read -r init <"/proc/$holder/task/$holder/children"
    kill -KILL "${init:-$holder}"
    wait "$holder"
  fi
  echo 1 >"$cgroup/cgroup.kill"
  for _ in $(seq 200); do
    grep -q '^populated 0' "$cgroup/cgroup.events" && break
    read -rt 0.01 <> <(:)
  done
  find "$cgroup" -depth -type d -exec rmdir {} \;
  ip link del "$near"
  ip link del "$authority"
  ip netns del "$netns"
  rmdir "$work"
}
trap take_down EXIT

mkdir -p "$work" "$cgroup"
ip netns add "$netns"
ip -batch - <<END
link add $near type veth peer name eth0 netns $netns
link add $authority type veth peer name eth1 netns $netns
link set $near master cf$fleet up
link set $authority master cf${fleet}a up
END
ip -n "$netns" -batch - <<END
link set lo up
addr add 10.99.$fleet.$index/25 dev eth0
addr add 10.99.$fleet.$((128 + index))/25 dev eth1
link set eth0 up
link set eth1 up
END

(
  echo "$BASHPID" >"$cgroup/cgroup.procs"
  exec 9<&- </dev/null >&2
  exec nsenter --net="/run/netns/$netns" \
    unshare --mount --cgroup --pid --uts --ipc --fork --kill-child --propagation private \
    bash -c "$boot" boot.sh "$work" "$lower" "$name" "10.99.$fleet.$index" "10.99.$fleet.254"
) &
holder=$!
echo "$holder"
read -r || true
