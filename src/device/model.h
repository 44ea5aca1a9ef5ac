/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DEVICE_MODEL_H
#define DEVICE_MODEL_H

/*
 * The state of a device.
 *
 * Theory of operation. The state has two halves. The first is what the guest and the server made:
 * config space, registers, MSI-X table, pending bits, peers, memory. The second is what the host
 * was asked to do and has not been asked to undo: the mapping of the memory, the triggers
 * (ioeventfds), the attached vectors (irqfds), the level of INTx. What the second half should be
 * follows from the first alone. So every entry of the library changes the first half and then calls
 * effects_sync(), which compares what should be with what is, and calls ops until they agree. So no
 * sequence of accesses can leave an effect behind or ask for one twice. Reset, load and free are no
 * special cases. Accesses to BARs, of which there are many, skip it unless registers.c says that
 * something changed.
 *
 * There can be thousands of vectors and triggers, too many to compare after each access. A change
 * of one vector or peer syncs only this one (msix.h, triggers.h). effects_sync() looks at all of
 * them only if something changed that concerns them all. The triggers of a peer are removed before
 * the peer, because the host is promised that.
 *
 * What the host has refused counts as asked for. The model asks again only when something has
 * changed that could change the answer.
 *
 * Only two ops are events rather than effects: send_message() and ring().
 *
 * Files, each of which knows only those above it:
 *
 *	report.c		sentences for humans
 *	config.c		config space
 *	doorbells.c		peers, both doorbells, BAR4
 *	registers.c		BAR0
 *	memory.c		BAR2
 *	msix.c			BAR1, delivery, irqfds
 *	personality.c		what the revisions differ in
 *	triggers.c		ioeventfds
 *	effects.c		mapping, INTx, and all effects together
 *	device.c		entries of the library: life, what the server and the host tell
 *	access.c		accesses of the guest
 *	state.c			save and load
 *	properties.c		properties as text
 */

#include <device/personality.h>

#define CONFIG_SIZE 256

/* Dwords of a table entry. */
enum { ENTRY_ADDRESS, ENTRY_ADDRESS_HIGH, ENTRY_DATA, ENTRY_CONTROL, ENTRY_DWORDS };

struct vector {
	uint32_t entry[ENTRY_DWORDS];
	bool pending;

	/* irqfd: whether we asked for it, and whether the host attached it, with which message */
	bool wanted, attached;
	struct ivshmem_device_message attached_message;
};

/* The triggers of one doorbell. */
struct triggers {
	const struct doorbell *doorbell;
	uint64_t at;      /* bus address of their BAR; 0: none */
	uint16_t *counts; /* for how many vectors of each peer, from 0 on; NULL: no such doorbell */
	bool refused;     /* the host refused one; ask again when it may have room */
};

struct ivshmem_device {
	const struct personality *personality;
	struct ivshmem_device_config config;
	struct ivshmem_device_ops ops; /* any may be NULL */

	/* config.c: contents, and which bits a guest may write */
	uint8_t space[CONFIG_SIZE];
	uint8_t writable[CONFIG_SIZE];
	uint64_t bar_sizes[N_BARS];
	unsigned capabilities_end; /* an offset: nothing follows */

	/* registers.c */
	uint32_t intr_mask, intr_status;
	bool registers_changed; /* by an access, so that effects_sync() is due */

	/* memory.c */
	bool has_memory;
	void *memory;

	/* msix.c */
	unsigned msix_vectors; /* 0: no MSI-X */
	unsigned msix_offset;  /* of the capability in config space */
	uint32_t pba_offset;
	struct vector *vectors;
	bool can_irqfd;
	bool gate;            /* at the last sync: enabled, not masked as a whole, and bus master */
	bool vectors_changed; /* all of them are to be synced, even if the gate is the same */

	/* doorbells.c; arrays have IVSHMEM_MAX_ID + 1 entries, or are NULL without server */
	int32_t id;
	uint16_t *peer_vectors; /* how many vectors each peer has */
	uint32_t peer_limit;    /* no peer has an id from here on */

	/* triggers.c */
	bool can_ioeventfd;
	struct triggers triggers[N_DOORBELLS];

	/* effects.c */
	bool intx;
	uint64_t memory_wanted_at; /* asked for; 0: nowhere */
	bool memory_mapped;        /* and granted */

	/* checkpoint.h: what is saved may have changed since the last one */
	bool touched;

	/* report.c: the warnings that were logged */
	unsigned warned;
};

#endif
