/* SPDX-License-Identifier: BSD-2-Clause */

/* Two threads, each with a participant of its own, over one memory: for the thread sanitizer, too. */

#include "channel_room.h"

#include <test.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static struct room room;
static unsigned count;

/* ---- records --------------------------------------------------------------------------------- */

/* Sends numbers, and receives each of them back plus one. */
static void *
client_main(void *data)
{
	struct ivshmem_participant *me = room_join(&room, 1);
	struct ivshmem_channel *channel;
	unsigned sent = 0, received = 0;

	(void)data;
	CHECK_EQ(ivshmem_connect(&channel, me, "a", IVSHMEM_QUEUE, NULL, 60000, NULL), 0);
	while (received < count) {
		unsigned answer;
		int64_t r;

		if (sent < count && ivshmem_queue_send(channel, &sent, sizeof(sent)) == 0)
			sent++;
		r = ivshmem_queue_receive(channel, &answer, sizeof(answer));
		if (r == -EAGAIN) {
			/* In turn, this sleeps until there is an answer, and until there is room. */
			CHECK(ivshmem_channel_wait(channel,
				      sent < count ? IVSHMEM_READABLE | IVSHMEM_WRITABLE
						   : IVSHMEM_READABLE,
				      60000) > 0);
			continue;
		}
		CHECK_EQ(r, sizeof(answer));
		CHECK_EQ(answer, received + 1);
		received++;
	}
	ivshmem_channel_close(channel);
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	ivshmem_participant_close(me);
	return NULL;
}

TEST_WITH(two_threads, .timeout_s = 120)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = 4096};
	struct ivshmem_participant *me;
	struct ivshmem_channel *listener, *channel;
	pthread_t thread;
	unsigned number;
	int64_t r;

	count = test_count(50000);
	room_open(&room, ROOM_SIZE);
	me = room_join(&room, 0);
	CHECK_EQ(ivshmem_listen(&listener, me, "a", IVSHMEM_QUEUE, &options, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, client_main, NULL), 0);
	CHECK_EQ(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 60000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	while ((r = ivshmem_queue_receive(channel, &number, sizeof(number))) != -EPIPE) {
		if (r == -EAGAIN) {
			CHECK(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 60000) > 0);
			continue;
		}
		number++;
		while ((r = ivshmem_queue_send(channel, &number, sizeof(number))) == -EAGAIN)
			CHECK(ivshmem_channel_wait(channel, IVSHMEM_WRITABLE, 60000) > 0);
		CHECK_EQ(r, 0);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	ivshmem_participant_close(me);
	room_close(&room);
}

/* ---- loans ----------------------------------------------------------------------------------- */

/* Keeps two loans, and returns one of them, by chance, for each that comes. */
static void *
borrower_main(void *data)
{
	struct ivshmem_participant *me = room_join(&room, 1);
	struct ivshmem_channel *channel;
	const void *kept[2] = {0};
	unsigned seed = 1;

	(void)data;
	CHECK_EQ(ivshmem_connect(&channel, me, "a", IVSHMEM_QUEUE, NULL, 60000, NULL), 0);
	for (unsigned i = 0; i < count; i++) {
		const void **slot = &kept[(unsigned)rand_r(&seed) % 2];
		const void *record;
		int64_t length;

		while ((length = ivshmem_queue_peek(channel, &record)) == -EAGAIN)
			CHECK(ivshmem_channel_wait(channel, IVSHMEM_READABLE, 60000) > 0);
		CHECK(length > 0);
		CHECK(stage_is_filled(record, (uint32_t)length, i));
		if (*slot)
			CHECK_EQ(ivshmem_loan_return(channel, *slot), 0);
		CHECK_EQ(ivshmem_loan_keep(channel, record), 0);
		CHECK_EQ(ivshmem_queue_release(channel), 0);
		*slot = record;
	}
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	ivshmem_participant_close(me);
	return NULL;
}

/* There is too little room most of the time. Both sleep, and are woken. */
TEST_WITH(loans_between_two_threads, .timeout_s = 120)
{
	const struct ivshmem_channel_options options = {
		.struct_size = sizeof(options), .ring_size = 4096};
	struct ivshmem_participant *me;
	struct ivshmem_channel *listener, *channel;
	unsigned n_waits = 0, seed = 2;
	pthread_t thread;

	count = test_count(20000);
	room_open(&room, ROOM_SIZE);
	me = room_join(&room, 0);
	CHECK_EQ(ivshmem_listen(&listener, me, "a", IVSHMEM_QUEUE, &options, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, borrower_main, NULL), 0);
	CHECK_EQ(ivshmem_channel_wait(listener, IVSHMEM_READABLE, 60000), IVSHMEM_READABLE);
	CHECK_EQ(ivshmem_accept(&channel, listener), 0);
	for (unsigned i = 0; i < count; i++) {
		/* Five of them fill the area, and one finds its place wherever two are kept. */
		uint32_t length = 35000 + (unsigned)rand_r(&seed) % 9000;
		void *bytes;
		int r;

		while ((r = ivshmem_loan_take(channel, length, &bytes)) == -EAGAIN) {
			n_waits++;
			CHECK(ivshmem_channel_wait(channel, IVSHMEM_WRITABLE, 60000) > 0);
		}
		CHECK_EQ(r, 0);
		stage_fill(bytes, 100, i);
		CHECK_EQ(ivshmem_loan_send(channel, bytes, 100), 0);
	}
	CHECK(n_waits > count / 100);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(ivshmem_participant_rescues(me), 0);
	ivshmem_participant_close(me);
	room_close(&room);
}
