# SPDX-License-Identifier: BSD-2-Clause
"""A QEMU that can have devices over vfio-user; see scripts/qemu-vfio-user.sh, which brings one."""

import functools
import pathlib
import subprocess

BRING = pathlib.Path(__file__).resolve().parent.parent / 'qemu-vfio-user.sh'


class QemuError(Exception):
    pass


@functools.cache
def qemu_with_vfio_user(say=None):
    """Its path. Fetched if need be, once, which `say`, or the standard error, is told."""
    with subprocess.Popen([BRING], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE if say else None) as process:
        for line in process.stderr or ():
            say(line.rstrip())
        path = process.stdout.read().strip()
    if process.returncode != 0:
        raise QemuError('there is no QEMU with vfio-user, see above')
    return path
