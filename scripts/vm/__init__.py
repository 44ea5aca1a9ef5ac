# SPDX-License-Identifier: BSD-2-Clause
"""Real Linux guests under QEMU: their kernel and initramfs, KVM or not, starting and talking to them."""

from .accel import Accel, choose_accel
from .child import ScratchDir, start_child, stop_child
from .debug_kernel import build_debug_image
from .driver import build_driver, build_driver_for_arm64
from .guest import QEMU, Guest, GuestError, ivshmem_doorbell, vfio_user, vfio_user_device
from .image import Image, ImageError, build_image
from .kernels import KERNELS, USUAL
from .kvm_machine import ENVIRONMENT as KVM_MACHINE_ENVIRONMENT
from .kvm_machine import PYTHON, SAY, KvmMachine, KvmMachineError, guest_files
from .qemu import QemuError, qemu_with_vfio_user
from .terminal import attach_console, connect_console

__all__ = ['KERNELS', 'KVM_MACHINE_ENVIRONMENT', 'PYTHON', 'QEMU', 'SAY', 'USUAL', 'Accel', 'Guest', 'GuestError', 'Image',
           'ImageError', 'KvmMachine', 'KvmMachineError', 'QemuError', 'ScratchDir', 'attach_console', 'build_debug_image',
           'build_driver', 'build_driver_for_arm64', 'build_image', 'choose_accel', 'connect_console', 'guest_files',
           'ivshmem_doorbell', 'qemu_with_vfio_user', 'start_child', 'stop_child', 'vfio_user', 'vfio_user_device']
