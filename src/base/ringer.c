/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/ringer.h>

#include <base/eventfd.h>
#include <base/fd.h>

#include <linux/aio_abi.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

/* What a context points to, for programs that take events out without a system call. */
struct ringer_completions {
	uint32_t id, size, head, tail;
	uint32_t magic, compatible, incompatible, header_length;
};

#define COMPLETIONS_MAGIC 0xa10a10a1U

void
ringer_init(struct ringer *ringer)
{
	*ringer = (struct ringer){.ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
}

void
ringer_prepare(struct ringer *ringer)
{
	aio_context_t context = 0;

	if (ringer->prepared || ringer->ready < 0)
		return;
	ringer->prepared = true;
	if (syscall(SYS_io_setup, 1, &context) < 0)
		return;
	ringer->context = context;
	memcpy(&ringer->completions, &context, sizeof(context));
	if (ringer->completions->magic != COMPLETIONS_MAGIC ||
		ringer->completions->incompatible != 0) {
		syscall(SYS_io_destroy, context);
		ringer->context = 0;
	}
}

void
ringer_done(struct ringer *ringer)
{
	if (ringer->context)
		syscall(SYS_io_destroy, ringer->context);
	fd_close(ringer->ready);
	*ringer = (struct ringer){.ready = -1};
}

/* A request to wait until `ready` is writable, which it is, and to signal `fd` then. */
static int
submit(const struct ringer *ringer, int fd)
{
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_POLL,
		.aio_fildes = (uint32_t)ringer->ready,
		.aio_buf = POLLOUT,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *requests[] = {&request};

	if (syscall(SYS_io_submit, ringer->context, 1, requests) != 1)
		return -errno;
	/* Nobody needs to know that it is complete; this only makes room for the next one. */
	__atomic_store_n(&ringer->completions->head,
		__atomic_load_n(&ringer->completions->tail, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
	return 0;
}

int
ringer_ring(struct ringer *ringer, int fd)
{
	ringer_prepare(ringer);
	if (ringer->context && submit(ringer, fd) == 0)
		return 0;
	return eventfd_ring(fd);
}
