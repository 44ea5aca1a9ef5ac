/* SPDX-License-Identifier: BSD-2-Clause */
#include <confine.h>

#include <common/sandbox.h>
#include <common/supervisor.h>
#include <options.h>
#include <socket/listener.h>

int
confine(struct sandbox *sandbox, const struct device_options *options,
	const struct listener *listener, const struct log *log, struct ivshmem_error *reterr)
{
	/* Names of VMMs. */
	sandbox_add_path(sandbox, "/proc", SANDBOX_READ);
	if (listener->fd >= 0 && !listener->adopted)
		sandbox_add_path(sandbox, listener->path, SANDBOX_REMOVE);
	sandbox_add_path(sandbox, options->trace_file, SANDBOX_CREATE);
	sandbox_add_table(sandbox, device_calls);
	if (sandbox->user.name)
		supervisor_connect();
	return sandbox_enter(sandbox, log, reterr);
}
