# SPDX-License-Identifier: BSD-2-Clause
"""Real Linux guests under QEMU: their kernel and initramfs, KVM or not, starting and talking to them."""

from .accel import Accel, choose_accel
from .child import ScratchDir, start_child, stop_child
from .guest import Guest, GuestError, ivshmem_doorbell
from .image import Image, ImageError, build_image
from .terminal import attach_console, connect_console

__all__ = ['Accel', 'Guest', 'GuestError', 'Image', 'ImageError', 'ScratchDir', 'attach_console',
           'build_image', 'choose_accel', 'connect_console', 'ivshmem_doorbell', 'start_child', 'stop_child']
