/* SPDX-License-Identifier: BSD-2-Clause */

/* Take commands from the mailbox, for ever. */
#include "guest.h"

_Noreturn void guest_main(void);

struct work {
	uint32_t arguments[4], results[4];
};

static void
put_cycles(struct work *work, uint64_t since)
{
	uint64_t took = cycles() - since;

	work->results[0] = (uint32_t)took;
	work->results[1] = (uint32_t)(took >> 32);
}

static uint32_t
read_sized(uint32_t address, uint32_t size)
{
	if (size == 1)
		return *(volatile uint8_t *)address;
	if (size == 2)
		return *(volatile uint16_t *)address;
	return *word_at(address);
}

static void
write_sized(uint32_t address, uint32_t size, uint32_t value)
{
	if (size == 1)
		*(volatile uint8_t *)address = (uint8_t)value;
	else if (size == 2)
		*(volatile uint16_t *)address = (uint16_t)value;
	else
		*word_at(address) = value;
}

static void
setup(struct work *work)
{
	bool found = pci_find();
	uint32_t memory_size = 0, vectors = 0;

	if (found)
		vectors = pci_setup(work->arguments[0], &memory_size);
	ivshmem.doorbell = ivshmem.bar0 + REGISTER_DOORBELL;
	work->results[0] = found;
	work->results[1] = memory_size;
	work->results[2] = vectors;
	work->results[3] = found ? *word_at(ivshmem.bar0 + REGISTER_ID) : 0;
}

static void
setup_fixed(struct work *work)
{
	pci_find();
	ivshmem.bar0 = work->arguments[0];
	ivshmem.bar2 = GUEST_BAR2_AT;
	ivshmem.words = 0;
	ivshmem.doorbell = ivshmem.bar0 + REGISTER_DOORBELL;
}

static void
ring(struct work *work)
{
	volatile uint32_t *doorbell = word_at(ivshmem.doorbell);
	uint32_t value = work->arguments[0], left = work->arguments[1];
	uint64_t since = cycles();

	while (left-- > 0)
		*doorbell = value;
	put_cycles(work, since);
}

static void
ring_counted(struct work *work)
{
	volatile uint32_t *doorbell = word_at(ivshmem.doorbell);
	volatile uint32_t *counter = word_at(work->arguments[2]);
	uint32_t value = work->arguments[0], times = work->arguments[1], done = 0;

	while ((times == 0 || done < times) && !mailbox->stop) {
		*counter = ++done;
		*doorbell = value;
	}
	work->results[0] = done;
}

/* Both halves of a round trip count every interrupt beyond the one that is due. */
static void
ping(struct work *work)
{
	volatile uint32_t *doorbell = word_at(ivshmem.doorbell);
	uint32_t value = work->arguments[0], times = work->arguments[2];
	uint8_t interrupt = (uint8_t)work->arguments[1];
	uint32_t came = mailbox->interrupts[interrupt], extra = 0;
	uint64_t since = cycles();

	while (times-- > 0 && !mailbox->stop) {
		*doorbell = value;
		came++;
		extra += interrupts_wait(interrupt, came) != came;
	}
	put_cycles(work, since);
	work->results[2] = extra;
}

static void
pong(struct work *work)
{
	volatile uint32_t *doorbell = word_at(ivshmem.doorbell);
	uint32_t value = work->arguments[0], times = work->arguments[2];
	uint8_t interrupt = (uint8_t)work->arguments[1];
	uint32_t came = work->arguments[3], extra = 0;

	while (times-- > 0 && !mailbox->stop) {
		came++;
		extra += interrupts_wait(interrupt, came) != came;
		*doorbell = value;
	}
	work->results[0] = extra;
}

static void
toggle(struct work *work)
{
	while (!mailbox->stop) {
		*word_at(work->arguments[0]) = work->arguments[1];
		*word_at(work->arguments[0]) = work->arguments[2];
		work->results[0]++;
	}
}

static void
toggle_config(struct work *work)
{
	while (!mailbox->stop) {
		config_write(work->arguments[0], work->arguments[1], work->arguments[2]);
		config_write(work->arguments[0], work->arguments[1], work->arguments[3]);
		work->results[0]++;
	}
}

static void
copy(struct work *work)
{
	uint64_t since = cycles();

	for (uint32_t i = 0; i < work->arguments[3]; i++) {
		uint32_t to = work->arguments[0], from = work->arguments[1];
		uint32_t words = work->arguments[2] / 4;

		__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
	}
	put_cycles(work, since);
}

static uint32_t
next_word(uint32_t word)
{
	return word * 1664525u + 1013904223u;
}

static void
fill(struct work *work)
{
	uint32_t word = work->arguments[2];

	for (uint32_t i = 0; i < work->arguments[1]; i += 4) {
		word = next_word(word);
		*word_at(work->arguments[0] + i) = word;
	}
}

static void
check(struct work *work)
{
	uint32_t word = work->arguments[2], wrong = 0;

	for (uint32_t i = 0; i < work->arguments[1]; i += 4) {
		word = next_word(word);
		wrong += *word_at(work->arguments[0] + i) != word;
	}
	work->results[0] = wrong;
}

static void
carry_out(uint32_t command, struct work *work)
{
	uint32_t *arguments = work->arguments;

	switch ((enum guest_command)command) {
	case GUEST_NOP:
		break;
	case GUEST_CONFIG_READ:
		work->results[0] = config_read(arguments[0], arguments[1]);
		break;
	case GUEST_CONFIG_WRITE:
		config_write(arguments[0], arguments[1], arguments[2]);
		break;
	case GUEST_READ:
		work->results[0] = read_sized(arguments[0], arguments[1]);
		break;
	case GUEST_WRITE:
		write_sized(arguments[0], arguments[1], arguments[2]);
		break;
	case GUEST_SETUP:
		setup(work);
		break;
	case GUEST_SETUP_FIXED:
		setup_fixed(work);
		break;
	case GUEST_WORD:
		work->results[0] = pci_word(arguments[0], arguments[1]);
		break;
	case GUEST_AIM:
		ivshmem.doorbell = arguments[0];
		break;
	case GUEST_SETUP_INTX:
		interrupts_setup_intx(arguments[0]);
		break;
	case GUEST_RING:
		ring(work);
		break;
	case GUEST_RING_COUNTED:
		ring_counted(work);
		break;
	case GUEST_WAIT:
		work->results[0] = interrupts_wait((uint8_t)arguments[0], arguments[1]);
		break;
	case GUEST_PING:
		ping(work);
		break;
	case GUEST_PONG:
		pong(work);
		break;
	case GUEST_TOGGLE:
		toggle(work);
		break;
	case GUEST_TOGGLE_CONFIG:
		toggle_config(work);
		break;
	case GUEST_COPY:
		copy(work);
		break;
	case GUEST_FILL:
		fill(work);
		break;
	case GUEST_CHECK:
		check(work);
		break;
	}
}

void
guest_main(void)
{
	mailbox->done = mailbox->request;
	interrupts_init();
	mailbox->magic = GUEST_MAGIC;
	for (;;) {
		struct work work = {{0}, {0}};

		while (mailbox->request == mailbox->done)
			in32(GUEST_IDLE_PORT);
		for (int i = 0; i < 4; i++)
			work.arguments[i] = mailbox->arguments[i];
		carry_out(mailbox->command, &work);
		for (int i = 0; i < 4; i++)
			mailbox->results[i] = work.results[i];
		mailbox->done = mailbox->request;
	}
}
