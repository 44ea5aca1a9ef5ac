/* SPDX-License-Identifier: BSD-2-Clause */
#include <kvm/ioctls.h>

#include <base/error.h>

#include <errno.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <sys/ioctl.h>

int
kvm_check_vm(int vm_fd, struct ivshmem_error *reterr)
{
	/* Among KVM's descriptors, those of virtual CPUs refuse the first call, and only /dev/kvm
	 * itself grants the second. */
	if (ioctl(vm_fd, KVM_CHECK_EXTENSION, (long)KVM_CAP_USER_MEMORY) < 0 ||
		ioctl(vm_fd, KVM_GET_API_VERSION, 0L) >= 0)
		return error_set(reterr, -EINVAL,
			"descriptor %d (vm_fd) is no virtual machine; give what KVM_CREATE_VM returned",
			vm_fd);
	return 0;
}

int
kvm_ioctl(int vm_fd, unsigned long request, const void *argument)
{
	int r;

	do
		r = ioctl(vm_fd, request, argument);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}
