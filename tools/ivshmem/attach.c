/* SPDX-License-Identifier: BSD-2-Clause */
#include "attach.h"

#include "bus_error.h"
#include "target.h"

#include <base/eventfd.h>
#include <base/fd.h>
#include <ivshmem/abi.h>

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/un.h>

/* The most lines of the library that one attempt keeps. The library writes few. */
#define SAID_MAX 64

struct attaching {
	struct attach_config config;
	int fd;
	pthread_t thread;

	/* These belong to the thread until it is joined. */
	struct ivshmem_client *client;
	struct ivshmem_error error;
	int result;
	struct {
		enum ivshmem_log_level level;
		char *message;
	} said[SAID_MAX];
	unsigned n_said;
};

/* ---- in this thread -------------------------------------------------------------------------- */

/* The target for observers that belongs to a unix target. False if its path would be too long. */
static bool
observer_target(const char *target, char ret_target[TARGET_MAX])
{
	const struct sockaddr_un *address = NULL;
	const char *path = target + strlen("unix:");
	int length;

	if (strncmp(target, "unix:", strlen("unix:")) != 0)
		return false;
	if (strlen(path) + strlen(IVSHMEM_OBSERVER_SUFFIX) >= sizeof(address->sun_path))
		return false;
	length = snprintf(ret_target, TARGET_MAX, "observe:%s" IVSHMEM_OBSERVER_SUFFIX, path);
	return length > 0 && length < TARGET_MAX;
}

static int
attach_with(const struct attach_config *config, struct ivshmem_client **ret_client,
	struct ivshmem_error *reterr)
{
	const unsigned vector = (unsigned)config->hears;
	bool hears_all = !config->looks && config->hears == IVSHMEM_ANY_VECTOR;
	struct ivshmem_options options = {
		.struct_size = sizeof(options),
		.ops = config->ops,
		.data = config->data,
		.timeout_ms = config->cli->connect_timeout_ms,
		.backend = config->cli->backend,
		.vectors = hears_all ? NULL : &vector,
		.n_vectors = !hears_all && !config->looks,
	};
	char target[TARGET_MAX];
	int r;

	if (config->looks && observer_target(config->target, target)) {
		struct ivshmem_error error = {.message = ""};

		r = ivshmem_attach(ret_client, target, &options, &error);
		/* Other servers have no such socket, and a server that died may have left one. */
		if (r != -ENOENT && r != -ECONNREFUSED && r != -EACCES && r != -EPERM) {
			if (r < 0)
				*reterr = error;
			return r;
		}
	}
	return ivshmem_attach(ret_client, config->target, &options, reterr);
}

int
attach(const struct attach_config *config, struct ivshmem_client **ret_client,
	struct ivshmem_error *reterr)
{
	int r = attach_with(config, ret_client, reterr);

	if (r == 0)
		bus_error_watch(*ret_client);
	return r;
}

bool
attach_may_succeed_later(const char *target, int r)
{
	/* -ENODATA: the memory object has no size yet. */
	return (r == -ENOENT || r == -ECONNREFUSED || r == -ENODATA) && !target_is_pci(target);
}

/* ---- in the background ----------------------------------------------------------------------- */

/* In the thread of an attempt: that attempt. NULL in other threads. */
static _Thread_local struct attaching *here;

/* The attempt that was left behind. The pointer tells leak checkers that it is still in use. */
static struct attaching *abandoned;

bool
attaching_keeps(enum ivshmem_log_level level, const char *message)
{
	if (!here)
		return false;
	if (here->n_said < SAID_MAX) {
		here->said[here->n_said].level = level;
		here->said[here->n_said++].message = strdup(message);
	}
	return true;
}

static void *
run(void *data)
{
	struct attaching *attaching = data;
	const struct attach_config *config = &attaching->config;

	here = attaching;
	attaching->result = attach_with(config, &attaching->client, &attaching->error);
	eventfd_write(attaching->fd, 1);
	return NULL;
}

static void
attaching_free(struct attaching *attaching)
{
	for (unsigned i = 0; i < attaching->n_said; i++)
		free(attaching->said[i].message);
	fd_close(attaching->fd);
	free(attaching);
}

int
attaching_start(struct attaching **ret_attaching, const struct attach_config *config,
	struct ivshmem_error *reterr)
{
	struct attaching *attaching = calloc(1, sizeof(*attaching));
	int r = ENOMEM;

	if (attaching) {
		attaching->config = *config;
		attaching->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r = attaching->fd < 0 ? errno
				      : pthread_create(&attaching->thread, NULL, run, attaching);
	}
	if (r != 0) {
		reterr->code = -r;
		snprintf(reterr->message, sizeof(reterr->message),
			"cannot start a thread that attaches: %s", strerror(r));
		if (attaching)
			attaching_free(attaching);
		return -r;
	}
	*ret_attaching = attaching;
	return 0;
}

int
attaching_fd(const struct attaching *attaching)
{
	return attaching->fd;
}

int
attaching_finish(struct attaching *attaching, struct ivshmem_client **ret_client,
	struct ivshmem_error *reterr)
{
	const struct attach_config *config = &attaching->config;
	int r;

	pthread_join(attaching->thread, NULL);
	for (unsigned i = 0; i < attaching->n_said; i++)
		if (attaching->said[i].message)
			config->ops->log(attaching->client, attaching->said[i].level,
				attaching->said[i].message, config->data);
	*ret_client = attaching->client;
	*reterr = attaching->error;
	r = attaching->result;
	if (r == 0)
		bus_error_watch(*ret_client);
	attaching_free(attaching);
	return r;
}

void
attaching_abandon(struct attaching *attaching)
{
	if (!attaching)
		return;
	pthread_detach(attaching->thread);
	abandoned = attaching;
}
