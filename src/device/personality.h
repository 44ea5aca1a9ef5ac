/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_PERSONALITY_H
#define DEVICE_PERSONALITY_H

/*
 * What the devices that this model can be differ in: constant tables, put together from parts. Nothing
 * else looks at a revision's number. Options of one device (server, msi, doorbell_bar) take parts away:
 * a BAR that is not there has size 0.
 */

#include <ivshmem/abi.h>

/* The rest of the library is compiled with hidden symbols. */
#pragma GCC visibility push(default)
#include <ivshmem/device.h>
#pragma GCC visibility pop

#define N_BARS      6
#define N_DOORBELLS 2

#define BAR_TYPE_64      0x4
#define BAR_PREFETCHABLE 0x8

/* Offset and size of an access lie within the BAR when it gets here; size is 1, 2, 4 or 8. */
struct bar {
	uint64_t (*size)(const struct ivshmem_device *device);
	uint8_t type;   /* its low bits in config space */
	uint8_t widths; /* aligned accesses of these sizes act, no others; 0: all act */
	uint64_t (*read)(
		struct ivshmem_device *device, uint64_t offset, unsigned size); /* NULL: 0 */
	void (*write)(
		struct ivshmem_device *device, uint64_t offset, unsigned size, uint64_t value);
};

/* Where and with what a guest rings. The BAR decodes the writes that arrive. */
struct doorbell {
	unsigned bar;
	/* The write that rings `vector` of `peer`: its offset as `address`, and what it matches.
	 * False: none does. */
	bool (*encode)(const struct ivshmem_device *device, uint16_t peer, unsigned vector,
		struct ivshmem_device_ioeventfd *ret_trigger);
};

/* INTA, as the registers drive it. */
struct pin {
	bool (*is_requested)(const struct ivshmem_device *device);
	void (*interrupt)(struct ivshmem_device *device); /* a peer rang, and there is no MSI-X */
};

struct personality {
	uint8_t number; /* PCI revision id */
	const struct bar *bars[N_BARS];

	/* In this order they get triggers as long as the host has room. */
	const struct doorbell *doorbells[N_DOORBELLS];

	const struct pin *pin; /* NULL: none */

	bool allows_late;        /* id and memory may come late */
	bool allows_larger;      /* the memory may be larger than BAR2 */
	bool master_is_id_0;     /* master=on demands id 0 */
	bool allows_2010_format; /* of the saved state */
	bool has_role;           /* the properties of 2010: role and no master, shm and no memdev */
	uint64_t max_memory;

	/* defaults */
	uint64_t default_memory;
	int32_t default_id;
	enum ivshmem_device_master default_master;
	bool default_ioeventfd;
};

/* NULL if there is no such revision. */
const struct personality *personality_find(unsigned revision);

/* Whether interrupts can be as `config` says: 0, or -EINVAL and the reason. */
int personality_check_interrupts(const struct personality *personality,
	const struct ivshmem_device_config *config, struct ivshmem_error *reterr);

/* ---- the parts ------------------------------------------------------------------------------- */

/* registers.c; that of 2010 withholds the id until the memory is there */
extern const struct bar registers_bar, registers_bar_2010;
extern const struct pin registers_pin;

extern const struct bar msix_bar;                     /* msix.c */
extern const struct bar memory_bar_32, memory_bar_64; /* memory.c */

/* doorbells.c */
extern const struct bar words_bar;
extern const struct doorbell doorbell_register, doorbell_words;

#endif
