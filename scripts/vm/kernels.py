# SPDX-License-Identifier: BSD-2-Clause
"""The kernels that guests can have: where Debian packages them."""

import platform
from typing import NamedTuple


class Kernel(NamedTuple):
    release: str  # of Debian
    flavour: str  # linux-image-FLAVOUR and linux-headers-FLAVOUR stand for the newest one there


KERNELS = {
    '5.10': Kernel('bullseye', 'cloud-amd64'),
    '6.1': Kernel('bookworm', 'cloud-amd64'),
    '6.12': Kernel('bookworm', '6.12-cloud-amd64'),
    '6.12+deb13': Kernel('trixie', 'cloud-amd64'),
    'newest': Kernel('trixie-backports', 'cloud-amd64'),
}


def _usual():
    """That of this machine's Debian, whose packages apt knows anyway."""
    try:
        own = platform.freedesktop_os_release().get('VERSION_CODENAME')
    except OSError:
        own = None
    return next((name for name, kernel in KERNELS.items() if kernel.release == own), '6.1')


USUAL = _usual()
