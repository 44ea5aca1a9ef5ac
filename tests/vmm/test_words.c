/* SPDX-License-Identifier: BSD-2-Clause */

/* Rings by doorbell words (BAR4), which the guest finds by their capability. */
#include <group.h>

#define VECTORS     3 /* so there are 4 words for each peer */
#define ROUND_TRIPS test_count(5000)
#define MOVED       0x1000000u

#define CONFIG_BAR4 0x20

static void
words_join(struct group *group, enum way way)
{
	struct member *member = group_join(
		group, &(struct member_options){.way = way, .revision = 1, .words = true});

	group_settle(group, 0);
	CHECK_EQ(guest_setup(member->vm, VECTORS), member->id);
}

static void
two_with_words(struct group *group, enum way way)
{
	group_start(group, VECTORS);
	for (int i = 0; i < 2; i++)
		words_join(group, way);
}

static uint32_t
word_of(const struct member *member, const struct member *peer, unsigned vector)
{
	uint32_t word = guest_call(member->vm, GUEST_WORD, peer->id, vector);

	CHECK_EQ(word, GUEST_BAR4_AT + 4 * (4u * peer->id + vector));
	return word;
}

static uint64_t
detours(const struct member *member)
{
	struct ivshmem_kvm_status status = {.struct_size = sizeof(status)};

	if (member->options.way != WAY_EMBEDDED)
		return remote_requests(member->vm, 0);
	CHECK_EQ(ivshmem_kvm_get_status(embedded_device(member->vm, 0), &status), 0);
	return status.rings + status.messages;
}

TEST_WAYS(each_vector_has_a_word, .timeout_s = 60)
{
	struct group group;
	struct member *members = group.members;

	two_with_words(&group, way);
	for (unsigned from = 0; from < 2; from++)
		for (unsigned to = 0; to < 2; to++)
			for (unsigned vector = 0; vector < VECTORS; vector++) {
				struct vm *vm = members[from].vm;
				uint32_t word = word_of(&members[from], &members[to], vector);

				/* Whatever is written. */
				guest_write(vm, word, 0);
				guest_expect(members[to].vm, vector, 3 * from + 1);
				guest_write(vm, word, doorbell(members[to].id, vector + 1));
				guest_expect(members[to].vm, vector, 3 * from + 2);
				/* The register goes on to be there. */
				guest_call(vm, GUEST_RING, doorbell(members[to].id, vector), 1);
				guest_expect(members[to].vm, vector, 3 * from + 3);
			}
	/* Nothing comes of these: a word too many, half a word, nobody's word. */
	guest_write(members[0].vm, word_of(&members[0], &members[1], 0) + 4 * VECTORS, 1);
	guest_call(members[0].vm, GUEST_WRITE, word_of(&members[0], &members[1], 0), 2, 1);
	guest_write(members[0].vm, GUEST_BAR4_AT + 4 * 4 * 60000, 1);
	CHECK_EQ(guest_read(members[0].vm, word_of(&members[0], &members[1], 0)), 0);
	for (unsigned i = 0; i < 2; i++)
		for (unsigned vector = 0; vector < VECTORS; vector++)
			guest_expect(members[i].vm, vector, 6);
	group_stop(&group);
}

TEST_WAYS(round_trips_by_words, .timeout_s = 120)
{
	struct group group;
	const struct member *a = &group.members[0], *b = &group.members[1];
	const uint8_t interrupt = GUEST_MSIX_INTERRUPT + 1;
	uint64_t before;
	uint32_t results[4];

	two_with_words(&group, way);
	guest_call(a->vm, GUEST_AIM, word_of(a, b, 1));
	guest_call(b->vm, GUEST_AIM, word_of(b, a, 1));
	before = detours(a) + detours(b);
	guest_begin(b->vm, GUEST_PONG, 0, interrupt, ROUND_TRIPS, 0);
	guest_call_with(a->vm, GUEST_PING, (uint32_t[4]){0, interrupt, ROUND_TRIPS}, results);
	CHECK_EQ(results[2], 0);
	CHECK_EQ(guest_end(b->vm, NULL), 0);
	guest_expect(a->vm, 1, ROUND_TRIPS);
	guest_expect(b->vm, 1, ROUND_TRIPS);
	/* Neither program had a part in them. */
	CHECK_EQ(detours(a) + detours(b) - before, way == WAY_TRAPPED ? 2 * ROUND_TRIPS : 0);
	group_stop(&group);
}

TEST_WAYS(the_words_move, .timeout_s = 60)
{
	struct group group;
	const struct member *a = &group.members[0], *b = &group.members[1];
	uint32_t offset;

	two_with_words(&group, way);
	offset = word_of(a, b, 0) - GUEST_BAR4_AT;
	for (uint32_t n = 1; n <= 10; n++) {
		uint32_t at = GUEST_BAR4_AT + n * MOVED;

		guest_set_config(a->vm, CONFIG_BAR4, 4, at);
		guest_write(a->vm, at + offset, 0);
		guest_expect(b->vm, 0, n);
		/* Where it was, nobody is. */
		guest_write(a->vm, at - MOVED + offset, 0);
		CHECK_EQ(guest_read(a->vm, at - MOVED + offset), 0xffffffff);
	}
	guest_set_config(a->vm, CONFIG_COMMAND, 2, COMMAND_MASTER);
	guest_write(a->vm, GUEST_BAR4_AT + 10 * MOVED + offset, 0);
	guest_expect(b->vm, 0, 10);
	group_stop(&group);
}

/* Who joins later has words, and who left has none. */
TEST_WAYS(words_come_and_go, .timeout_s = 60)
{
	struct group group;
	const struct member *a = &group.members[0], *c = &group.members[2];
	uint32_t word;

	two_with_words(&group, way);
	words_join(&group, way);
	word = word_of(a, c, 2);
	guest_write(a->vm, word, 0);
	guest_expect(c->vm, 2, 1);
	group_leave(&group, &group.members[2]);
	group_settle(&group, 0);
	guest_write(a->vm, word, 0);
	for (unsigned vector = 0; vector < VECTORS; vector++)
		for (unsigned i = 0; i < 2; i++)
			guest_expect(group.members[i].vm, vector, 0);
	group_stop(&group);
}

/* Off by default, and then there is nothing to be found. */
TEST_WAYS(without_words, .timeout_s = 60)
{
	struct group group;

	group_of(&group, way, 1, VECTORS);
	CHECK_EQ(guest_call(group.members[0].vm, GUEST_WORD, 0, 0), 0);
	CHECK_EQ(guest_config(group.members[0].vm, CONFIG_BAR4, 4), 0);
	CHECK_EQ(guest_read(group.members[0].vm, GUEST_BAR4_AT), 0xffffffff);
	group_stop(&group);
}
