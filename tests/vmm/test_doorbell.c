/* SPDX-License-Identifier: BSD-2-Clause */

/* Two guests ring each other: nothing lost, nothing invented. */
#include <group.h>

/* With sanitizers, which are not in the way of rings anyway, others have to wait as well. */
#ifdef VMM_SHORT
#define ROUND_TRIPS test_count(10000)
#else
#define ROUND_TRIPS test_count(100000)
#endif
#define VECTORS 4

/* A rings B, B rings A, and so on: every ring is waited for, so each is one interrupt. */
static void
round_trips(const struct group *group, unsigned vector, uint32_t times)
{
	const struct member *a = &group->members[0], *b = &group->members[1];
	uint8_t interrupt = (uint8_t)(GUEST_MSIX_INTERRUPT + vector);
	uint32_t a_before = guest_interrupts(a->vm, vector);
	uint32_t b_before = guest_interrupts(b->vm, vector);
	uint32_t results[4];

	guest_begin(b->vm, GUEST_PONG, doorbell(a->id, vector), interrupt, times, b_before);
	guest_call_with(a->vm, GUEST_PING, (uint32_t[4]){doorbell(b->id, vector), interrupt, times},
		results);
	CHECK_EQ(results[2], 0);
	CHECK_EQ(guest_end(b->vm, NULL), 0);
	guest_expect(a->vm, vector, a_before + times);
	guest_expect(b->vm, vector, b_before + times);
}

/* How often a program has had a part in the rings of this member so far. */
static uint64_t
detours(const struct member *member)
{
	struct ivshmem_kvm_status status = {.struct_size = sizeof(status)};

	if (member->options.way != WAY_EMBEDDED)
		return remote_requests(member->vm, 0);
	CHECK_EQ(ivshmem_kvm_get_status(embedded_device(member->vm, 0), &status), 0);
	CHECK(status.connected && status.memory_mapped);
	CHECK_EQ(status.ioeventfds, 2 * VECTORS);
	CHECK_EQ(status.irqfds, VECTORS);
	return status.rings + status.messages;
}

TEST_WAYS(a_hundred_thousand_round_trips, .timeout_s = 300)
{
	struct group group;
	/* Each trapped ring wakes two processes, twice. */
	uint32_t times = way == WAY_TRAPPED ? ROUND_TRIPS / 10 : ROUND_TRIPS;
	uint64_t before[2];

	group_of(&group, way, 2, VECTORS);
	for (int i = 0; i < 2; i++)
		before[i] = detours(&group.members[i]);
	round_trips(&group, 0, times);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(detours(&group.members[i]) - before[i], way == WAY_TRAPPED ? times : 0);
	for (unsigned vector = 1; vector < VECTORS; vector++) {
		CHECK_EQ(guest_interrupts(group.members[0].vm, vector), 0);
		CHECK_EQ(guest_interrupts(group.members[1].vm, vector), 0);
	}
	group_stop(&group);
}

TEST_WAYS(every_vector_rings, .timeout_s = 60)
{
	struct group group;

	group_of(&group, way, 2, VECTORS);
	for (unsigned vector = 0; vector < VECTORS; vector++)
		round_trips(&group, vector, 100);
	group_stop(&group);
}
