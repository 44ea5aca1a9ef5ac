/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Messages and descriptors through a real socket: cut and glued in every way that a sender can, with the
 * descriptors where they belong.
 */

#include <base/clock.h>
#include <channel_pair.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MAX_MESSAGES 64

static uint32_t
random_below(uint64_t *state, uint32_t n)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33) % n;
}

static void
fill(uint8_t *message, uint16_t id, size_t size)
{
	struct vfio_user_header header = {
		.id = id, .command = (uint16_t)(id ^ 0x55), .size = (uint32_t)size};

	memcpy(message, &header, HEADER);
	for (size_t i = 0; i < size - HEADER; i++)
		message[HEADER + i] = body_byte(id, i);
}

/* The next request is this message with these marks. */
static void
expect(uint16_t id, size_t size, const uint64_t *marks, unsigned n_marks)
{
	struct request request;

	CHECK_EQ(channel_receive(&channel, &request), 1);
	CHECK_EQ(request.header.id, id);
	CHECK_EQ(request.header.command, id ^ 0x55);
	CHECK_EQ(request.header.size, size);
	CHECK_EQ(request.length, size - HEADER);
	for (size_t i = 0; i < request.length; i++)
		if (request.body[i] != body_byte(id, i))
			FAIL("byte %zu of message %u is %u", i, id, request.body[i]);
	CHECK_EQ(request.n_fds, n_marks);
	for (unsigned i = 0; i < n_marks; i++) {
		CHECK_EQ(mark_of(request.fds[i]), marks[i]);
		CHECK_EQ(fcntl(request.fds[i], F_GETFD), FD_CLOEXEC);
	}
	/* Some are kept by whoever handles it, the others are closed by the next call. */
	for (unsigned i = 0; i < n_marks; i += 2) {
		close(request.fds[i]);
		request.fds[i] = -1;
	}
}

static void
send_marked(const uint8_t *bytes, size_t length, const uint64_t *marks, unsigned n_marks)
{
	int fds[FDPASS_MAX] = {0};

	for (unsigned i = 0; i < n_marks; i++)
		fds[i] = mark_new(marks[i]);
	CHECK_EQ(fdpass_send(pair[0], bytes, length, fds, n_marks), length);
	for (unsigned i = 0; i < n_marks; i++)
		close(fds[i]);
}

/* ---- any stream -------------------------------------------------------------------------------- */

/* The naive model: where each message begins and ends, and its marks. */
struct model {
	unsigned n, received;
	struct {
		size_t begin, end;
		uint64_t marks[VFIO_USER_MAX_FDS];
		unsigned n_marks;
	} messages[MAX_MESSAGES];
	uint8_t *bytes;
	size_t sent;
};

static void
invent(struct model *model, uint64_t *seed)
{
	static const uint32_t sizes[] = {1, 2, 33, 33, 33, 300, 5000, 9000};
	uint64_t mark = 1;
	size_t size = 0;

	*model = (struct model){.n = 1 + random_below(seed, 24)};
	for (unsigned i = 0; i < model->n; i++) {
		model->messages[i].begin = size;
		size += HEADER + random_below(seed, sizes[random_below(seed, 8)]);
		model->messages[i].end = size;
		if (random_below(seed, 3) == 0)
			model->messages[i].n_marks = random_below(seed, VFIO_USER_MAX_FDS + 1);
		for (unsigned k = 0; k < model->messages[i].n_marks; k++)
			model->messages[i].marks[k] = mark++;
	}
	model->bytes = malloc(size);
	CHECK(model->bytes);
	for (unsigned i = 0; i < model->n; i++)
		fill(model->bytes + model->messages[i].begin, (uint16_t)i,
			model->messages[i].end - model->messages[i].begin);
}

/* The message that the next byte to be sent is in. */
static unsigned
current(const struct model *model)
{
	unsigned i = 0;

	while (model->messages[i].end <= model->sent)
		i++;
	return i;
}

/*
 * One sendmsg(). Descriptors go with some byte of their message, and what carries them ends with it at the
 * latest: that is what senders do, and all that can be told apart.
 */
static void
send_piece(struct model *model, uint64_t *seed)
{
	static uint64_t none[1];
	size_t total = model->messages[model->n - 1].end;
	unsigned i = current(model), n_marks = 0;
	const uint64_t *marks = none;
	size_t most, length;

	if (model->messages[i].n_marks > 0) {
		most = model->messages[i].end - model->sent;
		length = 1 + random_below(seed, (uint32_t)most);
		if (random_below(seed, 2) == 0)
			length = most;
		/* In one go, or some of them with an earlier byte. */
		n_marks = model->messages[i].n_marks;
		marks = model->messages[i].marks;
		if (model->sent > model->messages[i].begin)
			n_marks = 0;
	} else {
		size_t next = total;

		/* As far as the next message with descriptors. */
		for (unsigned k = i; k < model->n; k++)
			if (model->messages[k].n_marks > 0) {
				next = model->messages[k].begin;
				break;
			}
		most = next - model->sent;
		length = 1 + random_below(seed, (uint32_t)most);
	}
	send_marked(model->bytes + model->sent, length, marks, n_marks);
	model->sent += length;
}

static void
receive_some(struct model *model, uint64_t *seed)
{
	while (model->received < model->n && model->messages[model->received].end <= model->sent &&
		random_below(seed, 8) != 0) {
		unsigned i = model->received++;

		expect((uint16_t)i, model->messages[i].end - model->messages[i].begin,
			model->messages[i].marks, model->messages[i].n_marks);
	}
}

/* How much the socket's buffer holds of what was not read yet. */
static size_t
unread(void)
{
	int n;

	CHECK_SYS(ioctl(pair[1], FIONREAD, &n));
	return (size_t)n;
}

TEST_WITH(any_stream, .timeout_s = 120)
{
	for (uint64_t i = 0; i < 600; i++) {
		uint64_t seed = i;
		struct request request;
		struct model model;
		unsigned fds = test_open_fds();
		size_t total;

		open_spinning_channel(i % 4 == 0 ? 1000 : 0);
		invent(&model, &seed);
		total = model.messages[model.n - 1].end;
		while (model.received < model.n) {
			if (model.sent < total && unread() < 20000)
				send_piece(&model, &seed);
			if (model.sent == total || unread() >= 20000 || random_below(&seed, 3) == 0)
				receive_some(&model, &seed);
		}
		CHECK_SYS(shutdown(pair[0], SHUT_WR));
		CHECK_EQ(channel_receive(&channel, &request), 0);
		CHECK_EQ(request.n_fds, 0);
		free(model.bytes);
		close_channel();
		CHECK_EQ(test_open_fds(), fds);
	}
}

/* Descriptors with the last byte of a message that was otherwise there, and with each of its bytes. */
CHANNEL_TEST(descriptors_with_any_byte, .timeout_s = 30)
{
	const uint64_t marks[HEADER + 4] = {
		1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
	uint8_t bytes[HEADER + 4];

	fill(bytes, 3, sizeof(bytes));
	send_marked(bytes, sizeof(bytes) - 1, NULL, 0);
	send_marked(bytes + sizeof(bytes) - 1, 1, marks, 2);
	for (size_t i = 0; i < sizeof(bytes); i++)
		send_marked(bytes + i, 1, marks + i, 1);
	send_marked(bytes, sizeof(bytes), NULL, 0);
	expect(3, sizeof(bytes), marks, 2);
	expect(3, sizeof(bytes), marks, sizeof(bytes));
	expect(3, sizeof(bytes), NULL, 0);
}

/* ---- large messages, from a process that writes while we read ------------------------------------ */

CHANNEL_TEST(large_messages, .timeout_s = 120)
{
	const size_t sizes[] = {
		MAX_SIZE, HEADER, 4096, MAX_SIZE, 4097, HEADER + 1, 65536, MAX_SIZE};
	const uint64_t marks[] = {11, 12, 13};
	uint8_t *bytes = malloc(MAX_SIZE);
	pid_t sender;

	CHECK(bytes);
	CHECK_SYS(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){1}, sizeof(int)));
	sender = test_fork();
	if (sender == 0) {
		close(pair[1]);
		for (unsigned i = 0; i < 8; i++) {
			size_t sent = 0;

			fill(bytes, (uint16_t)i, sizes[i]);
			/* The kernel gives the descriptors to the first piece that it makes of it. */
			while (sent < sizes[i]) {
				size_t rest = sizes[i] - sent, piece = rest < 70000 ? rest : 70000;

				send_marked(bytes + sent, piece, marks, sent == 0 && i % 2 ? 3 : 0);
				sent += piece;
			}
		}
		close(pair[0]);
		free(bytes);
		_exit(0);
	}
	for (unsigned i = 0; i < 8; i++)
		expect((uint16_t)i, sizes[i], marks, i % 2 ? 3 : 0);
	test_join(sender);
	free(bytes);
}

/* ---- what cannot be a message -------------------------------------------------------------------- */

TEST(impossible_sizes)
{
	const uint32_t sizes[] = {0, 1, HEADER - 1, MAX_SIZE + 1, 0x80000000, UINT32_MAX};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct vfio_user_header header = {
			.id = 77, .command = 9, .size = sizes[i], .flags = 0x10};
		struct request request;

		open_channel();
		send_marked((const uint8_t *)&header, sizeof(header), &(uint64_t){1}, 1);
		CHECK_EQ(channel_receive(&channel, &request), -EMSGSIZE);
		CHECK_EQ(request.header.size, sizes[i]);
		CHECK_EQ(request.header.id, 77);
		CHECK_EQ(request.header.flags, 0x10);
		close_channel();
	}
}

static void
send_with_fds(unsigned n)
{
	uint8_t bytes[HEADER];
	int fds[FDPASS_MAX] = {0};

	fill(bytes, 5, HEADER);
	for (unsigned i = 0; i < n; i++)
		fds[i] = pair[0];
	CHECK_EQ(fdpass_send(pair[0], bytes, HEADER, fds, n), HEADER);
}

TEST(too_many_descriptors)
{
	for (unsigned n = CHANNEL_MAX_FDS; n <= FDPASS_MAX; n += n < 34 ? 1 : 73) {
		struct request request;
		unsigned fds;

		open_channel();
		fds = test_open_fds();
		send_with_fds(n);
		if (n > CHANNEL_MAX_FDS) {
			CHECK_EQ(channel_receive(&channel, &request), -EPROTO);
		} else {
			CHECK_EQ(channel_receive(&channel, &request), 1);
			CHECK_EQ(request.n_fds, n);
		}
		channel_done(&channel);
		CHECK_EQ(test_open_fds(), fds);
		close_channel();
	}
}

/* A message that never ends and brings more and more. */
CHANNEL_TEST(too_many_descriptors_bit_by_bit, .timeout_s = 30)
{
	struct request request;
	uint8_t bytes[200];

	fill(bytes, 5, sizeof(bytes));
	for (unsigned i = 0; i < 40; i++)
		CHECK_EQ(fdpass_send(pair[0], bytes + i, 1, &pair[0], 1), 1);
	CHECK_EQ(channel_receive(&channel, &request), -EPROTO);
}

CHANNEL_TEST(no_descriptors_left, .timeout_s = 30)
{
	struct request request;
	unsigned fds;

	send_with_fds(16);
	fds = test_open_fds();
	test_limit_fds(8);
	CHECK_EQ(channel_receive(&channel, &request), -EMFILE);
	test_unlimit_fds();
	channel_done(&channel);
	CHECK_EQ(test_open_fds(), fds);
}

TEST(the_end_at_any_byte)
{
	uint8_t bytes[HEADER + 3];

	fill(bytes, 1, sizeof(bytes));
	for (size_t n = 0; n < sizeof(bytes); n++) {
		struct request request;

		open_spinning_channel(n % 2 ? 1000 : 0);
		if (n > 0)
			send_marked(bytes, n, &(uint64_t){4}, 1);
		close_end(0);
		CHECK_EQ(channel_receive(&channel, &request), 0);
		CHECK_EQ(request.header.size, 0);
		CHECK_EQ(channel_receive(&channel, &request), 0);
		close_channel();
	}
}

/* ---- waiting --------------------------------------------------------------------------------------- */

/* Signals that interrupt the wait do not end it. */
static void
check_interrupted(uint64_t spin_ns)
{
	uint8_t bytes[HEADER];
	int ready[2];
	pid_t sender;

	open_spinning_channel(spin_ns);
	CHECK_SYS(pipe2(ready, O_CLOEXEC));
	sender = test_fork();
	if (sender == 0) {
		char c;

		/* Some of the signals come meanwhile; when does not matter. */
		CHECK_EQ(read(ready[0], &c, 1), 1);
		usleep(30000);
		fill(bytes, 1, HEADER);
		send_marked(bytes, HEADER, NULL, 0);
		_exit(0);
	}
	interrupt_every(2000);
	CHECK_EQ(write(ready[1], "", 1), 1);
	expect(1, HEADER, NULL, 0);
	interrupt_every(0);
	test_join(sender);
	close(ready[0]);
	close(ready[1]);
	close_channel();
}

TEST(interrupted_while_sleeping)
{
	check_interrupted(0);
}

TEST(interrupted_while_spinning)
{
	check_interrupted(20 * NSEC_PER_SEC);
}

/* A spin that is over becomes a sleep. */
TEST(interrupted_after_spinning)
{
	check_interrupted(1000);
}

static uint64_t
cpu_time(void)
{
	struct timespec now;

	CHECK_SYS(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now));
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

/* The processor time that waiting for `wait_us` costs. */
static uint64_t
cost_of_waiting(uint64_t spin_ns, useconds_t wait_us)
{
	uint8_t bytes[HEADER];
	uint64_t before;
	pid_t sender;

	open_spinning_channel(spin_ns);
	before = cpu_time();
	sender = test_fork();
	if (sender == 0) {
		usleep(wait_us);
		fill(bytes, 1, HEADER);
		send_marked(bytes, HEADER, NULL, 0);
		_exit(0);
	}
	expect(1, HEADER, NULL, 0);
	before = cpu_time() - before;
	test_join(sender);
	close_channel();
	return before;
}

/* That spinning spins, and sleeping sleeps, shows in the processor time, with wide margins. */
TEST(spinning_spins)
{
	uint64_t asleep = cost_of_waiting(0, 500000);
	uint64_t awake = cost_of_waiting(20 * NSEC_PER_SEC, 500000);
	uint64_t soon_asleep = cost_of_waiting(NSEC_PER_MSEC, 500000);

	printf("asleep %llu, awake %llu, soon asleep %llu ns\n", (unsigned long long)asleep,
		(unsigned long long)awake, (unsigned long long)soon_asleep);
	CHECK(asleep < awake / 2);
	CHECK(soon_asleep < awake / 2);
}
