/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Eclipse iceoryx, whose daemon iox-roudi must run.
 *
 *	loan	a chunk is loaned, the record copied into it, published, taken, copied out of it and
 *		released
 */
#include "sides.h"

#include <iceoryx_binding_c/publisher.h>
#include <iceoryx_binding_c/runtime.h>
#include <iceoryx_binding_c/subscriber.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void
send_loans(struct sides *sides)
{
	char *record = sides_buffer(sides);
	iox_pub_options_t options;
	iox_pub_storage_t storage;
	iox_pub_t publisher;

	iox_runtime_init("bench-send");
	iox_pub_options_init(&options);
	options.subscriberTooSlowPolicy = ConsumerTooSlowPolicy_WAIT_FOR_CONSUMER;
	publisher = iox_pub_init(&storage, "bench", "bench", "bench", &options);
	while (!iox_pub_has_subscribers(publisher))
		usleep(1000);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		void *chunk;

		while (iox_pub_loan_chunk(publisher, &chunk, (uint32_t)sides->length) !=
			AllocationResult_SUCCESS)
			sides_relax();
		memcpy(chunk, record, sides->length);
		iox_pub_publish_chunk(publisher, chunk);
	}
	free(record);
	/* Until the other side is done. */
	if (read(sides->fds[0], &options, 1) < 0)
		sides_die("read", errno);
}

static void
receive_loans(struct sides *sides)
{
	char *buffer = sides_buffer(sides);
	iox_sub_options_t options;
	iox_sub_storage_t storage;
	iox_sub_t subscriber;

	iox_runtime_init("bench-receive");
	iox_sub_options_init(&options);
	options.queueFullPolicy = QueueFullPolicy_BLOCK_PRODUCER;
	subscriber = iox_sub_init(&storage, "bench", "bench", "bench", &options);
	while (iox_sub_get_subscription_state(subscriber) != SubscribeState_SUBSCRIBED)
		usleep(1000);
	sides_begin(sides);
	for (uint64_t i = 0; i < sides->count; i++) {
		const void *chunk;

		while (iox_sub_take_chunk(subscriber, &chunk) != ChunkReceiveResult_SUCCESS)
			sides_relax();
		memcpy(buffer, chunk, sides->length);
		iox_sub_release_chunk(subscriber, chunk);
	}
	sides_end(sides);
	if (write(sides->fds[1], buffer, 1) < 0)
		sides_die("write", errno);
	free(buffer);
}

int
main(int argc, char **argv)
{
	static const struct sides_case cases[] = {{"loan", send_loans, receive_loans}};

	return sides_main(argc, argv, cases, 1);
}
