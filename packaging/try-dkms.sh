#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# try-dkms.sh PACKAGE DIRECTORY: installs ivshmem-dkms_*.deb in a new Debian 12 below the directory, upgrades it, removes it and
# purges it, and looks at what is there after each step. As root; needs debootstrap. Leaves DIRECTORY/ivshmem.ko, the module as
# DKMS built it. This machine is not changed: what is mounted below the directory is so for this script alone.

set -Eeuo pipefail

if [ -z "${in_namespace-}" ]; then
	[ $# = 2 ] || { echo "usage: try-dkms.sh PACKAGE DIRECTORY" >&2; exit 2; }
	in_namespace=1 exec unshare --mount --propagation private "$0" "$@"
fi

mkdir -p "$2"
package=$(realpath "$1")
directory=$(realpath "$2")
version=$(dpkg-deb --field "$package" Version)
newer=$version+1
log=$directory/log
# shellcheck disable=SC2034 # for tree.sh
name=try-dkms.sh
# shellcheck source=tree.sh source-path=SCRIPTDIR
. "$(dirname "$0")/tree.sh"

# The same package with another version: what is different in a real one has nothing to do with the upgrade.
make_newer() {
	local work=$directory/newer
	dpkg-deb --raw-extract "$package" "$work"
	mv "$work/usr/src/ivshmem-$version" "$work/usr/src/ivshmem-$newer"
	grep -rl "$version" "$work/DEBIAN" "$work/usr/src" | xargs sed -i "s/${version//./\\.}/$newer/g"
	quietly dpkg-deb --root-owner-group --build "$work" "$tree/newer.deb"
	rm -r "$work"
}

# Each kernel has the module of this version, and nothing of another.
check_installed() {
	local kernel module kernels=0
	for kernel in "$tree"/lib/modules/*; do
		kernels=$((kernels + 1))
		module=$kernel/updates/dkms/ivshmem.ko
		[ "$(inside modinfo --field version "${module#"$tree"}")" = "$1" ] || fail "no module of version $1 for ${kernel##*/}"
		[ "$(inside dkms status)" = "ivshmem/$1, ${kernel##*/}, x86_64: installed" ] ||
			fail "dkms says: $(inside dkms status)"
	done
	[ "$kernels" = 1 ] || fail "$kernels kernels instead of 1"
	[ "$(ls -d "$tree"/usr/src/ivshmem-*)" = "$tree/usr/src/ivshmem-$1" ] || fail "sources of another version"
	[ -e "$tree/usr/lib/udev/rules.d/60-ivshmem.rules" ] || fail "no udev rules"
	inside getent group ivshmem >/dev/null || fail "no group ivshmem"
}

make_tree

step "installing ivshmem-dkms $version, without headers of a kernel"
cp "$package" "$tree/package.deb"
install_in_tree /package.deb
[ "$(inside dkms status)" = "ivshmem/$version: added" ] || fail "dkms says: $(inside dkms status)"

step "installing the headers of a kernel"
install_in_tree linux-headers-cloud-amd64
check_installed "$version"
cp "$tree"/lib/modules/*/updates/dkms/ivshmem.ko "$directory/"

step "upgrading to $newer"
make_newer
install_in_tree /newer.deb
check_installed "$newer"

step "removing and purging it"
quietly inside apt-get -q -y remove ivshmem-dkms
[ -z "$(inside dkms status)" ] || fail "dkms says: $(inside dkms status)"
quietly inside dpkg --purge ivshmem-dkms
# A group stays in Debian: files may belong to it.
left=$(inside find / -xdev -name '*ivshmem*')
[ -z "$left" ] || fail "it left: $left"

step "done: nothing is left but the group ivshmem"
remove_tree
