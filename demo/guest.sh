# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=sh
#
# What a guest of the demo begins with, as root: it makes the device usable, by our driver if the guest has it. Then
# peer.sh uses it, as an ordinary user if it can.

if [ -e /modules/ivshmem.ko ]; then
	load-driver || exit
	exec su user -c /guest/peer
fi
bind-vfio
exec /guest/peer
