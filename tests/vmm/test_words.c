/* SPDX-License-Identifier: BSD-2-Clause */

/* Rings by doorbell words (BAR4), which the guest finds by their capability. */
#include <group.h>

#define VECTORS     3 /* so there are 4 words for each peer */
#define ROUND_TRIPS test_count(5000)
#define MOVED       0x1000000u

static void
join_with_words(unsigned n)
{
	here.options.words = true;
	while (n-- > 0)
		group_add(&here);
}

static uint32_t
word_of(const struct member *member, const struct member *peer, unsigned vector)
{
	uint32_t word = guest_call(member->vm, GUEST_WORD, peer->id, vector);

	CHECK_EQ(word, GUEST_BAR4_AT + 4 * (4u * peer->id + vector));
	return word;
}

TEST_WAYS(each_vector_has_a_word, 0, .timeout_s = 60)
{
	join_with_words(2);
	for (unsigned i = 0; i < 4; i++)
		for (unsigned vector = 0; vector < VECTORS; vector++) {
			const struct member *from = &here.members[i / 2],
					    *to = &here.members[i % 2];
			uint32_t word = word_of(from, to, vector), before = i / 2 * 3;

			/* Whatever is written. */
			guest_write(from->vm, word, 0);
			guest_expect(to->vm, vector, before + 1);
			guest_write(from->vm, word, doorbell(to->id, vector + 1));
			guest_expect(to->vm, vector, before + 2);
			/* The register goes on to be there. */
			ring_and_expect(from, to, vector, before + 3);
		}
	/* Nothing comes of these: a word too many, half a word, nobody's word. */
	guest_write(a->vm, word_of(a, b, 0) + 4 * VECTORS, 1);
	guest_call(a->vm, GUEST_WRITE, word_of(a, b, 0), 2, 1);
	guest_write(a->vm, GUEST_BAR4_AT + 4 * 4 * 60000, 1);
	CHECK_EQ(guest_read(a->vm, word_of(a, b, 0)), 0);
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		guest_expect(a->vm, vector, 6);
		guest_expect(b->vm, vector, 6);
	}
}

TEST_WAYS(round_trips_by_words, 0, .timeout_s = 120)
{
	uint64_t before;

	join_with_words(2);
	guest_call(a->vm, GUEST_AIM, word_of(a, b, 1));
	guest_call(b->vm, GUEST_AIM, word_of(b, a, 1));
	before = detours(a) + detours(b);
	round_trips(a, b, 1, ROUND_TRIPS);
	/* Neither program had a part in them. */
	CHECK_EQ(detours(a) + detours(b) - before,
		here.options.way == WAY_TRAPPED ? 2 * ROUND_TRIPS : 0);
}

TEST_WAYS(the_words_move, 0, .timeout_s = 60)
{
	uint32_t offset;

	join_with_words(2);
	offset = word_of(a, b, 0) - GUEST_BAR4_AT;
	for (uint32_t n = 1; n <= 10; n++) {
		uint32_t at = GUEST_BAR4_AT + n * MOVED;

		guest_set_config(a->vm, PCI_BASE_ADDRESS_4, 4, at);
		guest_write(a->vm, at + offset, 0);
		guest_expect(b->vm, 0, n);
		/* Where it was, nobody is. */
		guest_write(a->vm, at - MOVED + offset, 0);
		CHECK_EQ(guest_read(a->vm, at - MOVED + offset), 0xffffffff);
	}
	guest_set_config(a->vm, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	guest_write(a->vm, GUEST_BAR4_AT + 10 * MOVED + offset, 0);
	guest_expect(b->vm, 0, 10);
}

/* Who joins later has words, and who left has none. */
TEST_WAYS(words_come_and_go, 0, .timeout_s = 60)
{
	struct member *c = &here.members[2];
	uint32_t word;

	join_with_words(3);
	word = word_of(a, c, 2);
	guest_write(a->vm, word, 0);
	guest_expect(c->vm, 2, 1);
	group_leave(&here, c);
	group_settle(&here, 0);
	guest_write(a->vm, word, 0);
	for (unsigned vector = 0; vector < VECTORS; vector++) {
		guest_expect(a->vm, vector, 0);
		guest_expect(b->vm, vector, 0);
	}
}

/* Off by default, and then there is nothing to be found. */
TEST_WAYS(without_words, 1, .timeout_s = 60)
{
	CHECK_EQ(guest_call(a->vm, GUEST_WORD, 0, 0), 0);
	CHECK_EQ(guest_config(a->vm, PCI_BASE_ADDRESS_4, 4), 0);
	CHECK_EQ(guest_read(a->vm, GUEST_BAR4_AT), 0xffffffff);
}
