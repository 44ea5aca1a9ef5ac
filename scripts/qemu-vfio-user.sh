#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# Prints the path of a qemu-system-x86_64 that has the device vfio-user-pci, which came with QEMU 10.1: the
# machine's own one if it has it, else one of a newer Debian's, fetched once and unpacked under build/qemu, for
# which nothing is installed and no rights are needed.

set -euo pipefail

RELEASE=trixie-backports
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$root/build/qemu
program=$folder/qemu-system-x86_64

usage() {
	cat <<-END
	usage: scripts/qemu-vfio-user.sh [--unpacked]

	Prints the path of a QEMU with vfio-user-pci, and sees to it first that there is one.
	--unpacked: not the machine's own, even if that has it.
	END
}

fail() {
	echo "qemu-vfio-user.sh: $*" >&2
	exit 1
}

# Not by the list of all devices, for which QEMU loads every module there is, and falls over those of another QEMU.
has_vfio_user() {
	"$1" -device vfio-user-pci,help 2>/dev/null </dev/null | grep -q 'socket='
}

# QEMU is started by the dynamic loader and with the libraries of its own Debian, so that it needs no chroot,
# and finds its firmware and its modules where they were unpacked to. $0 is its path.
write_starter() {
	cat <<-'END'
	#!/bin/sh
	# Made by scripts/qemu-vfio-user.sh.
	root=${0%/*}/root
	lib=$root/usr/lib/x86_64-linux-gnu
	export QEMU_MODULE_DIR="$lib/qemu"
	exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" --argv0 qemu-system-x86_64 \
		"$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
	END
}

# What it does not need is most of what the packages bring.
remove_the_rest() {
	find "$1/usr/bin" ! -type d ! -name qemu-system-x86_64 -delete
	rm -rf "${1:?}/etc" "${1:?}/var" "${1:?}/usr/sbin" "${1:?}/usr/libexec"
	find "$1/usr/share" -mindepth 1 -maxdepth 1 ! -name qemu ! -name seabios ! -name doc -exec rm -rf {} +
	find "$1/usr/share/doc" ! -type d ! -name copyright -delete
}

bring() {
	local new=$folder.new
	[ "$(uname -m)" = x86_64 ] || fail "the QEMU that is brought is one for x86-64 machines; this one is $(uname -m)"
	echo "fetching a QEMU with vfio-user from Debian's $RELEASE, once, into ${folder#"$root/"}" >&2
	rm -rf "$new" "$folder" # of a call that was interrupted
	mkdir -p "$new/root"
	"$root/scripts/packages.sh" --unpack "$new/root" "$RELEASE" qemu-system-x86 >&2 ||
		fail "there is no QEMU with vfio-user, see above; it is also enough to install QEMU 10.1 or later"
	remove_the_rest "$new/root"
	write_starter >"$new/qemu-system-x86_64"
	chmod +x "$new/qemu-system-x86_64"
	has_vfio_user "$new/qemu-system-x86_64" ||
		fail "the QEMU of $RELEASE does not run here, or has no vfio-user-pci; see what" \
			"$new/qemu-system-x86_64 -device vfio-user-pci,help says"
	mv -T "$new" "$folder"
}

case "${1-}" in
'')
	if own=$(command -v qemu-system-x86_64) && has_vfio_user "$own"; then
		echo "$own"
		exit
	fi
	;;
--unpacked) ;;
-h | --help)
	usage
	exit
	;;
*)
	usage >&2
	exit 2
	;;
esac

if [ ! -x "$program" ]; then
	mkdir -p "${folder%/*}"
	exec 9>"$folder.lock"
	flock 9
	[ -x "$program" ] || bring 9>&-
fi
echo "$program"
