#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# try-packages.sh PACKAGES DIRECTORY: installs all packages of the folder PACKAGES but the driver's in a new Debian 12 below
# DIRECTORY, uses them, upgrades them while a group has clients, and purges them. As root; needs debootstrap. What is mounted
# below DIRECTORY is so for this script alone.

set -Eeuo pipefail

if [ -z "${in_namespace-}" ]; then
	[ $# = 2 ] || { echo "usage: try-packages.sh PACKAGES DIRECTORY" >&2; exit 2; }
	in_namespace=1 exec unshare --mount --pid --fork --kill-child --propagation private "$0" "$@"
fi

mkdir -p "$2"
packages=$(realpath "$1")
directory=$(realpath "$2")
log=$directory/log
# shellcheck disable=SC2034 # for tree.sh
name=try-packages.sh
# shellcheck source=tree.sh source-path=SCRIPTDIR
. "$(dirname "$0")/tree.sh"

names=(ivshmem ivshmem-device ivshmem-doc ivshmem-server libivshmem0 libivshmem-device0 libivshmem-dev)

# The same packages with another version.
make_newer() {
	local package work=$directory/newer
	mkdir "$tree/newer"
	for package in "$tree"/packages/*.deb; do
		dpkg-deb --raw-extract "$package" "$work"
		sed -i -E "s/^Version: .*/&+1/; s/\\(= ([^)]*)\\)/(= \\1+1)/g" "$work/DEBIAN/control"
		quietly dpkg-deb --root-owner-group --build "$work" "$tree/newer/$(basename "$package")"
		rm -r "$work"
	done
}

install_all() {
	local each files=()
	for each in "$tree/$1"/*.deb; do
		files+=("/$1/$(basename "$each")")
	done
	install_in_tree "${files[@]}"
}

make_tree
step "installing"
mkdir "$tree/packages"
for each in "${names[@]}"; do
	cp "$packages/${each}"_*.deb "$tree/packages/"
done
install_all packages
[ -z "$(inside dpkg --audit)" ] || fail "dpkg finds something: $(inside dpkg --audit)"

step "a server, a peer, and a program of one's own"
install_in_tree gcc libc6-dev pkg-config
cat >"$tree/program.c" <<'C'
#include <ivshmem/client.h>
#include <stdio.h>

int
main(void)
{
	struct ivshmem_client *client;
	struct ivshmem_error error;

	if (ivshmem_attach(&client, "unix:/run/group.sock", NULL, &error) < 0) {
		puts(error.message);
		return 1;
	}
	printf("peer %d\n", ivshmem_id(client));
	ivshmem_detach(client);
	return 0;
}
C
# shellcheck disable=SC2016 # the shell inside expands it
quietly inside sh -c 'gcc -Wall -Werror -o program program.c $(pkg-config --cflags --libs libivshmem)'
become_inside ivshmem-server -F --supervise -S /run/group.sock -l 1M -n 1 >>"$log" 2>&1 &
server=$!
become_inside ivshmem -t /run/group.sock --wait 10 monitor >"$directory/monitor" 2>&1 &
monitor=$!
wait_for "attached as peer 0" "$directory/monitor"
[ "$(inside /program)" = "peer 1" ] || fail "the program is not peer 1"
wait_for "peer 1 left" "$directory/monitor"

step "upgrading while the group has a client"
make_newer
install_all newer
kill -HUP "$server"
wait_for "peers that stayed connected: 1" "$log"
[ "$(inside /program)" = "peer 2" ] || fail "the program is not peer 2"
wait_for "peer 2 left" "$directory/monitor"
kill -0 "$monitor" || fail "the monitor ended"

step "ending and purging"
kill "$monitor" "$server"
wait
quietly inside apt-get -q -y purge "${names[@]}"
rm -r "$tree"/packages "$tree"/newer
left=$(inside find / -xdev \( -path /proc -o -path /sys \) -prune -o -name '*ivshmem*' -print)
[ -z "$left" ] || fail "it left: $left"

step "done: nothing is left"
remove_tree
