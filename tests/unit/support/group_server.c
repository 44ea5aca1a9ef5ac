/* SPDX-License-Identifier: BSD-2-Clause */
#include "group_server.h"

#include <loop/loop.h>
#include <server/server.h>

#include <test.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static void *
serve(void *data)
{
	struct group *group = data;

	while (!atomic_load(&group->quit))
		loop_dispatch(group->loop, 20);
	return NULL;
}

void
group_open(struct group *group, unsigned vectors)
{
	struct server_config config = {.n_vectors = vectors};

	*group = (struct group){.address.sun_family = AF_UNIX};
	snprintf(group->address.sun_path, sizeof(group->address.sun_path), "%s/socket",
		test_directory());
	CHECK_EQ(loop_new(&group->loop), 0);
	group->memory = CHECK_SYS(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	CHECK_SYS(ftruncate(group->memory, GROUP_MEMORY));
	CHECK_SYS(fcntl(group->memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	group->listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	CHECK_SYS(bind(
		group->listener, (const struct sockaddr *)&group->address, sizeof(group->address)));
	CHECK_SYS(listen(group->listener, SOMAXCONN));
	config.loop = group->loop;
	config.listen_fd = group->listener;
	config.memory_fd = group->memory;
	CHECK_EQ(server_new(&group->server, &config), 0);
	CHECK_EQ(pthread_create(&group->thread, NULL, serve, group), 0);
}

void
group_kill(struct group *group)
{
	if (!group->server)
		return;
	atomic_store(&group->quit, true);
	CHECK_EQ(pthread_join(group->thread, NULL), 0);
	group->server = server_free(group->server);
	loop_free(group->loop);
	close(group->listener);
}

void
group_close(struct group *group)
{
	group_kill(group);
	close(group->memory);
}

struct ivshmem_client *
group_join(struct group *group)
{
	struct ivshmem_client *client;
	char target[sizeof(group->address.sun_path) + 5];

	snprintf(target, sizeof(target), "unix:%s", group->address.sun_path);
	CHECK_EQ(ivshmem_attach(&client, target, NULL, NULL), 0);
	return client;
}
