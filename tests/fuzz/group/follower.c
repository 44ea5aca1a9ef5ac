/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The client's message parser: bytes and descriptors, cut anywhere, through the wire codec into the follower
 * of the protocol.
 *
 * The first byte says how: bit 0 sends the rest through a socket and receives it with wire_receive(), else it
 * is fed by hand; bit 7 allows the dialect of 2010. Then pieces follow, each a byte that tells its length (bits 0 to 3: 1 to 16 bytes) and its
 * number of descriptors (bits 4 to 6), and its bytes.
 */

#include <fdpass.h>
#include <fuzz.h>

#include <base/fd.h>
#include <group/follower.h>
#include <wire/wire.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 7

static int null_fd = -1;

/*
 * Which of the numbers from the lowest free one on are open. Descriptors get the lowest free number, and only
 * few are open at a time here: the first one that is forgotten is among them.
 */
static uint32_t
open_fds(int *ret_first)
{
	uint32_t mask = 0;

	if (*ret_first < 0) {
		*ret_first = dup(null_fd);
		DEMAND(*ret_first >= 0);
		close(*ret_first);
	}
	for (int i = 0; i < 32; i++)
		if (fcntl(*ret_first + i, F_GETFD) >= 0)
			mask |= UINT32_C(1) << i;
	return mask;
}

/* Everything that a message does; false if the connection is over. */
static bool
follow(struct follower *follower, const struct wire_message *message)
{
	struct follower_event event = {.type = (enum follower_event_type)99, .fd = 99999};
	enum follower_state before = follower->state;
	struct ivshmem_error error = {0};
	int r = follower_step(follower, message, &event, &error);

	if (r < 0) {
		DEMAND(r == -EPROTO || r == -EPROTONOSUPPORT);
		DEMAND(r != -EPROTONOSUPPORT || before == FOLLOWER_VERSION);
		DEMAND(follower->state == FOLLOWER_FAILED);
		DEMAND(error.code == r && error.message[0] != '\0');
		DEMAND(event.fd == 99999);
		DEMAND(message->fd < 0 || fcntl(message->fd, F_GETFD) < 0);
		return false;
	}
	DEMAND(follower->state >= before && follower->state != FOLLOWER_FAILED);
	DEMAND(follower->either || !follower->is_2010);
	if (before == FOLLOWER_ID_LAST || follower->state == FOLLOWER_ID_LAST) {
		/* The memory came before the id, which nothing but an id follows. */
		DEMAND(follower->either && (message->fd >= 0) == (before == FOLLOWER_VERSION));
		DEMAND(event.type ==
			(message->fd >= 0 ? FOLLOWER_EVENT_MEMORY : FOLLOWER_EVENT_NONE));
		DEMAND(event.fd == message->fd && (message->fd < 0 || message->number == -1));
		DEMAND(message->fd >= 0 ||
			(follower->state == FOLLOWER_RUNNING && follower->is_2010 &&
				follower->id == message->number));
		if (event.fd >= 0)
			DEMAND(close(event.fd) == 0);
		return true;
	}
	if (follower->is_2010 && before == FOLLOWER_ID) {
		/* The id was the message before this one. */
		DEMAND(follower->id == 0 && message->fd >= 0);
		before = FOLLOWER_MEMORY;
	}
	switch (event.type) {
	case FOLLOWER_EVENT_MEMORY:
		DEMAND(before == FOLLOWER_MEMORY && follower->state == FOLLOWER_RUNNING);
		DEMAND(message->number == -1 && event.fd == message->fd);
		break;
	case FOLLOWER_EVENT_VECTOR:
		DEMAND(before >= FOLLOWER_MEMORY);
		DEMAND(event.peer == message->number && event.fd == message->fd);
		break;
	case FOLLOWER_EVENT_LEFT:
		DEMAND(before >= FOLLOWER_MEMORY && event.fd == -1);
		DEMAND(event.peer == message->number && event.peer != follower->id);
		break;
	case FOLLOWER_EVENT_NONSENSE:
		DEMAND(before >= FOLLOWER_MEMORY && event.fd == -1 && error.message[0] != '\0');
		break;
	case FOLLOWER_EVENT_NONE:
		DEMAND(before < FOLLOWER_MEMORY && event.fd == -1 && message->fd == -1);
		DEMAND(before != FOLLOWER_VERSION || message->number == 0 || follower->is_2010);
		DEMAND(before != FOLLOWER_VERSION ||
			follower->state == (follower->is_2010 ? FOLLOWER_MEMORY : FOLLOWER_ID));
		DEMAND(follower->state != FOLLOWER_MEMORY || follower->id == message->number);
		break;
	default:
		DEMAND(false);
	}
	if (event.fd >= 0)
		DEMAND(close(event.fd) == 0);
	else
		DEMAND(message->fd < 0 || fcntl(message->fd, F_GETFD) < 0);
	return true;
}

/* ---- by hand -------------------------------------------------------------------------------- */

static void
feed(struct wire_receiver *receiver, struct follower *follower, const uint8_t *bytes, size_t length,
	unsigned n_fds)
{
	int fds[FDS_MAX];

	for (unsigned i = 0; i < n_fds; i++) {
		fds[i] = dup(null_fd);
		DEMAND(fds[i] >= 0);
	}
	/* As a socket would: never more than wanted, all descriptors with the first read. */
	do {
		size_t wanted = wire_receiver_wants(receiver);
		struct wire_message message;
		int r;

		DEMAND(wanted >= 1 && wanted <= 8);
		if (wanted > length)
			wanted = length;
		r = wire_receiver_feed(receiver, bytes, wanted, fds, n_fds, &message);
		DEMAND(r == 0 || r == 1);
		if (r == 1)
			follow(follower, &message);
		n_fds = 0;
		bytes += wanted;
		length -= wanted;
	} while (length > 0);
}

/* ---- through a socket ----------------------------------------------------------------------- */

static bool
receive(struct wire_receiver *receiver, struct follower *follower, int socket)
{
	struct wire_message message;
	int r;

	while ((r = wire_receive(receiver, socket, &message)) == 1)
		if (!follow(follower, &message))
			return false;
	DEMAND(r == -EAGAIN || r == -EPROTO);
	return r == -EAGAIN;
}

static void
send_piece(int socket, const uint8_t *bytes, size_t length, unsigned n_fds)
{
	int fds[FDS_MAX];

	for (unsigned i = 0; i < n_fds; i++)
		fds[i] = null_fd;
	DEMAND(fdpass_send(socket, bytes, length, fds, n_fds) == (ssize_t)length);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_receiver receiver;
	struct follower follower;
	int pair[2] = {-1, -1}, first = -1;
	uint32_t before;
	bool alive = true;

	if (null_fd < 0)
		null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (size < 1)
		return 0;
	before = open_fds(&first);
	wire_receiver_init(&receiver);
	if (data[0] & 0x80)
		follower_init_either(&follower);
	else
		follower_init(&follower);
	if (data[0] & 1)
		DEMAND(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
	data++;
	size--;
	while (alive && size >= 2) {
		size_t length = (data[0] & 15u) + 1;
		unsigned n_fds = data[0] >> 4 & 7;

		data++;
		size--;
		if (length > size)
			length = size;
		if (pair[0] >= 0) {
			send_piece(pair[0], data, length, n_fds);
			alive = receive(&receiver, &follower, pair[1]);
		} else {
			/* Goes on after a failure, which the follower must not mind. */
			feed(&receiver, &follower, data, length, n_fds);
		}
		data += length;
		size -= length;
	}
	wire_receiver_done(&receiver);
	fd_close(pair[0]);
	fd_close(pair[1]);
	DEMAND(open_fds(&first) == before);
	return 0;
}
