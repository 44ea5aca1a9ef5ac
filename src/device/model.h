/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_MODEL_H
#define DEVICE_MODEL_H

/*
 * The inside of the device model.
 *
 * Theory of operation. The state has two halves. The first is what the guest and the server made:
 * config space, registers, MSI-X table, pending bits, peers, memory. The second is what the host
 * was asked to do and has not been asked to undo: the mapping of the memory, the triggers
 * (ioeventfds), the attached vectors (irqfds), the level of INTx. What the second half should be
 * follows from the first alone. So every function changes the first half and then calls the
 * `..._sync()` functions of what could be concerned; each compares what should be with what is, and
 * calls ops until they agree. Nothing else calls those ops, which is why no sequence of accesses
 * can leave an effect behind or ask for one twice. Reset, load and free are no special cases.
 *
 * What the host refuses is remembered as asked for, so that it is not asked again until the guest
 * changes something that could make the answer another one.
 *
 * Only two ops are events rather than effects: send_message() and ring().
 *
 * Files: personality.c the differences of the revisions; device.c life and server events; config.c
 * config space; bars.c accesses, placement, mapping; registers.c BAR0 and INTx; msix.c BAR1,
 * delivery, irqfds; routing.c both doorbells, triggers; state.c save and load; properties.c text;
 * report.c sentences for humans.
 */

#include <device/personality.h>

/* ---- PCI ------------------------------------------------------------------------------------- */

#define CONFIG_SIZE 256

#define CONFIG_VENDOR           0x00
#define CONFIG_DEVICE           0x02
#define CONFIG_COMMAND          0x04
#define CONFIG_STATUS           0x06
#define CONFIG_REVISION         0x08
#define CONFIG_SUBCLASS         0x0a
#define CONFIG_CLASS            0x0b
#define CONFIG_CACHE_LINE       0x0c
#define CONFIG_LATENCY          0x0d
#define CONFIG_HEADER_TYPE      0x0e
#define CONFIG_BAR              0x10
#define CONFIG_SUBSYSTEM_VENDOR 0x2c
#define CONFIG_SUBSYSTEM        0x2e
#define CONFIG_CAPABILITIES     0x34
#define CONFIG_INTERRUPT_LINE   0x3c
#define CONFIG_INTERRUPT_PIN    0x3d
#define CONFIG_MSIX             0x40 /* the only capability, but for the next */
#define CONFIG_MSIX_CONTROL     (CONFIG_MSIX + 2)
#define CONFIG_MSIX_END         (CONFIG_MSIX + 12)
#define CONFIG_DOORBELL         CONFIG_MSIX_END /* with doorbell_bar */

#define COMMAND_IO           0x0001
#define COMMAND_MEMORY       0x0002
#define COMMAND_MASTER       0x0004
#define COMMAND_PARITY       0x0040
#define COMMAND_SERR         0x0100
#define COMMAND_INTX_DISABLE 0x0400

#define STATUS_INTERRUPT    0x0008
#define STATUS_CAPABILITIES 0x0010

#define MSIX_CONTROL_MASK_ALL 0x4000
#define MSIX_CONTROL_ENABLE   0x8000

/* ---- the device ------------------------------------------------------------------------------ */

/* Dwords of a table entry. */
enum { ENTRY_ADDRESS, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL, ENTRY_DWORDS };

#define ENTRY_SIZE           16
#define ENTRY_CONTROL_MASKED 0x1

struct vector {
	uint32_t entry[ENTRY_DWORDS];
	bool pending;

	/* irqfd: asked for, and what came of it */
	bool wanted, attached;
	struct ivshmem_device_message attached_message;
};

/* Those of one doorbell. */
struct triggers {
	const struct doorbell *doorbell;
	uint64_t at;      /* bus address of the BAR they are for; 0: none */
	uint16_t *counts; /* for how many vectors of each peer, from 0 on; NULL: no such doorbell */
	bool refused;     /* the host did not take one; it is not asked until it may have room */
};

struct ivshmem_device {
	const struct personality *personality;
	struct ivshmem_device_config config;
	struct ivshmem_device_ops ops; /* any may be NULL */

	/* config.c: contents, and which bits a guest may write */
	uint8_t space[CONFIG_SIZE];
	uint8_t writable[CONFIG_SIZE];
	uint64_t bar_sizes[N_BARS];

	/* registers.c */
	uint32_t intr_mask, intr_status;
	bool intx; /* effect */

	/* bars.c */
	bool has_memory;
	void *memory;
	uint64_t memory_wanted_at; /* effect asked for; 0: none */
	bool memory_mapped;        /* and granted */

	/* msix.c */
	unsigned msix_vectors; /* 0: no MSI-X */
	uint32_t pba_offset;
	struct vector *vectors;
	bool can_irqfd;
	bool gate; /* what was last synced for: enabled, not masked as a whole, bus master */

	/* routing.c; all arrays have IVSHMEM_MAX_ID + 1 entries, or are NULL without server */
	int32_t id;
	uint16_t *peer_vectors; /* how many vectors each peer has */
	uint32_t peer_limit;    /* no peer has an id from here on */
	bool can_ioeventfd;
	struct triggers triggers[N_DOORBELLS];

	/* report.c: what the log was already told */
	unsigned warned;
};

/* ---- report.c -------------------------------------------------------------------------------- */

enum warning { WARNING_IOEVENTFD = 1u << 0, WARNING_IRQFD = 1u << 1, WARNING_MAPPING = 1u << 2 };

/* Fill in `reterr` and return `code`. */
int report_error(struct ivshmem_error *reterr, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Once per kind and device, because a guest could repeat what leads to it. */
void report_warning(struct ivshmem_device *device, enum warning kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- config.c -------------------------------------------------------------------------------- */

void config_init(struct ivshmem_device *device);
void config_reset(struct ivshmem_device *device);
uint16_t config_word(const struct ivshmem_device *device, unsigned offset);

/* ---- bars.c ---------------------------------------------------------------------------------- */

void bars_sync(struct ivshmem_device *device);

/* ---- registers.c ----------------------------------------------------------------------------- */

/* Whether the device asks for INTx, be the pin disabled or not. */
bool intx_requested(const struct ivshmem_device *device);
void intx_sync(struct ivshmem_device *device);

/* ---- msix.c ---------------------------------------------------------------------------------- */

int msix_init(struct ivshmem_device *device);
void msix_done(struct ivshmem_device *device);
void msix_reset(struct ivshmem_device *device);
bool msix_enabled(const struct ivshmem_device *device);

/* `vector` is to be delivered, now or when it may. */
void msix_interrupt(struct ivshmem_device *device, unsigned vector);

/* One vector's entry, connection or pending bit may have changed. */
void msix_sync_vector(struct ivshmem_device *device, unsigned vector);
/* The same for all of them. */
void msix_sync(struct ivshmem_device *device);
/* Config space may have changed. */
void msix_sync_gate(struct ivshmem_device *device);

/* ---- routing.c ------------------------------------------------------------------------------ */

int routing_init(struct ivshmem_device *device);
void routing_done(struct ivshmem_device *device);

/* How many of our own vectors the server has announced. */
unsigned routing_own_vectors(const struct ivshmem_device *device);

/* Take a ring of our `vector` that the host has not seen yet; whether there was one. */
bool routing_take_ring(struct ivshmem_device *device, unsigned vector);

/* `value` was written to the register. */
void routing_doorbell(struct ivshmem_device *device, uint32_t value);

/* After config_init(), which knows what BARs there are. */
int triggers_init(struct ivshmem_device *device);
void triggers_done(struct ivshmem_device *device);
/* BARs may have moved. */
void triggers_sync(struct ivshmem_device *device);

#endif
