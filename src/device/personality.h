/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_PERSONALITY_H
#define DEVICE_PERSONALITY_H

/*
 * What the devices that this model can be differ in: constant tables, put together from parts. No
 * other code decides by the number of a revision. Options of one device (server, msi, doorbell_bar)
 * take parts away: a BAR or a capability that is not there has size 0.
 */

#include <ivshmem/abi.h>

/* The rest of the library is compiled with hidden symbols. */
#pragma GCC visibility push(default)
#include <ivshmem/device.h>
#pragma GCC visibility pop

#define N_BARS         6
#define N_DOORBELLS    2
#define N_CAPABILITIES 2

#define BAR_TYPE_64      0x4
#define BAR_PREFETCHABLE 0x8

/* What config space says about the function as a whole. */
struct identity {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint8_t class_code[3]; /* interface, subclass, base class: as they are in config space */
};

struct capability {
	uint8_t id;
	unsigned (*size)(const struct ivshmem_device *device); /* in bytes, a multiple of 4 */
	/* Fill in what follows id and link. */
	void (*init)(struct ivshmem_device *device, unsigned offset);
};

/* An access that gets here lies within the BAR, and its size is 1, 2, 4 or 8. */
struct bar {
	uint64_t (*size)(const struct ivshmem_device *device);
	uint8_t type;   /* its low bits in config space */
	uint8_t widths; /* aligned accesses of these sizes act, no others; 0: all act */
	uint64_t (*read)(
		struct ivshmem_device *device, uint64_t offset, unsigned size); /* NULL: 0 */
	void (*write)(
		struct ivshmem_device *device, uint64_t offset, unsigned size, uint64_t value);
};

/* Where a guest rings, and with which value. The BAR decodes the writes that reach the model. */
struct doorbell {
	unsigned bar;
	/* The write that rings `vector` of `peer`: its offset as `address`, and what it matches.
	 * Returns false if no write does. */
	bool (*encode)(const struct ivshmem_device *device, uint16_t peer, unsigned vector,
		struct ivshmem_device_ioeventfd *ret_trigger);
};

/* INTA, as the registers drive it. */
struct pin {
	bool (*is_requested)(const struct ivshmem_device *device);
	void (*interrupt)(struct ivshmem_device *device); /* a peer rang, and there is no MSI-X */
};

/* How its properties are written as text. */
struct dialect {
	unsigned kinds;     /* of devices (properties.c); they decide which properties there are */
	const char *memory; /* the properties that name memory without a server, for a sentence */
	/* The warning if both server and memory are given: the server wins. NULL: an error. */
	const char *both;
	int (*parse_size)(const char *text, uint64_t *ret_size, struct ivshmem_error *reterr);
};

struct format; /* of the saved state: state.c */

struct personality {
	unsigned number; /* config.revision */
	const struct identity *identity;
	uint8_t pci_revision;                                  /* in config space */
	const struct capability *capabilities[N_CAPABILITIES]; /* in the order of their list */
	const struct bar *bars[N_BARS];

	/* They get triggers in this order, as long as the host has room. */
	const struct doorbell *doorbells[N_DOORBELLS];

	const struct pin *pin; /* NULL: none */

	/* Whether memory of `size` bytes can be behind BAR2: 0, or -EINVAL and the reason. */
	int (*check_memory)(
		const struct ivshmem_device *device, uint64_t size, struct ivshmem_error *reterr);
	uint64_t max_memory; /* that BAR2 can show */

	/* Whether the device can be the master, which master=on wants; NULL: always. */
	int (*check_master)(
		const struct ivshmem_device_config *config, struct ivshmem_error *reterr);

	const struct dialect *dialect;
	const struct format *formats[IVSHMEM_DEVICE_FORMAT_COUNT];

	/* defaults */
	uint64_t default_memory;
	int32_t default_id; /* IVSHMEM_DEVICE_NO_ID: it may come late */
	enum ivshmem_device_master default_master;
	bool default_ioeventfd;
};

/* NULL if there is no such revision. */
const struct personality *personality_find(unsigned revision);

/* Whether interrupts can be as `config` says: 0, or -EINVAL and the reason. */
int personality_check_interrupts(const struct personality *personality,
	const struct ivshmem_device_config *config, struct ivshmem_error *reterr);

/* ---- the parts ------------------------------------------------------------------------------- */

/* registers.c; the BAR of 2010 withholds the id until the memory is there */
extern const struct bar registers_bar, registers_bar_2010;
extern const struct pin registers_pin;

/* msix.c */
extern const struct bar msix_bar;
extern const struct capability msix_capability;

/* memory.c; the memory is at least as large as BAR2, or exactly as large */
extern const struct bar memory_bar_32, memory_bar_64;
int memory_at_least(
	const struct ivshmem_device *device, uint64_t size, struct ivshmem_error *reterr);
int memory_exactly(
	const struct ivshmem_device *device, uint64_t size, struct ivshmem_error *reterr);

/* doorbells.c */
extern const struct bar words_bar;
extern const struct capability words_capability;
extern const struct doorbell doorbell_register, doorbell_words;

extern const struct dialect dialect_2010, dialect_today; /* properties.c */
extern const struct format format_native, format_2010;   /* state.c */

#endif
