#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# What the demo runs in each guest, with its output going to the host. Lines that begin with "@" are for
# demo/run.py, the rest is for people.

# shellcheck source=/dev/null # sets MY_BLOCK, OTHER_BLOCKS, BLOCK_SIZE
. /guest/settings

echo "$(ivshmem info | grep '^back end'), as $(id)"
echo "@user $(id -u)"
ivshmem --json info | sed 's/^/@info /'

# A block of random bytes that the others must find in the memory later.
dd if=/dev/urandom of=/tmp/block bs="$BLOCK_SIZE" count=1 2>/dev/null
ivshmem write "$MY_BLOCK" </tmp/block
echo "@wrote $(sha256sum </tmp/block)"

# One shell for everything, so that MSI-X stays enabled. It reads the commands, and then has to stay until
# the kernel's own count of its interrupts has been read: the second line of its input comes only after that.
mkfifo /tmp/counted
exec 3<>/tmp/counted
{
	cat /guest/commands
	echo 'say @end'
	read -r _ <&3
} | {
	ivshmem shell --exit-on-error 2>&1
	echo "@status $?"
} | while IFS= read -r line; do
	case $line in
	@end)
		sed -En 's/^ *[0-9]+: *([0-9]+) .*(vfio-msix\[|ivshmem [0-9a-f:.]+:)([0-9]+).*/@msix \3 \1/p' /proc/interrupts
		echo "$line"
		echo >&3
		;;
	"@status 0") ;;
	"@status "*)
		echo "the shell ended with ${line#@}"
		echo >&3
		touch /tmp/failed
		;;
	*) echo "$line" ;;
	esac
done

for block in $OTHER_BLOCKS; do
	echo "@read $block $(ivshmem read "$block" "$BLOCK_SIZE" | sha256sum)"
done

[ ! -e /tmp/failed ]
