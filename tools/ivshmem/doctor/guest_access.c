/* SPDX-License-Identifier: BSD-2-Clause */

/* Using the device: how quick its memory is, and whether interrupts arrive. */

#include "attach.h"
#include "bus_error.h"
#include "guest.h"
#include "memory_speed.h"
#include "topics.h"

#include <ivshmem/client.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Interrupts take microseconds, and a guest that does not run can take seconds. */
#define RING_LIMIT_MS 10000

static void
check_mapping(struct doctor *doctor, const struct ivshmem_client *client)
{
	enum ivshmem_mapping mapping = ivshmem_memory_mapping(client);

	if (mapping == IVSHMEM_MAPPING_WRITE_BACK)
		return;
	mend(doctor, "use our driver: modprobe ivshmem (docs/linux.md)");
	found(doctor, "guest.mapping", "the memory is mapped %s by %s",
		ivshmem_mapping_name(mapping), ivshmem_backend(client));
}

static void
check_speed(struct doctor *doctor, const struct ivshmem_client *client)
{
	struct memory_speed speed;
	double shared, own;

	if (memory_speed_measure(&speed, ivshmem_memory(client), ivshmem_size(client)) < 0)
		return;
	shared = speed.shared / 1e6;
	own = speed.own / 1e6;
	if (!memory_speed_is_slow(&speed)) {
		found(doctor, "guest.memory-quick",
			"reading takes as long as with other memory: %.0f MB/s, and %.0f MB/s there",
			shared, own);
		return;
	}
	mend(doctor,
		"use our driver, which maps the memory write-back: modprobe ivshmem (docs/linux.md)");
	found(doctor, "guest.memory-slow",
		"reading is %.0f times slower than with other memory: %.0f MB/s instead of %.0f MB/s",
		own / shared, shared, own);
}

static void
check_ring(struct doctor *doctor, struct ivshmem_client *client, unsigned vector)
{
	int r;

	if (ivshmem_ring(client, ivshmem_id(client), vector) < 0)
		return;
	r = ivshmem_wait(client, (int)vector, RING_LIMIT_MS);
	if (r == 0) {
		found(doctor, "guest.interrupts-arrive",
			"we rang our own id, %u, once on vector %u, and were interrupted",
			ivshmem_id(client), vector);
		return;
	}
	mend(doctor,
		"bind the driver anew: echo ADDRESS > /sys/bus/pci/drivers/DRIVER/unbind, then bind; under KVM with intel-iommu see docs/vmms.md");
	found(doctor, "guest.interrupts-lost",
		"we rang our own id, %u, once on vector %u, and no interrupt came in %d s",
		ivshmem_id(client), vector, RING_LIMIT_MS / 1000);
}

static void
tell_failure(struct doctor *doctor, int r, const struct ivshmem_error *error)
{
	if (r == -EBUSY) {
		mend(doctor,
			"with our driver, several processes can have the device (docs/linux.md)");
		found(doctor, "guest.busy", "%s", error->message);
		return;
	}
	mend(doctor, "do what the sentence says, or use our driver (docs/linux.md)");
	found(doctor, "guest.cannot-attach", "%s", error->message);
}

void
guest_check_access(struct doctor *doctor, const struct guest_device *device)
{
	char target[32];
	struct attach_config config = {.cli = doctor->cli, .target = target};
	struct ivshmem_client *client;
	struct ivshmem_error error;
	int r;

	/* The last vector is the one that is used least. Who only looks hears none. */
	config.looks = !doctor->rings;
	config.hears = device->vectors > 0 ? (int)device->vectors - 1 : 0;
	snprintf(target, sizeof(target), "pci:%s", device->address);
	bus_error_handle(target);
	r = attach(&config, &client, &error);
	if (r < 0) {
		tell_failure(doctor, r, &error);
		return;
	}
	check_mapping(doctor, client);
	check_speed(doctor, client);
	if (doctor->rings && ivshmem_vectors(client) > 0)
		check_ring(doctor, client, (unsigned)config.hears);
	channels_check(doctor, client);
	ivshmem_detach(client);
}
