/* SPDX-License-Identifier: BSD-2-Clause */
#include "device_naive.h"

#include <string.h>

/* ---- config space ---------------------------------------------------------------------------- */

bool
naive_has_table(const struct naive *naive)
{
	return naive->server && (naive->revision == 1 || naive->msi);
}

static uint32_t
pba_at(const struct naive *naive)
{
	return 16 * naive->vectors < 0x800 ? 0x800 : 16 * naive->vectors;
}

/* Of doorbell words: as many as there are vectors, or the next power of two. */
static uint64_t
words_per_peer(const struct naive *naive)
{
	uint64_t n = naive->vectors;

	while (n & (n - 1))
		n++;
	return n;
}

uint64_t
naive_bar_size(const struct naive *naive, unsigned bar)
{
	uint64_t end;

	switch (bar) {
	case 0:
		return 256;
	case 1:
		if (!naive_has_table(naive))
			return 0;
		end = pba_at(naive) + 8 * ((naive->vectors - 1) / 64 + 1);
		for (uint64_t size = 4096;; size <<= 1)
			if (size >= end)
				return size;
	case 2:
		return naive->memory_size;
	case 4:
		return naive->words ? words_per_peer(naive) * 4 * 65536 : 0;
	default:
		return 0;
	}
}

/* Bits that keep what is written to them. */
static uint32_t
stored_bits(const struct naive *naive, unsigned dword)
{
	switch (dword * 4) {
	case 0x04: /* command: I/O, memory, master, parity, SERR, INTx disable */
		return 1 | 2 | 4 | 64 | 256 | 1024;
	case 0x0c: /* cache line, latency */
		return 0xffff;
	case 0x10:
		return 0u - 256u;
	case 0x14:
		return (uint32_t)(0 - naive_bar_size(naive, 1));
	case 0x18:
		return (uint32_t)(0 - naive->memory_size);
	case 0x1c:
		return naive->revision == 1 ? (uint32_t)((0 - naive->memory_size) >> 32) : 0;
	case 0x20:
		return (uint32_t)(0 - naive_bar_size(naive, 4));
	case 0x24:
		return naive->words ? 0xffffffff : 0;
	case 0x3c: /* interrupt line */
		return 0xff;
	case 0x40: /* MSI-X: enable, mask all */
		return naive_has_table(naive) ? 0xc0000000 : 0;
	default:
		return 0;
	}
}

static bool
intx_requested(const struct naive *naive)
{
	bool msix_on = naive_has_table(naive) && naive->state.written[16] >> 31;

	return naive->revision == 0 && !msix_on && (naive->state.status & naive->state.mask);
}

static uint32_t
power_of_two(uint64_t value)
{
	return value > 1 ? 1 + power_of_two(value / 2) : 0;
}

static uint32_t
fixed_bits(const struct naive *naive, unsigned dword)
{
	bool table = naive_has_table(naive);

	switch (dword * 4) {
	case 0x00:
		return 0x11101af4;
	case 0x04:
		return (table ? 0x100000u : 0u) | (intx_requested(naive) ? 0x80000u : 0u);
	case 0x08:
		return 0x05000000 | naive->revision;
	case 0x18:
		return naive->revision == 1 ? 0xc : 0;
	case 0x20:
		return naive->words ? 0xc : 0;
	case 0x2c:
		return 0x11001af4;
	case 0x34:
		return table ? 0x40 : 0;
	case 0x3c:
		return naive->revision == 0 ? 0x100 : 0;
	case 0x40:
		return table ? (naive->vectors - 1) << 16 | (naive->words ? 0x4c11 : 0x11) : 0;
	case 0x44:
		return table ? 1 : 0;
	case 0x48:
		return table ? pba_at(naive) | 1 : 0;
	case 0x4c: /* vendor-specific, the last, 16 bytes, type 1 */
		return naive->words ? 0x01100009 : 0;
	case 0x50: /* BAR4, and the power of two */
		return naive->words ? 4 + 256 * power_of_two(words_per_peer(naive)) : 0;
	case 0x54: /* how many peers */
		return naive->words ? 0x10000 : 0;
	case 0x58:
		return naive->words ? 'I' | 'V' << 8 | 'D' << 16 | 'B' << 24 : 0;
	default:
		return 0;
	}
}

static uint32_t
config_dword(const struct naive *naive, unsigned dword)
{
	uint32_t stored = stored_bits(naive, dword);

	return fixed_bits(naive, dword) | (naive->state.written[dword] & stored);
}

uint8_t
naive_config_read(const struct naive *naive, unsigned offset)
{
	uint32_t dword = offset > 255 ? UINT32_MAX : config_dword(naive, offset / 4);

	return (uint8_t)(dword >> offset % 4 * 8);
}

void
naive_config_write(struct naive *naive, unsigned offset, uint8_t value)
{
	unsigned shift = offset % 4 * 8;
	uint32_t *dword;

	if (offset > 255)
		return;
	dword = &naive->state.written[offset / 4];
	*dword = (*dword & ~(UINT32_C(0xff) << shift)) | (uint32_t)value << shift;
}

/* ---- what follows from config space ---------------------------------------------------------- */

/* `bits` wide; the first and the last address of the bus are no place for anything. */
static uint64_t
place_of(const struct naive *naive, uint64_t base, uint64_t size, unsigned bits)
{
	uint64_t end;

	if (!(config_dword(naive, 1) & 2) || base == 0 || __builtin_add_overflow(base, size, &end))
		return 0;
	return bits < 64 && end >= UINT64_C(1) << bits ? 0 : base;
}

uint64_t
naive_memory_at(const struct naive *naive)
{
	uint64_t base = config_dword(naive, 6) & ~15u;

	if (!naive->has_memory)
		return 0;
	if (naive->revision == 0)
		return place_of(naive, base, naive->memory_size, 32);
	return place_of(
		naive, base | (uint64_t)config_dword(naive, 7) << 32, naive->memory_size, 64);
}

uint64_t
naive_doorbell_at(const struct naive *naive)
{
	uint64_t at = place_of(naive, config_dword(naive, 4), 256, 32);

	return at ? at + 12 : 0;
}

uint64_t
naive_word_at(const struct naive *naive, uint16_t peer, unsigned vector)
{
	uint64_t base = (uint64_t)config_dword(naive, 9) << 32 | (config_dword(naive, 8) & ~15u);

	if (!naive->words)
		return 0;
	base = place_of(naive, base, naive_bar_size(naive, 4), 64);
	return base ? base + 4 * (peer * words_per_peer(naive) + vector) : 0;
}

bool
naive_intx(const struct naive *naive)
{
	return intx_requested(naive) && !(config_dword(naive, 1) & 0x400);
}

bool
naive_open(const struct naive *naive, unsigned vector)
{
	uint32_t control = config_dword(naive, 16);

	if (naive->host_msix)
		return true;
	return (control & 0x80000000) && !(control & 0x40000000) && (config_dword(naive, 1) & 4) &&
	       !(naive->state.table[vector][3] & 1);
}

uint64_t
naive_address(const struct naive *naive, unsigned vector)
{
	const uint32_t *entry = naive->state.table[vector];

	return naive->host_msix ? 0 : (((uint64_t)entry[1] << 32) + entry[0]) / 4 * 4;
}

uint32_t
naive_data(const struct naive *naive, unsigned vector)
{
	return naive->host_msix ? 0 : naive->state.table[vector][2];
}

/* ---- peers and interrupts -------------------------------------------------------------------- */

unsigned
naive_vectors_of(const struct naive *naive, uint16_t peer)
{
	unsigned n = 0;

	for (unsigned i = 0; i < naive->n_announced; i++)
		n += naive->announced[i] == peer;
	return n;
}

int
naive_announce(struct naive *naive, uint16_t peer)
{
	unsigned vector = naive_vectors_of(naive, peer);

	if (vector == naive->vectors)
		return -1;
	naive->announced[naive->n_announced++] = peer;
	return (int)vector;
}

bool
naive_leave(struct naive *naive, uint16_t peer)
{
	unsigned n = 0;
	bool found = false;

	for (unsigned i = 0; i < naive->n_announced; i++) {
		if (naive->announced[i] == peer)
			found = true;
		else
			naive->announced[n++] = naive->announced[i];
	}
	naive->n_announced = n;
	return found;
}

void
naive_rung(struct naive *naive, unsigned vector)
{
	if (!naive_has_table(naive))
		naive->state.status |= 1;
	else
		naive->state.owed[vector] = true;
	naive_settle(naive);
}

void
naive_settle(struct naive *naive)
{
	if (!naive_has_table(naive) || naive->host_refuses)
		return;
	for (unsigned i = 0; i < naive->vectors; i++) {
		if (!naive->state.owed[i] || !naive_open(naive, i))
			continue;
		naive->state.owed[i] = false;
		naive->sent[i]++;
	}
}

/* ---- BARs ------------------------------------------------------------------------------------ */

static uint32_t
register_read(struct naive *naive, uint64_t offset)
{
	uint32_t value = 0;

	if (offset == 0)
		value = naive->state.mask;
	if (offset == 4) {
		value = naive->state.status;
		naive->state.status = 0;
	}
	if (offset == 8) {
		value = (uint32_t)naive->id;
		if (naive->revision == 0 && !naive->has_memory)
			value = 0xffffffff;
	}
	return value;
}

static uint32_t
bar1_dword(const struct naive *naive, uint64_t offset)
{
	uint32_t value = 0;
	uint64_t pba = pba_at(naive);

	if (offset / 16 < naive->vectors)
		return naive->state.table[offset / 16][offset / 4 % 4];
	if (offset < pba)
		return 0;
	for (unsigned i = 0; i < naive->vectors; i++)
		if (naive->state.owed[i] && pba + i / 32 * 4 == offset)
			value += UINT32_C(1) << i % 32;
	return value;
}

static bool
nothing_there(const struct naive *naive, unsigned bar, uint64_t offset, unsigned size)
{
	if (bar == 2 && !naive->has_memory)
		return true;
	return offset > naive_bar_size(naive, bar) || size > naive_bar_size(naive, bar) - offset;
}

uint64_t
naive_read(struct naive *naive, unsigned bar, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (nothing_there(naive, bar, offset, size))
		return size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
	switch (bar) {
	case 0:
		return size == 4 && (offset & 3) == 0 ? register_read(naive, offset) : 0;
	case 1:
		if (size == 4 && (offset & 3) == 0)
			return bar1_dword(naive, offset);
		if (size == 8 && (offset & 7) == 0)
			return bar1_dword(naive, offset) | (uint64_t)bar1_dword(naive, offset + 4)
								   << 32;
		return 0;
	case 4:
		return 0;
	default:
		for (unsigned i = size; i-- > 0;)
			value = value << 8 | naive->memory[offset + i];
		return value;
	}
}

static void
bar1_write(struct naive *naive, uint64_t offset, uint32_t value)
{
	if (offset / 16 < naive->vectors)
		naive->state.table[offset / 16][offset / 4 % 4] = value;
}

bool
naive_write(struct naive *naive, unsigned bar, uint64_t offset, unsigned size, uint64_t value,
	uint16_t *ret_peer, unsigned *ret_vector)
{
	uint32_t low = (uint32_t)value;

	if (nothing_there(naive, bar, offset, size))
		return false;
	if (bar == 2)
		for (unsigned i = 0; i < size; i++)
			naive->memory[offset + i] = (uint8_t)(value >> 8 * i);
	if (bar == 1 && size == 4 && (offset & 3) == 0)
		bar1_write(naive, offset, low);
	if (bar == 1 && size == 8 && (offset & 7) == 0) {
		bar1_write(naive, offset, low);
		bar1_write(naive, offset + 4, (uint32_t)(value >> 32));
	}
	if (bar == 4 && size == 4 && (offset & 3) == 0) {
		*ret_peer = (uint16_t)(offset / 4 / words_per_peer(naive));
		*ret_vector = (unsigned)(offset / 4 % words_per_peer(naive));
		return *ret_vector < naive_vectors_of(naive, *ret_peer);
	}
	if (bar != 0 || size != 4)
		return false;
	if (offset == 0)
		naive->state.mask = low;
	if (offset == 4)
		naive->state.status = low;
	if (offset != 12)
		return false;
	*ret_peer = (uint16_t)(low / 65536);
	*ret_vector = low % (naive->legacy ? 256 : 65536);
	return naive->server && *ret_vector < naive_vectors_of(naive, *ret_peer);
}

/* ---- life ------------------------------------------------------------------------------------ */

void
naive_reset(struct naive *naive)
{
	memset(&naive->state, 0, sizeof(naive->state));
	for (unsigned i = 0; i < NAIVE_VECTORS; i++)
		naive->state.table[i][3] = 1;
}

void
naive_init(struct naive *naive)
{
	if (!naive->server)
		naive->id = 0;
	naive_reset(naive);
}
