/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KVM_IOCTLS_H
#define KVM_IOCTLS_H

/* The virtual machine, as the kernel sees it: a descriptor. */

struct ivshmem_error;

/* -EINVAL if it is anything else. */
int kvm_check_vm(int vm_fd, struct ivshmem_error *reterr);

/* ioctl() with a negative errno; what it returns otherwise. */
int kvm_ioctl(int vm_fd, unsigned long request, const void *argument);

#endif
