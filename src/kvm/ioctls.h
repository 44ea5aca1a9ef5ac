/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_IOCTLS_H
#define KVM_IOCTLS_H

/* Calls to the kernel about the virtual machine, which is a descriptor there. */

struct ivshmem_error;

/* -EINVAL if `vm_fd` is not a virtual machine. */
int kvm_check_vm(int vm_fd, struct ivshmem_error *reterr);

/* ioctl(): what it returns, or a negative errno. */
int kvm_ioctl(int vm_fd, unsigned long request, const void *argument);

#endif
