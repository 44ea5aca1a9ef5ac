/* SPDX-License-Identifier: BSD-2-Clause */

/* What the function has: its regions and interrupts. */
#include <base/error.h>
#include <base/pace.h>
#include <function/function.h>
#include <vfio_user/handlers.h>

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define CONFIG_SIZE 256

/* Each of these bodies begins with argsz: what the client takes. It must take the whole answer. */
static int
check_argsz(struct session *session, uint32_t argsz, size_t size)
{
	if (argsz < size)
		return error_set(&session->error, -EINVAL,
			"argsz is %u, but the answer has %zu bytes", argsz, size);
	return 0;
}

int
handle_device_info(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_device_info info;
	int r;

	memcpy(&info, request->body, sizeof(info));
	r = check_argsz(session, info.argsz, sizeof(info));
	if (r < 0)
		return r;
	info = (struct vfio_user_device_info){
		.argsz = sizeof(info),
		.flags = VFIO_USER_DEVICE_PCI | VFIO_USER_DEVICE_RESETS,
		.num_regions = VFIO_USER_N_REGIONS,
		.num_irqs = VFIO_PCI_NUM_IRQS,
	};
	reply_add(reply, &info, sizeof(info));
	return 0;
}

int
handle_region_info(struct session *session, struct request *request, struct reply *reply)
{
	const struct function *function = session->function;
	struct vfio_user_region_info info;
	uint32_t index;
	bool reads_only;
	int r, memory_fd;

	memcpy(&info, request->body, sizeof(info));
	index = info.index;
	r = check_argsz(session, info.argsz, sizeof(info));
	if (r < 0)
		return r;
	if (index >= VFIO_USER_N_REGIONS)
		return error_set(&session->error, -EINVAL, "there is no region %u", index);
	info = (struct vfio_user_region_info){.argsz = sizeof(info), .index = index};
	if (index == VFIO_USER_REGION_CONFIG)
		info.size = CONFIG_SIZE;
	else
		info.size = ivshmem_device_bar_size(function->device, index);
	if (info.size > 0)
		info.flags = VFIO_USER_REGION_READABLE | VFIO_USER_REGION_WRITABLE;
	reads_only = index == 2 && member_is_reader(function->member);
	if (reads_only)
		info.flags &= ~(uint32_t)VFIO_USER_REGION_WRITABLE;

	/*
	 * A VMM reaches memory that has not arrived yet (revision 0) by messages only, and memory
	 * that it may only read, too: KVM and QEMU end a VM whose guest writes to a mapping that
	 * cannot be written.
	 */
	memory_fd = member_memory_fd(function->member);
	if (index == 2 && !reads_only && memory_fd >= 0 && session->max_fds > 0) {
		int fd = fcntl(memory_fd, F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			pace_printf(session->complaints,
				"no file descriptor is left to give the VMM the shared memory, which will be slow: raise the limit (ulimit -n)");
		} else {
			info.flags |= VFIO_USER_REGION_MMAP;
			reply->fds[reply->n_fds++] = fd;
		}
	}
	reply_add(reply, &info, sizeof(info));
	return 0;
}

int
handle_irq_info(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_irq_info info;
	uint32_t index;
	int r;

	memcpy(&info, request->body, sizeof(info));
	index = info.index;
	r = check_argsz(session, info.argsz, sizeof(info));
	if (r < 0)
		return r;
	if (index >= VFIO_PCI_NUM_IRQS)
		return error_set(&session->error, -EINVAL, "there is no interrupt index %u", index);
	info = (struct vfio_user_irq_info){
		.argsz = sizeof(info),
		.index = index,
		.count = session->function->irqs.index[index].count,
	};
	/* Not NORESIZE: with it, QEMU turns MSI-X off and on whenever it uses another vector. */
	if (info.count > 0)
		info.flags = VFIO_USER_IRQ_EVENTFD;
	if (index == VFIO_PCI_INTX_IRQ_INDEX && info.count > 0)
		info.flags |= VFIO_USER_IRQ_MASKABLE | VFIO_USER_IRQ_AUTOMASKED;
	reply_add(reply, &info, sizeof(info));
	return 0;
}
