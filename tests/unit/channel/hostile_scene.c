/* SPDX-License-Identifier: BSD-2-Clause */
#include "hostile_scene.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

void
scene_open(struct scene *scene)
{
	*scene = (struct scene){0};
	stage_open(3, AREA);
	scene->victim = stage_join(0);
	scene->hostile = stage_join(HOSTILE);
	scene->bystander = stage_join(2);
}

static void
send_two(struct ivshmem_channel *channel)
{
	uint8_t record[RECORD];

	for (unsigned i = 0; i < SENT; i++) {
		stage_fill(record, RECORD, i);
		CHECK_EQ(ivshmem_queue_send(channel, record, RECORD), 0);
	}
}

void
scene_open_queue(struct scene *scene, enum situation situation)
{
	bool listens = situation == LISTENS || situation == IS_ASKED || situation == ACCEPTED;

	scene_open(scene);
	scene->listener = stage_listen(listens ? scene->hostile : scene->victim, IVSHMEM_QUEUE);
	if (situation == IS_ASKED || situation == ACCEPTED)
		scene->channel = stage_connect(scene->victim, IVSHMEM_QUEUE);
	if (situation == ACCEPTED)
		scene->theirs = stage_accept(scene->listener);
	if (situation == CONNECTED || situation == TALKS)
		scene->theirs = stage_connect(scene->hostile, IVSHMEM_QUEUE);
	if (scene->theirs)
		send_two(scene->theirs);
	if (situation == TALKS) {
		scene->channel = stage_accept(scene->listener);
		CHECK_EQ(ivshmem_participant_dispatch(scene->hostile), 0);
	}
}

void
scene_break(uint8_t *bytes, size_t size, enum how how, uint64_t value)
{
	uint64_t found = 0;

	if (size > 8) { /* a name */
		memset(bytes, (int)value, size);
		return;
	}
	memcpy(&found, bytes, size);
	value = how == SET ? value : how == ADD ? found + value : found ^ value;
	memcpy(bytes, &value, size);
}

void
scene_run_rows(unsigned n, void (*run)(unsigned row), const char *(*name)(unsigned row))
{
	unsigned failed = 0;

	for (unsigned i = 0; i < n; i++) {
		pid_t pid = test_fork();
		int status;

		if (pid == 0) {
			run(i);
			_exit(0);
		}
		CHECK_SYS(waitpid(pid, &status, 0));
		if (status != 0) {
			fprintf(stderr, "  in '%s'\n", name(i));
			failed++;
		}
	}
	CHECK_EQ(failed, 0);
}

static int
see_channel(void *data, const struct ivshmem_channel_info *info)
{
	CHECK(info->phase && strlen(info->name) < sizeof(info->name));
	CHECK(ivshmem_channel_kind_name(info->kind));
	(*(unsigned *)data)++;
	return 0;
}

static int
see_participant(void *data, const struct ivshmem_participant_info *info)
{
	CHECK(strlen(info->name) < sizeof(info->name));
	(*(unsigned *)data)++;
	return 0;
}

void
scene_look_at(struct ivshmem_participant *participant, struct ivshmem_channel *channel)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};
	unsigned n_channels = 0, n_participants = 0;

	CHECK_EQ(ivshmem_channels(participant, see_channel, &n_channels), 0);
	CHECK_EQ(ivshmem_participants(participant, see_participant, &n_participants), 0);
	CHECK(n_participants <= participant->map.n_areas);
	CHECK(n_channels <= participant->map.n_areas * participant->map.n_entries);
	if (channel)
		CHECK_EQ(ivshmem_channel_status(channel, &status), 0);
	CHECK(strlen(status.peer_name) < sizeof(status.peer_name));
}

int
scene_receive_all(struct ivshmem_channel *channel, int *ret_records)
{
	uint8_t record[STAGE_RING];
	int64_t r;

	*ret_records = 0;
	while ((r = ivshmem_queue_receive(channel, record, sizeof(record))) >= 0)
		CHECK(++*ret_records < 100);
	return (int)r;
}

int
scene_send_all(struct ivshmem_channel *channel)
{
	static const uint8_t record[RECORD];
	int r;

	for (unsigned i = 0; (r = ivshmem_queue_send(channel, record, RECORD)) == 0; i++)
		CHECK(i < 100);
	return r;
}
