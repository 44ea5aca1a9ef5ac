/* SPDX-License-Identifier: BSD-2-Clause */
#include <confine.h>

#include <base/error.h>
#include <base/log.h>
#include <common/sandbox.h>
#include <common/supervisor.h>
#include <options.h>
#include <region/region.h>
#include <sockets.h>

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <string.h>
#include <unistd.h>

/* Descriptors that clients leave unread then do not keep new clients out (docs/security.md). */
#define KEEP (UINT64_C(1) << CAP_SYS_RESOURCE)

/* With it, a larger group can be handed over (docs/restart.md); but it also rules the network. */
#define KEEP_GIVEN (UINT64_C(1) << CAP_NET_ADMIN)

/* A process that is made from this one (guardian.h) has the sandbox already. */
static bool confined;

int
confine_begin(struct sandbox *sandbox, const struct options *options, const struct log *log,
	struct ivshmem_error *reterr)
{
	if (confined)
		return 0;
	*sandbox = (struct sandbox){
		.mode = options->sandbox,
		.user = options->user,
		.keep = KEEP,
		.keep_given = KEEP_GIVEN,
	};
	return sandbox_begin(sandbox, log, reterr);
}

static void
add_socket(struct sandbox *sandbox, const struct listener *listener, enum sandbox_access access)
{
	if (listener->fd >= 0 && !listener->adopted)
		sandbox_add_path(sandbox, listener->path, access);
}

/* The new user can remove what belongs to him, and the next server finds that it is his. */
static int
give_memory(
	const struct sandbox_user *user, const struct region *region, struct ivshmem_error *reterr)
{
	if (!user->name || !region->created || geteuid() != 0)
		return 0;
	if (fchown(region->fd, user->uid, user->gid) < 0)
		return error_set(reterr, -errno,
			"cannot give the shared memory to user '%.100s': %s", user->name,
			strerror(errno));
	return 0;
}

int
confine(struct sandbox *sandbox, const struct options *options, const struct sockets *sockets,
	const struct region *region, const struct log *log, struct ivshmem_error *reterr)
{
	char shm[PATH_MAX] = "";
	int r;

	if (confined)
		return 0;
	r = give_memory(&sandbox->user, region, reterr);
	if (r < 0)
		return r;
	/* Names of clients' programs. */
	sandbox_add_path(sandbox, "/proc", SANDBOX_READ);
	if (!options->foreground) {
		sandbox_add_path(sandbox, "/dev/null", SANDBOX_DEVICE);
		sandbox_add_path(sandbox, options->pid_file, SANDBOX_REMOVE);
	}
	add_socket(sandbox, &sockets->clients, SANDBOX_REMOVE);
	add_socket(sandbox, &sockets->observers, SANDBOX_REMOVE);
	/* Whoever goes on if we are killed makes it anew. */
	add_socket(sandbox, &sockets->control,
		options->keep_clients ? SANDBOX_SOCKET : SANDBOX_REMOVE);
	for (unsigned i = 0; i < options->n_members; i++)
		add_socket(sandbox, &sockets->members[i], SANDBOX_REMOVE);
	if (region->created && region_shm_path(region->name, shm, sizeof(shm), reterr) == 0)
		sandbox_add_path(sandbox, shm, SANDBOX_REMOVE);
	sandbox_add_path(sandbox, options->trace_file, SANDBOX_CREATE);
	sandbox_add_table(sandbox, server_calls);
	if (options->keep_clients)
		sandbox_add_table(sandbox, sandbox_guardian);
	/* The socket of --supervise is where only its own user can reach it. */
	if (sandbox->user.name)
		supervisor_connect();
	r = sandbox_enter(sandbox, log, reterr);
	confined = r == 0;
	return r;
}
