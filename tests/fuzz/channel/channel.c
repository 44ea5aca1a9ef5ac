/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Any bytes as what a hostile participant writes into its area and into the header, between calls of
 * the victim. The hostile one makes honest calls, too, so that there is something to spoil. When it is
 * gone, the victim has nothing left of it.
 */

#include <fuzz.h>

#include <channel/channel.h>

#include <stdlib.h>

#define AREA     8192
#define SIZE     (LAYOUT_PAGE + 2 * AREA)
#define HOSTILE  1
#define CHANNELS 2
#define STEPS    200

/* One of the two, with its channels. */
struct side {
	struct ivshmem_participant *participant;
	struct ivshmem_channel *listener, *channels[CHANNELS];
	const char *listens, *connects;
	enum ivshmem_channel_kind kind; /* besides queues */
};

static struct side
side_open(void *memory, const char *listens, const char *connects)
{
	struct side side = {.listens = listens, .connects = connects};
	struct ivshmem_transport transport = {
		.struct_size = sizeof(transport), .memory = memory, .size = SIZE, .fd = -1};
	struct ivshmem_participant_options options = {.struct_size = sizeof(options), .areas = 2};

	DEMAND(ivshmem_participant_open_over(&side.participant, &transport, &options, NULL) == 0);
	return side;
}

static int
see_channel(void *data, const struct ivshmem_channel_info *info)
{
	(void)data;
	DEMAND(strlen(info->name) < sizeof(info->name) && info->phase);
	return 0;
}

static int
see_participant(void *data, const struct ivshmem_participant_info *info)
{
	(void)data;
	DEMAND(strlen(info->name) < sizeof(info->name));
	return 0;
}

static void
receive(struct ivshmem_channel *channel)
{
	uint8_t bytes[128];
	const void *record;
	uint64_t number = 0;
	int status;
	uint8_t sum = 0;
	int64_t r = ivshmem_queue_peek(channel, &record);

	for (int64_t i = 0; i < r; i++)
		sum |= ((const uint8_t *)record)[i];
	bytes[0] = sum;
	if (r >= 0 && sum % 2 == 0 && ivshmem_loan_keep(channel, record) == 0) {
		DEMAND(ivshmem_queue_release(channel) == 0);
		for (int64_t i = 0; i < r; i++)
			sum |= ((const uint8_t *)record)[i];
		r = ivshmem_loan_return(channel, record);
		DEMAND(r == 0 || r == -ESTALE);
	}
	r = ivshmem_queue_receive(channel, bytes, sizeof(bytes));
	DEMAND(r <= (int64_t)sizeof(bytes));
	r = ivshmem_stream_read(channel, bytes, sizeof(bytes));
	DEMAND(r <= (int64_t)sizeof(bytes));
	/* What is longer is cut off, or stays where it is; an AddressSanitizer sees more. */
	ivshmem_state_read(channel, bytes, sizeof(bytes), &number);
	ivshmem_topic_receive(channel, bytes, sizeof(bytes), &number);
	if (ivshmem_call_receive(channel, &number, bytes, sizeof(bytes)) >= 0)
		ivshmem_call_answer(channel, number, 0, bytes, sizeof(bytes) / 2);
	ivshmem_call_reply(channel, &number, &status, bytes, sizeof(bytes));
}

static void
send(struct ivshmem_channel *channel, struct ivshmem_channel *listener, size_t length)
{
	static const uint8_t bytes[256];
	uint64_t call;
	void *loan;
	int64_t r;

	if (length % 2 == 0 && ivshmem_loan_take(channel, length + 1, &loan) == 0) {
		memset(loan, 0, length);
		if (ivshmem_loan_send(channel, loan, length) < 0)
			DEMAND(ivshmem_loan_drop(channel, loan) == 0);
	}
	ivshmem_state_publish(listener, bytes, length);
	ivshmem_topic_publish(listener, bytes, length);
	ivshmem_queue_send(channel, bytes, length);
	r = ivshmem_stream_write(channel, bytes, length);
	DEMAND(r <= (int64_t)length);
	ivshmem_call_start(channel, bytes, length, 0, &call);
}

static void
use(struct side *side, struct ivshmem_channel **channel, unsigned what)
{
	struct ivshmem_channel_status status = {.struct_size = sizeof(status)};

	switch (what >> 2 & 7) {
	case 0:
	case 1:
		receive(*channel);
		break;
	case 2:
	case 3:
		send(*channel, side->listener, what * 5 & 0xff);
		break;
	case 4:
		DEMAND(ivshmem_channel_wait(*channel, 3, 0) != 0);
		ivshmem_channel_wait(side->listener, 3, 0);
		ivshmem_channel_drain(*channel, 0);
		ivshmem_call(*channel, &status, sizeof(status), &status, sizeof(status), 0);
		break;
	case 5:
		ivshmem_channel_shutdown(*channel);
		break;
	case 6:
		*channel = ivshmem_channel_close(*channel);
		break;
	default:
		DEMAND(ivshmem_channel_fd(*channel) >= 0);
		DEMAND(ivshmem_channel_status(*channel, &status) == 0);
	}
	ivshmem_channels(side->participant, see_channel, NULL);
	ivshmem_participants(side->participant, see_participant, NULL);
}

/* A call; which one is in the bits of `what`. */
static void
call(struct side *side, unsigned what)
{
	enum ivshmem_channel_kind kind = what & 1 ? side->kind : IVSHMEM_QUEUE;
	struct ivshmem_channel_options options = {.struct_size = sizeof(options), .ring_size = 256};
	struct ivshmem_channel **channel = &side->channels[what >> 1 & 1];

	if ((what >> 2 & 15) == 15) {
		side->participant->next_check = 0;
		ivshmem_participant_dispatch(side->participant);
	} else if (!side->listener) {
		ivshmem_listen(
			&side->listener, side->participant, side->listens, kind, &options, NULL);
	} else if (*channel) {
		use(side, channel, what);
	} else if (what & 4) {
		static const uint8_t value[32];

		ivshmem_accept(channel, side->listener);
		ivshmem_state_publish(side->listener, value, sizeof(value));
		ivshmem_topic_publish(side->listener, value, sizeof(value));
	} else {
		ivshmem_connect(
			channel, side->participant, side->connects, kind, &options, 0, NULL);
	}
}

/* A word of its area or of the header, mostly where they have a meaning. */
static void
spoil(uint8_t *memory, struct fuzz_input *input)
{
	uint64_t where = fuzz_take(input, 2);
	unsigned bytes = (unsigned)fuzz_take(input, 1);
	uint64_t value = fuzz_take(input, bytes % 8 + 1);
	uint8_t *area = memory + LAYOUT_PAGE + HOSTILE * AREA;
	uint64_t *word = (uint64_t *)(void *)area + where % (AREA / 8);

	/* The magic, the shape, the epoch, and the two claims. */
	if (where >> 13 == 7)
		word = (uint64_t *)(void *)memory + (where % 5 < 3 ? where % 5 : 13 + where % 5);
	word_store(word, bytes & 128 ? value : word_load(word) ^ value << (bytes >> 3 & 7) * 8);
}

static void
finish(struct side *victim, uint8_t *memory)
{
	for (unsigned i = 0; i < CHANNELS; i++)
		ivshmem_channel_close(victim->channels[i]);
	ivshmem_channel_close(victim->listener);
	((struct layout_header *)(void *)memory)->claims[HOSTILE] = 0;
	victim->participant->next_check = 0;
	if (ivshmem_participant_dispatch(victim->participant) == 0)
		DEMAND(list_empty(&victim->participant->channels) &&
			list_empty(&victim->participant->heap.blocks));
	ivshmem_participant_close(victim->participant);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input input = {.data = data, .size = size};
	struct side victim, hostile;
	struct map map;
	void *memory;

	/* From the heap, so that a sanitizer sees an access outside. */
	DEMAND(posix_memalign(&memory, LAYOUT_LINE, SIZE) == 0);
	memset(memory, 0, SIZE);
	victim = side_open(memory, "victim", "hostile");
	hostile = side_open(memory, "hostile", "victim");
	victim.kind = hostile.kind =
		(enum ivshmem_channel_kind)(1 + fuzz_take(&input, 1) % (IVSHMEM_CHANNEL_KINDS - 1));
	for (unsigned step = 0; input.size > 0 && step < STEPS; step++) {
		unsigned what = (unsigned)fuzz_take(&input, 1);

		if (what < 0x60)
			call(&victim, what);
		else if (what < 0xa0)
			call(&hostile, what);
		else
			spoil(memory, &input);
	}
	/* Those who come now do not crash, either. */
	map_open(&map, memory, SIZE, 0, NULL);
	ivshmem_participant_close(hostile.participant);
	finish(&victim, memory);
	free(memory);
	return 0;
}
