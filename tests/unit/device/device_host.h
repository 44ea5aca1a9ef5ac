/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef UNIT_DEVICE_HOST_H
#define UNIT_DEVICE_HOST_H

/* A checked host that writes down what it is asked to do, as text, and says no when it is told to. */

#include <checked_host.h>
#include <test.h>

struct host {
	struct ivshmem_device *device;
	/* for host_open() */
	struct ivshmem_device_config config;
	struct ivshmem_device_ops ops;

	bool refuse_map, refuse_messages, refuse_irqfd;
	unsigned trigger_room;             /* how many ioeventfds it takes */
	bool waiting[IVSHMEM_MAX_VECTORS]; /* own eventfds with rings nobody has seen */

	char effects[65536];
	char warning[512];
};

extern struct host host;

/* Another host, and a configuration with its ops and defaults of `revision`, 1 MiB; to be changed. */
void host_config(unsigned revision, bool server, unsigned vectors);

/* Create the device, or demand that it fails with -EINVAL and a reason that contains `reason`. */
void host_open(void);
void host_refused(const char *reason);

/* Free it; nothing may be in force then. The end of the test and the next host do that, too. */
void host_close(void);

/* Shorthand: revision, server, vectors, id 0, memory there, effects forgotten. */
void host_open_simple(unsigned revision, bool server, unsigned vectors);

/* What was asked for since the last call: "map 100000; ring 3.1; +io febf100c=30001". */
const char *host_effects(void);

/* What `action` makes the host do, which has nothing left to be looked at from before. */
#define CAUSES(action, effects)                                                                    \
	do {                                                                                       \
		test_check_str(__FILE__, __LINE__, "before " #action, host_effects(), "\"\"", ""); \
		action;                                                                            \
		test_check_str(                                                                    \
			__FILE__, __LINE__, #action, host_effects(), "the effects", effects);      \
	} while (0)

uint32_t config_get(unsigned offset, unsigned size);
void config_put(unsigned offset, unsigned size, uint32_t value);
uint32_t reg_get(unsigned offset);
void reg_put(unsigned offset, uint32_t value);
uint32_t bar1_get(unsigned offset);
void bar1_put(unsigned offset, uint32_t value);

uint64_t bar_read(unsigned bar, uint64_t offset, unsigned size);
void bar_write(unsigned bar, uint64_t offset, unsigned size, uint64_t value);

/* `n` more vectors of `peer` come from the server; the peer leaves. */
void connect_peer(uint16_t peer, unsigned n);
void remove_peer(uint16_t peer);

/* The memory comes, which nobody looks into; vector `vector` is rung. */
void give_memory(void);
void interrupt(unsigned vector);

/* Command register: memory, and bus master. */
#define COMMAND_ON 0x6

/* Fill an entry (message 0xfee00000 + 0x1000 * vector, data 0x40 + vector) and unmask it. */
void entry_open(unsigned vector);
void entry_mask(unsigned vector, bool masked);

/* MSI-X control word: enable 0x8000, mask all 0x4000. */
void msix_control(unsigned bits);

/* ---- saved states ---------------------------------------------------------------------------- */

#define NATIVE      IVSHMEM_DEVICE_FORMAT_NATIVE
#define OLD         IVSHMEM_DEVICE_FORMAT_2010
#define HEADER      40 /* of the native form */
#define SAVED_SPACE 65536

/* A configuration whose device may be saved and loaded, with id 0. */
void master_config(unsigned revision, bool msi, unsigned vectors);
void open_master(unsigned revision, bool msi, unsigned vectors);

/* The last one. */
extern uint8_t saved[SAVED_SPACE];
extern size_t saved_size;

void save(enum ivshmem_device_format format);
void load(enum ivshmem_device_format format);
/* The first `size` bytes are refused, and the device is as it was. */
void load_refused(enum ivshmem_device_format format, size_t size, int code, const char *reason);

uint32_t be32(size_t offset);
void put_be32(size_t offset, uint32_t value);

#endif
