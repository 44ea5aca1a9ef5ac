# SPDX-License-Identifier: BSD-2-Clause
"""A Linux guest in which bench/guest measures what its devices cost a program there."""

import os
import sys

from tables import ROOT

sys.path.insert(0, os.path.join(ROOT, "scripts"))
import vm

ERRORS = (vm.GuestError, vm.ImageError, vm.KvmMachineError, vm.QemuError)

# The devices get the ways in the order of their slots. Whatever is for another driver must be kept from ours.
SCRIPT = """
set -- WAYS
for device in /sys/bus/pci/devices/*; do
	[ "$(cat $device/vendor) $(cat $device/device)" = "0x1af4 0x1110" ] || continue
	case $1 in
	*=vfio) echo vfio-pci >$device/driver_override; echo ${device##*/} >/sys/bus/pci/drivers_probe ;;
	*=sysfs*) echo none >$device/driver_override ;;
	esac
	words="$words $1@${device##*/}"
	shift
done
[ ! -f /modules/ivshmem.ko ] || insmod /modules/ivshmem.ko
exec guest_access OPTIONS $words
"""


class GuestAccess:
    """The program, and what it needs to be in a guest."""

    def __init__(self, build, accel="auto", driver=False):
        cache = os.path.join(build, "guest")
        self.image = vm.build_image(cache, os.path.join(build, "ivshmem-static"))
        self.accel = vm.choose_accel(self.image, cache, accel)
        with open(os.path.join(build, "bench", "guest", "guest_access"), "rb") as file:
            self.files = {"bin/guest_access": file.read()}
        if driver:
            self.files["modules/ivshmem.ko"] = vm.build_driver(self.image)

    def guest(self, sides, ways, devices, options, **more):
        """A guest that is not yet started; it prints what guest_access prints. `ways` are NAME=WAY."""
        script = SCRIPT.replace("WAYS", " ".join(ways)).replace("OPTIONS", " ".join(str(option) for option in options))
        return vm.Guest(self.image, self.accel, sides.directory.name, script=script, files=self.files, devices=devices,
                        qemu=vm.qemu_with_vfio_user(), **more)
