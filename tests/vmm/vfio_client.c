/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_client.h>

#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

/* What a request consists of, and where its reply goes. */
struct exchange {
	uint16_t command;
	const void *head; /* of the body, always copied */
	size_t head_length;
	const void *data; /* behind it */
	size_t length;
	const int *fds;
	uint32_t n_fds;

	void *reply_head;
	size_t reply_head_length;
	void *reply_data; /* behind it, as much as there is */
	size_t reply_room, reply_length;
	int *reply_fds; /* NULL: none are expected */
	uint32_t reply_n_fds;
};

static int
send_request(struct vfio_client *client, struct vfio_user_header *header,
	const struct exchange *exchange)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * VFIO_USER_MAX_FDS)];
		struct cmsghdr alignment;
	} control = {.bytes = {0}};
	struct iovec iov[] = {
		{header, sizeof(*header)},
		{(void *)(uintptr_t)exchange->head, exchange->head_length},
		{(void *)(uintptr_t)exchange->data, exchange->length},
	};
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 3};
	size_t left = header->size;

	if (exchange->n_fds > 0) {
		size_t length = exchange->n_fds * sizeof(int);

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(length);
		*CMSG_FIRSTHDR(&message) = (struct cmsghdr){.cmsg_len = CMSG_LEN(length),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&message)), exchange->fds, length);
	}
	while (left > 0) {
		ssize_t n = sendmsg(client->socket, &message, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		left -= (size_t)n;
		message.msg_control = NULL;
		message.msg_controllen = 0;
		for (size_t i = 0, done = (size_t)n; i < 3 && done > 0; i++) {
			size_t part = done < iov[i].iov_len ? done : iov[i].iov_len;

			if (part == 0)
				continue;
			iov[i].iov_base = (char *)iov[i].iov_base + part;
			iov[i].iov_len -= part;
			done -= part;
		}
	}
	return 0;
}

/* Exactly `length` bytes, and the descriptors that came with them, or none of those. */
static int
receive(struct vfio_client *client, void *data, size_t length, struct exchange *exchange)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * VFIO_CLIENT_MAX_FDS)];
		struct cmsghdr alignment;
	} control;
	size_t have = 0;

	while (have < length) {
		struct iovec iov = {have > 0 ? (char *)data + have : data, length - have};
		struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t n;

		if (exchange->reply_fds) {
			message.msg_control = control.bytes;
			message.msg_controllen = sizeof(control.bytes);
		}
		n = recvmsg(client->socket, &message, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		have += (size_t)n;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
			size_t bytes = c->cmsg_len - CMSG_LEN(0);

			if (exchange->reply_n_fds + bytes / sizeof(int) > VFIO_CLIENT_MAX_FDS)
				return -EPROTO;
			memcpy(exchange->reply_fds + exchange->reply_n_fds, CMSG_DATA(c), bytes);
			exchange->reply_n_fds += (uint32_t)(bytes / sizeof(int));
		}
	}
	return 0;
}

static int
receive_reply(struct vfio_client *client, const struct vfio_user_header *request,
	struct exchange *exchange)
{
	struct vfio_user_header header;
	size_t length;
	int r = receive(client, &header, sizeof(header), exchange);

	if (r < 0)
		return r;
	if (header.id != request->id || header.command != request->command ||
		(header.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_REPLY ||
		header.size < sizeof(header))
		return -EPROTO;
	length = header.size - sizeof(header);
	if (header.flags & VFIO_USER_ERROR)
		return length == 0 && header.error > 0 ? -(int)header.error : -EPROTO;
	if (length < exchange->reply_head_length ||
		length - exchange->reply_head_length > exchange->reply_room)
		return -EPROTO;
	exchange->reply_length = length - exchange->reply_head_length;
	r = receive(client, exchange->reply_head, exchange->reply_head_length, exchange);
	return r < 0 ? r : receive(client, exchange->reply_data, exchange->reply_length, exchange);
}

static int
call(struct vfio_client *client, struct exchange *exchange)
{
	struct vfio_user_header header = {
		.command = exchange->command,
		.size = (uint32_t)(sizeof(header) + exchange->head_length + exchange->length),
		.flags = VFIO_USER_TYPE_COMMAND,
	};
	int r;

	pthread_mutex_lock(&client->lock);
	header.id = (uint16_t)++client->requests;
	r = send_request(client, &header, exchange);
	if (r == 0)
		r = receive_reply(client, &header, exchange);
	pthread_mutex_unlock(&client->lock);
	for (uint32_t i = 0; r < 0 && i < exchange->reply_n_fds; i++)
		fd_close(exchange->reply_fds[i]);
	return r;
}

/* A request whose reply has the same structure at its head. */
static int
ask(struct vfio_client *client, uint16_t command, void *head, size_t length)
{
	return call(client, &(struct exchange){.command = command,
				    .head = head,
				    .head_length = length,
				    .reply_head = head,
				    .reply_head_length = length});
}

/* ---- connecting ------------------------------------------------------------------------------- */

static int
negotiate(struct vfio_client *client)
{
	static const char capabilities[] = "{\"capabilities\":{\"max_msg_fds\":128,"
					   "\"max_data_xfer_size\":1048576}}";
	struct vfio_user_version version = {VFIO_USER_MAJOR, VFIO_USER_MINOR};
	char reply[4096];

	return call(client, &(struct exchange){.command = VFIO_USER_VERSION,
				    .head = &version,
				    .head_length = sizeof(version),
				    .data = capabilities,
				    .length = sizeof(capabilities),
				    .reply_head = &version,
				    .reply_head_length = sizeof(version),
				    .reply_data = reply,
				    .reply_room = sizeof(reply)});
}

int
vfio_client_connect(struct vfio_client *client, const char *path, struct ivshmem_error *reterr)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int r;

	*client = (struct vfio_client){.socket = -1};
	pthread_mutex_init(&client->lock, NULL);
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(reterr, -ENAMETOOLONG, "the path %s is too long", path);
	strcpy(address.sun_path, path);
	client->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->socket < 0 ||
		connect(client->socket, (struct sockaddr *)&address, sizeof(address)) < 0)
		return error_set(reterr, -errno, "cannot connect to %s: %s", path, strerror(errno));
	r = negotiate(client);
	return r < 0 ? error_set(reterr, r, "%s does not agree: %s", path, strerror(-r)) : 0;
}

void
vfio_client_close(struct vfio_client *client)
{
	client->socket = fd_close(client->socket);
	pthread_mutex_destroy(&client->lock);
}

/* ---- what there is ---------------------------------------------------------------------------- */

int
vfio_client_region(struct vfio_client *client, uint32_t region, uint64_t *ret_size, int *ret_fd)
{
	struct vfio_user_region_info info = {.argsz = sizeof(info), .index = region};
	int fds[VFIO_CLIENT_MAX_FDS];
	struct exchange exchange = {.command = VFIO_USER_DEVICE_GET_REGION_INFO,
		.head = &info,
		.head_length = sizeof(info),
		.reply_head = &info,
		.reply_head_length = sizeof(info),
		.reply_fds = fds};
	int r = call(client, &exchange);

	if (r < 0)
		return r;
	*ret_size = info.size;
	*ret_fd = exchange.reply_n_fds > 0 ? fds[0] : -1;
	return 0;
}

int
vfio_client_irqs(struct vfio_client *client, uint32_t index, uint32_t *ret_count)
{
	struct vfio_user_irq_info info = {.argsz = sizeof(info), .index = index};
	int r = ask(client, VFIO_USER_DEVICE_GET_IRQ_INFO, &info, sizeof(info));

	if (r == 0)
		*ret_count = info.count;
	return r;
}

int
vfio_client_io_fds(struct vfio_client *client, uint32_t region, uint32_t first,
	struct vfio_user_io_fd entries[VFIO_CLIENT_MAX_FDS], int fds[VFIO_CLIENT_MAX_FDS],
	uint32_t *ret_n, uint32_t *ret_total)
{
	struct vfio_user_io_fds head = {
		.argsz = (uint32_t)(sizeof(head) + VFIO_CLIENT_MAX_FDS * sizeof(*entries)),
		.index = region,
		.count = first,
	};
	struct exchange exchange = {.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
		.head = &head,
		.head_length = sizeof(head),
		.reply_head = &head,
		.reply_head_length = sizeof(head),
		.reply_data = entries,
		.reply_room = VFIO_CLIENT_MAX_FDS * sizeof(*entries),
		.reply_fds = fds};
	int r = call(client, &exchange);

	if (r < 0)
		return r;
	if (head.count != exchange.reply_n_fds ||
		exchange.reply_length != head.count * sizeof(*entries))
		r = -EPROTO;
	for (uint32_t i = 0; i < head.count && r == 0; i++)
		if (entries[i].fd_index != i || entries[i].size != sizeof(uint32_t) ||
			entries[i].type != VFIO_USER_IO_FD_IOEVENTFD ||
			(entries[i].flags & ~VFIO_USER_IO_FD_DATAMATCH) != 0)
			r = -EPROTO;
	for (uint32_t i = 0; i < exchange.reply_n_fds && r < 0; i++)
		fd_close(fds[i]);
	if (r < 0)
		return r;
	*ret_n = head.count;
	*ret_total = (head.argsz - (uint32_t)sizeof(head)) / (uint32_t)sizeof(*entries);
	return 0;
}

/* ---- accesses --------------------------------------------------------------------------------- */

int
vfio_client_read(
	struct vfio_client *client, uint32_t region, uint64_t offset, void *data, uint32_t length)
{
	struct vfio_user_region_access access = {offset, region, length};
	struct exchange exchange = {.command = VFIO_USER_REGION_READ,
		.head = &access,
		.head_length = sizeof(access),
		.reply_head = &access,
		.reply_head_length = sizeof(access),
		.reply_data = data,
		.reply_room = length};
	int r = call(client, &exchange);

	return r == 0 && exchange.reply_length != length ? -EPROTO : r;
}

int
vfio_client_write(struct vfio_client *client, uint32_t region, uint64_t offset, const void *data,
	uint32_t length)
{
	struct vfio_user_region_access access = {offset, region, length};

	return call(client, &(struct exchange){.command = VFIO_USER_REGION_WRITE,
				    .head = &access,
				    .head_length = sizeof(access),
				    .data = data,
				    .length = length,
				    .reply_head = &access,
				    .reply_head_length = sizeof(access)});
}

int
vfio_client_reset(struct vfio_client *client)
{
	return ask(client, VFIO_USER_DEVICE_RESET, NULL, 0);
}

/* ---- interrupts ------------------------------------------------------------------------------- */

static int
set_irqs(struct vfio_client *client, uint32_t flags, uint32_t index, uint32_t start,
	const int *eventfds, uint32_t n)
{
	struct vfio_user_irq_set set = {
		.argsz = sizeof(set), .flags = flags, .index = index, .start = start, .count = n};

	return call(client, &(struct exchange){.command = VFIO_USER_DEVICE_SET_IRQS,
				    .head = &set,
				    .head_length = sizeof(set),
				    .fds = eventfds,
				    .n_fds = n});
}

int
vfio_client_set_irqs(
	struct vfio_client *client, uint32_t index, uint32_t start, const int *eventfds, uint32_t n)
{
	return set_irqs(client, VFIO_USER_IRQ_SET_DATA_EVENTFD | VFIO_USER_IRQ_SET_ACTION_TRIGGER,
		index, start, eventfds, n);
}

int
vfio_client_set_resample(struct vfio_client *client, int eventfd)
{
	return set_irqs(client, VFIO_USER_IRQ_SET_DATA_EVENTFD | VFIO_USER_IRQ_SET_ACTION_UNMASK,
		VFIO_PCI_INTX_IRQ_INDEX, 0, &eventfd, 1);
}

/* ---- migration -------------------------------------------------------------------------------- */

int
vfio_client_set_state(struct vfio_client *client, uint32_t state)
{
	struct {
		struct vfio_user_feature head;
		struct vfio_user_device_state state;
	} request = {
		.head.argsz = sizeof(request),
		.head.flags = VFIO_USER_FEATURE_SET | VFIO_USER_FEATURE_MIG_DEVICE_STATE,
		.state.device_state = state,
	};

	return ask(client, VFIO_USER_DEVICE_FEATURE, &request, sizeof(request));
}

int
vfio_client_read_state(
	struct vfio_client *client, void *data, uint32_t length, uint32_t *ret_length)
{
	struct vfio_user_mig_data head = {(uint32_t)sizeof(head) + length, length};
	struct exchange exchange = {.command = VFIO_USER_MIG_DATA_READ,
		.head = &head,
		.head_length = sizeof(head),
		.reply_head = &head,
		.reply_head_length = sizeof(head),
		.reply_data = data,
		.reply_room = length};
	int r = call(client, &exchange);

	if (r == 0)
		*ret_length = head.size;
	return r;
}

int
vfio_client_write_state(struct vfio_client *client, const void *data, uint32_t length)
{
	struct vfio_user_mig_data head = {(uint32_t)sizeof(head) + length, length};

	return call(client, &(struct exchange){.command = VFIO_USER_MIG_DATA_WRITE,
				    .head = &head,
				    .head_length = sizeof(head),
				    .data = data,
				    .length = length});
}
