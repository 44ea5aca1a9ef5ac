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

/* In the VMM, the kernel has been told all there is. */
static void
check_status(const struct member *member)
{
	struct ivshmem_kvm_status status = {.struct_size = sizeof(status)};

	CHECK_EQ(ivshmem_kvm_get_status(embedded_device(member->vm, 0), &status), 0);
	CHECK(status.connected && status.memory_mapped);
	CHECK_EQ(status.ioeventfds, 2 * VECTORS);
	CHECK_EQ(status.irqfds, VECTORS);
}

TEST_WAYS(a_hundred_thousand_round_trips, 2, .timeout_s = 300)
{
	/* Each trapped ring wakes two processes, twice. */
	bool trapped = here.options.way == WAY_TRAPPED;
	uint32_t times = trapped ? ROUND_TRIPS / 10 : ROUND_TRIPS;
	uint64_t before[2] = {detours(a), detours(b)};

	round_trips(a, b, 0, times);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(detours(&here.members[i]) - before[i], trapped ? times : 0);
		if (here.options.way == WAY_EMBEDDED)
			check_status(&here.members[i]);
		for (unsigned vector = 1; vector < VECTORS; vector++)
			CHECK_EQ(guest_interrupts(here.members[i].vm, vector), 0);
	}
}

TEST_WAYS(every_vector_rings, 2, .timeout_s = 60)
{
	for (unsigned vector = 0; vector < VECTORS; vector++)
		round_trips(a, b, vector, 100);
}
