/* SPDX-License-Identifier: BSD-2-Clause */

/* The system calls of ivshmem-device, besides those of all services (common/sandbox_calls.c). */

#include <confine.h>

#include <common/sandbox.h>

#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>

const struct sandbox_call device_calls[] = {
	/* a thread for each VMM */
	{"clone3", "the C library then uses clone(), whose flags a filter can see", SANDBOX_REFUSE},
	{"clone", "a thread for each VMM, and no process", SANDBOX_IF, 0, CLONE_THREAD,
		CLONE_THREAD},
	{"set_robust_list", "the start of a thread"},
	{"rseq", "the start of a thread"},

	/* rings */
	{"io_setup", "a ring that does not wait (base/ringer.c)"},
	{"io_submit", "the same"},
	{"io_destroy", "the same"},
	{"io_getevents", "the same"},

	{"ioctl", "whether a VMM has sent anything yet (vfio_user/door.c)", SANDBOX_IF, 1,
		UINT32_MAX, FIONREAD},
	{NULL},
};
