#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# A new Debian 12 for try-*.sh, which read this file. They set `name`, `directory` and `log`, and have a mount namespace of their
# own: this machine is not changed.

# shellcheck disable=SC2154 # they are set
tree=$directory/tree

step() {
	echo "$*"
	echo "== $*" >>"$log"
}

fail() {
	tail -n 20 "$log" >&2
	echo "$name: $*; more is in $log, and the Debian in $tree" >&2
	exit 1
}
trap 'fail "line $LINENO failed"' ERR

inside() {
	chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"
}

# The same, for the background: $! is the program.
become_inside() {
	exec chroot "$tree" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C "$@"
}

# Waits until a file has a line with this.
wait_for() {
	local _
	for _ in $(seq 300); do
		! grep -q "$1" "$2" || return 0
		sleep 0.1
	done
	fail "nothing for 30 s while waiting for '$1' in $2"
}

quietly() {
	"$@" >>"$log" 2>&1
}

install_in_tree() {
	quietly inside apt-get -q -y --no-install-recommends install "$@"
}

make_tree() {
	rm -rf "$tree" "$log"
	step "making a Debian 12"
	quietly debootstrap --variant=minbase bookworm "$tree"
	rm -f "$tree/etc/apt/sources.list"
	cp -r /etc/apt/sources.list /etc/apt/sources.list.d "$tree/etc/apt/" 2>/dev/null || true
	mount -t proc proc "$tree/proc"
	mount --rbind /sys "$tree/sys"
	mount --rbind /dev "$tree/dev"
	cp /etc/resolv.conf "$tree/etc/"
	quietly inside apt-get -q update
}

remove_tree() {
	umount --recursive "$tree/dev" "$tree/sys" "$tree/proc"
	rm -r "$tree"
}
