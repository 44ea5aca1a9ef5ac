/* SPDX-License-Identifier: BSD-2-Clause */
#include "swarm.h"

#include "measure.h"
#include "proc.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_SIZE   sizeof(uint64_t)
#define READ_MESSAGES  128 /* 8-byte messages per recvmmsg() */
#define READ_BULK_SIZE 65536
#define EVENTS_MAX     256

/* The descriptors that came with one system call and are to be closed after it. */
struct fd_batch {
	int lowest, highest;
	unsigned count;
	int fds[READ_MESSAGES * 2];
};

/* What one system call may fill. Static: one thread, and nothing is kept from one call to the next.
 */
static struct {
	struct mmsghdr headers[READ_MESSAGES];
	struct iovec vectors[READ_MESSAGES];
	uint8_t bytes[READ_MESSAGES][MESSAGE_SIZE];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int))];
	} control[READ_MESSAGES];
	unsigned used; /* headers that the last call filled, and that must be armed again */
	uint8_t bulk[READ_BULK_SIZE];
	struct fd_batch batch;
} io;

static void
fd_batch_add(struct fd_batch *batch, int fd)
{
	if (batch->count == READ_MESSAGES * 2) {
		close(fd);
		return;
	}
	if (batch->count == 0 || fd < batch->lowest)
		batch->lowest = fd;
	if (batch->count == 0 || fd > batch->highest)
		batch->highest = fd;
	batch->fds[batch->count++] = fd;
}

/* New descriptors get the lowest free numbers, so as a rule a batch is one gapless range. */
static void
fd_batch_close(struct fd_batch *batch)
{
	unsigned count = batch->count;

	batch->count = 0;
	if (count == 0)
		return;
	if ((unsigned)(batch->highest - batch->lowest) + 1 == count &&
		close_range((unsigned)batch->lowest, (unsigned)batch->highest, 0) == 0)
		return;
	for (unsigned i = 0; i < count; i++)
		close(batch->fds[i]);
}

static void
header_arm(struct swarm *swarm, struct msghdr *header, unsigned index)
{
	header->msg_control = swarm->settings.discard_fds ? NULL : &io.control[index];
	header->msg_controllen = swarm->settings.discard_fds ? 0 : CMSG_LEN(sizeof(int));
}

int
swarm_create(const struct swarm_settings *settings, struct swarm **ret_swarm)
{
	struct swarm *swarm = calloc(1, sizeof(*swarm));

	if (!swarm)
		return -ENOMEM;
	swarm->settings = *settings;
	memset(swarm->slot_of, 0xff, sizeof(swarm->slot_of));
	swarm->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	swarm->clients = calloc(settings->capacity, sizeof(*swarm->clients));
	if (swarm->epoll_fd < 0 || !swarm->clients) {
		swarm_free(swarm);
		return -ENOMEM;
	}
	for (unsigned i = 0; i < settings->capacity; i++) {
		struct swarm_client *client = &swarm->clients[i];

		client->fd = -1;
		client->seen = calloc(settings->slots, sizeof(*client->seen));
		if (!client->seen) {
			swarm_free(swarm);
			return -ENOMEM;
		}
	}

	for (unsigned i = 0; i < READ_MESSAGES; i++) {
		struct msghdr *header = &io.headers[i].msg_hdr;

		io.vectors[i] = (struct iovec){io.bytes[i], MESSAGE_SIZE};
		*header = (struct msghdr){.msg_iov = &io.vectors[i], .msg_iovlen = 1};
		header_arm(swarm, header, i);
	}
	*ret_swarm = swarm;
	return 0;
}

struct swarm *
swarm_free(struct swarm *swarm)
{
	if (!swarm)
		return NULL;
	for (unsigned i = 0; swarm->clients && i < swarm->settings.capacity; i++) {
		swarm_disconnect(swarm, &swarm->clients[i]);
		free(swarm->clients[i].seen);
	}
	free(swarm->clients);
	if (swarm->epoll_fd >= 0)
		close(swarm->epoll_fd);
	free(swarm);
	return NULL;
}

static bool
client_waited_for(const struct swarm_client *client)
{
	return client->missing > 0 && !client->stalled;
}

void
swarm_expect(struct swarm *swarm, struct swarm_client *client, uint64_t count)
{
	swarm->incomplete -= client_waited_for(client);
	client->missing += (int64_t)count;
	swarm->expected += count;
	swarm->incomplete += client_waited_for(client);
}

static void
client_watch(struct swarm *swarm, struct swarm_client *client, bool on)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

	if (client->watched == on || client->fd < 0)
		return;
	epoll_ctl(swarm->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, client->fd, &event);
	client->watched = on;
}

void
swarm_stall(struct swarm *swarm, struct swarm_client *client)
{
	swarm->incomplete -= client_waited_for(client);
	client->stalled = true;
	swarm->incomplete += client_waited_for(client);
	if (client->hello == SWARM_HELLO_MESSAGES)
		client_watch(swarm, client, false);
}

void
swarm_resume(struct swarm *swarm, struct swarm_client *client)
{
	swarm->incomplete -= client_waited_for(client);
	client->stalled = false;
	swarm->incomplete += client_waited_for(client);
	client_watch(swarm, client, true);
}

int
swarm_connect(struct swarm *swarm, struct swarm_client *client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t length = strlen(swarm->settings.socket_path);
	int fd;

	if (length >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, swarm->settings.socket_path, length + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = -errno;
		close(fd);
		return r;
	}
	client->fd = fd;
	client->hello = 0;
	client->carry_length = 0;
	client->carry_fd = false;
	memset(client->seen, 0, swarm->settings.slots * sizeof(*client->seen));
	swarm->connected++;
	client_watch(swarm, client, true);
	return 0;
}

void
swarm_disconnect(struct swarm *swarm, struct swarm_client *client)
{
	if (client->fd < 0)
		return;
	close(client->fd); /* which also takes it out of the epoll set */
	client->fd = -1;
	client->watched = false;
	swarm->connected--;
}

/* The server closed this client: nobody needs to wait for it, but it keeps its missing messages. */
static void
client_lost(struct swarm *swarm, struct swarm_client *client)
{
	swarm_disconnect(swarm, client);
	swarm->disconnected++;
	swarm->incomplete -= client_waited_for(client);
	client->stalled = true;
}

static bool
slot_get(struct swarm *swarm, int64_t id, unsigned *ret_slot)
{
	if (id < 0 || id > 65535)
		return false;
	if (swarm->slot_of[id] < 0) {
		if (swarm->slots_used == swarm->settings.slots)
			return false;
		swarm->slot_of[id] = (int32_t)swarm->slots_used++;
	}
	*ret_slot = (unsigned)swarm->slot_of[id];
	return true;
}

/* Is this message one that the client still lacks? Takes it into the books if so. */
static bool
client_account(struct swarm *swarm, struct swarm_client *client, int64_t value, bool fd)
{
	unsigned slot;

	switch (client->hello) {
	case 0:
		if (value != 0 || fd)
			return false;
		client->hello++;
		return true;
	case 1:
		if (fd || !slot_get(swarm, value, &client->slot))
			return false;
		client->hello++;
		return true;
	case 2:
		if (value != -1 || !fd)
			return false;
		client->hello++;
		if (client->stalled)
			client_watch(swarm, client, false);
		return true;
	default:
		if (!slot_get(swarm, value, &slot))
			return false;
		if (fd) {
			if (client->seen[slot] == swarm->settings.vectors)
				return false;
			client->seen[slot]++;
			return true;
		}
		if (client->seen[slot] != swarm->settings.vectors)
			return false;
		client->seen[slot] = 0;
		return true;
	}
}

static void
client_message(struct swarm *swarm, struct swarm_client *client, uint64_t raw, bool fd)
{
	if (client->missing <= 0 || !client_account(swarm, client, (int64_t)le64toh(raw), fd)) {
		swarm->errors++;
		return;
	}
	swarm->incomplete -= client_waited_for(client);
	client->missing--;
	client->delivered++;
	swarm->delivered++;
	swarm->incomplete += client_waited_for(client);
	if (client->missing == 0)
		client->complete_ns = clock_ns(CLOCK_MONOTONIC);
}

/*
 * Bytes of one read. The kernel ends a read behind the message whose descriptor it delivers, so a
 * descriptor belongs to the last message that the read touched.
 */
static void
client_bytes(struct swarm *swarm, struct swarm_client *client, const uint8_t *bytes, size_t length,
	bool fd)
{
	while (length > 0) {
		size_t take = MESSAGE_SIZE - client->carry_length;
		uint64_t raw;

		if (take > length)
			take = length;
		memcpy(client->carry + client->carry_length, bytes, take);
		client->carry_length = (uint8_t)(client->carry_length + take);
		bytes += take;
		length -= take;
		if (length == 0 && fd)
			client->carry_fd = true;
		if (client->carry_length < MESSAGE_SIZE)
			break;
		memcpy(&raw, client->carry, sizeof(raw));
		client_message(swarm, client, raw, client->carry_fd);
		client->carry_length = 0;
		client->carry_fd = false;
	}
}

/* Did a descriptor come with this read? If it was received, it goes into the batch. */
static bool
header_fd(struct swarm *swarm, struct msghdr *header)
{
	bool found = false;

	if (swarm->settings.discard_fds)
		return header->msg_flags & MSG_CTRUNC;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0);
			at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
			fd_batch_add(&io.batch, fd);
			if (found)
				swarm->errors++; /* two descriptors in one message */
			found = true;
		}
	}
	if (header->msg_flags & MSG_CTRUNC) {
		swarm->errors++; /* more descriptors than one, or we have no room left for one */
		found = true;
	}
	return found;
}

/* One system call's worth of messages, 8 bytes per slot. False: the server closed the connection.
 */
static bool
client_read(struct swarm *swarm, struct swarm_client *client)
{
	bool open = true;
	int count;

	for (unsigned i = 0; i < io.used; i++)
		header_arm(swarm, &io.headers[i].msg_hdr, i);
	io.used = 0;
	count = recvmmsg(
		client->fd, io.headers, READ_MESSAGES, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
	if (count < 0)
		return errno == EAGAIN || errno == EINTR;
	io.used = (unsigned)count;
	for (int i = 0; i < count && open; i++) {
		bool fd = header_fd(swarm, &io.headers[i].msg_hdr);

		if (io.headers[i].msg_len == 0)
			open = false;
		client_bytes(swarm, client, io.bytes[i], io.headers[i].msg_len, fd);
	}
	fd_batch_close(&io.batch);
	return open;
}

/* The same, many messages in one read. */
static bool
client_read_bulk(struct swarm *swarm, struct swarm_client *client)
{
	struct iovec vector = {io.bulk, sizeof(io.bulk)};
	struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
	ssize_t length;

	header_arm(swarm, &header, 0);
	length = recvmsg(client->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (length < 0)
		return errno == EAGAIN || errno == EINTR;
	client_bytes(swarm, client, io.bulk, (size_t)length, header_fd(swarm, &header));
	fd_batch_close(&io.batch);
	return length > 0;
}

int
swarm_drain(struct swarm *swarm, int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int count;

	count = epoll_wait(swarm->epoll_fd, events, EVENTS_MAX, timeout_ms);
	for (int i = 0; i < count; i++) {
		struct swarm_client *client = events[i].data.ptr;
		bool open;

		if (client->fd < 0)
			continue;
		open = client->bulk ? client_read_bulk(swarm, client) : client_read(swarm, client);
		if (!open)
			client_lost(swarm, client);
	}
	if (count > 0)
		swarm->last_message_ns = clock_ns(CLOCK_MONOTONIC);
	return count;
}

/* Time limits of one wait. */
struct patience {
	uint64_t start_ns, quiet_since_ns;
};

/* Called after each round; `progress`: something happened in it. False: no use to wait any longer.
 */
static bool
patience_left(struct swarm *swarm, struct patience *patience, bool progress)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);

	if (now - patience->start_ns > (uint64_t)swarm->settings.limit_ms * 1000000u)
		return false;
	if (progress) {
		patience->quiet_since_ns = now;
		return true;
	}
	if (now - patience->quiet_since_ns > (uint64_t)swarm->settings.idle_ms * 1000000u)
		return false;
	return now - patience->quiet_since_ns < 20000000u || swarm->settings.server <= 0 ||
	       proc_alive(swarm->settings.server);
}

bool
swarm_complete(struct swarm *swarm)
{
	struct patience patience = {clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_MONOTONIC)};

	while (swarm->incomplete > 0) {
		int count = swarm_drain(swarm, swarm->settings.spin ? 0 : 50);

		if (!patience_left(swarm, &patience, count > 0))
			return false;
	}
	return swarm->disconnected == 0;
}

bool
swarm_complete_or_settled(struct swarm *swarm)
{
	struct patience patience = {clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_MONOTONIC)};

	while (swarm->incomplete > 0) {
		int count = swarm_drain(swarm, swarm->settings.spin ? 0 : 2);

		if (count == 0) {
			/* On a busy machine, it may have to wait long for its turn. */
			bool settled = proc_settle(swarm->settings.server, 100);

			count = swarm_drain(swarm, 0);
			if (count == 0 && settled)
				return false;
		}
		if (!patience_left(swarm, &patience, count > 0))
			return false;
	}
	return swarm->disconnected == 0;
}

bool
swarm_connect_all(struct swarm *swarm, unsigned count)
{
	struct patience patience = {clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_MONOTONIC)};
	unsigned next = 0, before = 0;

	while (next < count) {
		int r = swarm_connect(swarm, &swarm->clients[next]);
		int count_read;

		if (r == 0) {
			next++;
			continue;
		}
		if (r != -EAGAIN)
			return false;
		/* With the backlog full, the server speaks to somebody before it can take another
		 * one. */
		count_read = swarm_drain(swarm, swarm->settings.spin ? 0 : 1);
		if (!patience_left(swarm, &patience, count_read > 0 || next > before))
			return false;
		before = next;
	}
	swarm->last_connect_ns = clock_ns(CLOCK_MONOTONIC);
	return true;
}

unsigned
swarm_forgive(struct swarm *swarm)
{
	unsigned incomplete = 0;

	for (unsigned i = 0; i < swarm->settings.capacity; i++) {
		struct swarm_client *client = &swarm->clients[i];

		if (client->missing > 0) {
			swarm->incomplete -= client_waited_for(client);
			client->missing = 0;
			incomplete++;
		}
		for (unsigned slot = 0; slot < swarm->slots_used; slot++)
			client->seen[slot] = (uint16_t)swarm->settings.vectors;
	}
	return incomplete;
}
