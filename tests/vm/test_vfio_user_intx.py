# SPDX-License-Identifier: BSD-2-Clause
"""Revision 0 with msi=off over vfio-user: INTx, as the kernel's uio_pci_generic and a program get it."""

import pytest

import lspci
from in_guest import BOOT_LIMIT, FIND_DEVICE, answer

pytestmark = [pytest.mark.limit(300), pytest.mark.under_kvm]

# uio_pci_generic sets INTx Disable at each interrupt, if Interrupt Status is set; a program clears it. Reading
# /dev/uio0 waits for an interrupt, and gives their number.
SCRIPT = FIND_DEVICE + """
echo uio_pci_generic >$device/driver_override
echo ${device##*/} >/sys/bus/pci/drivers_probe
bar() { echo $(($(sed -n "$(($1 + 1))s/ .*//p" $device/resource) + $2)); }
register() { echo $(($(devmem $(bar 0 $1) 32 $2))); }
enable() { printf '\\003\\001' | dd of=$device/config bs=2 seek=2 count=1 conv=notrunc 2>/dev/null; }
status() { echo $(($(od -A n -t u2 -j 6 -N 2 $device/config) & 8)); }
interrupts() { sed -n 's/^ *[0-9]*: *\\([0-9]*\\) .* uio_pci_generic$/\\1/p' /proc/interrupts; }
next() { echo $(dd bs=4 count=1 2>/dev/null <&4 | od -A n -t u4); }
exec 4</dev/uio0
echo ready
while read -r line && [ "$line" != end ]; do eval "$line" 2>&1; echo "end of output"; done
"""

MASK, STATUS, POSITION, DOORBELL = 0, 4, 8, 12


class Program:
    def __init__(self, guest):
        self.guest = guest
        guest.expect("^ready$", BOOT_LIMIT)

    def __call__(self, line):
        self.guest.send(line + "\n")
        return answer(self.guest)

    def number(self, line):
        return int(self(line))

    def read(self, register):
        return self.number(f"register {register}")

    def write(self, register, value):
        self(f"devmem $(bar 0 {register}) 32 {value:#x}")


def test_intx(group, device, boot, image):
    device = device("--server", group.server.path, "--revision", "0", "--msi", "off", "--size", "1M",
                    "--vectors", str(group.vectors))
    group.monitor.expect("peer 1 joined .*")
    program = Program(boot(SCRIPT, device=device, iommu=None, kernel_options="iomem=relaxed",
                           files=lspci.files(image.cache)))
    assert program.read(POSITION) == 1

    # Not let through by IntrMask: recorded, and no interrupt.
    group.run("ring", "1:0")
    assert program.number(f"until [ $(register {STATUS}) = 1 ]; do sleep 0.01; done; interrupts") == 0
    assert program.read(STATUS) == 0

    # It arrives, on whichever vector; the driver has masked it, and Interrupt Status says that it is still there.
    program.write(MASK, 1)
    group.run("ring", "1:1")
    assert program.number("next") == 1
    assert program.number("status") == 8
    # As nobody has read IntrStatus, it comes again when the driver's mask goes.
    assert program("enable; next") == "2\n"
    # Reading IntrStatus clears it; then nothing comes, until somebody rings.
    assert program.read(STATUS) == 1
    assert program.read(STATUS) == 0
    assert program("enable; status; interrupts") == "0\n2\n"
    for count in range(3, 10):
        group.run("ring", f"1:{count % group.vectors}")
        assert program(f"next; register {STATUS}; enable") == f"{count}\n1\n"
    assert program.number("interrupts") == 9

    # Out through the doorbell, and the memory, which QEMU without KVM does not map after the first INTx.
    program.write(DOORBELL, 2)
    group.monitor.expect("interrupt vector 2 count 1")
    group.run("write", "0xff000", "written by the host", "--nul")
    assert program("ivshmem --backend sysfs read 0xff000 --text") == "written by the host\n"
    program("ivshmem --backend sysfs write 0x1234 'written by the guest' --nul")
    assert group.run("read", "0x1234", "--text") == b"written by the guest\n"
    lspci.assert_golden("revision-0-intx", program("lspci -vv -d 1af4:1110 2>/dev/null"))
    program.guest.send("end\n")
    assert program.guest.wait_end() == 0
