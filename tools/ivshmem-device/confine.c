/* SPDX-License-Identifier: BSD-2-Clause */
#include <confine.h>

#include <common/sandbox.h>
#include <common/supervisor.h>
#include <options.h>
#include <socket/listener.h>

/* A process that is made from this one (common/guardian.h) has the sandbox already. */
static bool confined;

int
confine_begin(struct sandbox *sandbox, const struct device_options *options, const struct log *log,
	struct ivshmem_error *reterr)
{
	if (confined)
		return 0;
	*sandbox = (struct sandbox){.mode = options->sandbox, .user = options->user};
	return sandbox_begin(sandbox, log, reterr);
}

int
confine(struct sandbox *sandbox, const struct device_options *options,
	const struct listener *listener, const struct log *log, struct ivshmem_error *reterr)
{
	int r;

	if (confined)
		return 0;
	/* Names of VMMs. */
	sandbox_add_path(sandbox, "/proc", SANDBOX_READ);
	if (listener->fd >= 0 && !listener->adopted)
		sandbox_add_path(sandbox, listener->path, SANDBOX_REMOVE);
	sandbox_add_path(sandbox, options->trace_file, SANDBOX_CREATE);
	sandbox_add_table(sandbox, device_calls);
	/* Whoever goes on if we are killed makes it anew. */
	sandbox_add_path(
		sandbox, options->control_socket, options->guard ? SANDBOX_SOCKET : SANDBOX_REMOVE);
	if (options->guard)
		sandbox_add_table(sandbox, sandbox_guardian);
	if (sandbox->user.name)
		supervisor_connect();
	r = sandbox_enter(sandbox, log, reterr);
	confined = r == 0;
	return r;
}
