/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_client.h>

#include <fdpass.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void
close_all(const int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		close(fds[i]);
}

/* All of it, the descriptors with its first byte. */
static int
send_all(int socket, const uint8_t *bytes, size_t length, const int *fds, uint32_t n_fds)
{
	while (length > 0) {
		ssize_t n = fdpass_send(socket, bytes, length, fds, n_fds);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		bytes += n;
		length -= (size_t)n;
		n_fds = 0;
	}
	return 0;
}

int
vfio_client_send(struct vfio_client *client, const struct vfio_exchange *exchange)
{
	struct vfio_user_header header = {
		.id = (uint16_t)++client->requests,
		.command = exchange->command,
		.size = (uint32_t)(sizeof(header) + exchange->head_length + exchange->length),
		.flags = VFIO_USER_TYPE_COMMAND | exchange->flags,
	};
	uint8_t *bytes = malloc(header.size), *end = bytes;
	int r;

	if (!bytes)
		return -ENOMEM;
	end = mempcpy(end, &header, sizeof(header));
	if (exchange->head_length > 0)
		end = mempcpy(end, exchange->head, exchange->head_length);
	if (exchange->length > 0)
		memcpy(end, exchange->data, exchange->length);
	r = send_all(client->socket, bytes, header.size, exchange->fds, exchange->n_fds);
	free(bytes);
	return r;
}

/* Exactly `length` bytes, and the descriptors that came with them. */
static int
receive(struct vfio_client *client, void *data, size_t length, struct vfio_exchange *exchange)
{
	size_t have = 0;

	while (have < length) {
		int fds[VFIO_CLIENT_MAX_FDS];
		size_t n_fds = 0;
		ssize_t n = fdpass_recv(client->socket, (char *)data + have, length - have, fds,
			exchange->reply_fds ? VFIO_CLIENT_MAX_FDS : 0, &n_fds, NULL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		have += (size_t)n;
		if (exchange->reply_n_fds + n_fds > VFIO_CLIENT_MAX_FDS) {
			close_all(fds, (uint32_t)n_fds);
			return -EPROTO;
		}
		if (n_fds > 0)
			memcpy(exchange->reply_fds + exchange->reply_n_fds, fds,
				n_fds * sizeof(int));
		exchange->reply_n_fds += (uint32_t)n_fds;
	}
	return 0;
}

static int
receive_reply(struct vfio_client *client, struct vfio_exchange *exchange)
{
	struct vfio_user_header header;
	size_t length;
	int r = receive(client, &header, sizeof(header), exchange);

	if (r < 0)
		return r;
	if (header.id != (uint16_t)client->requests || header.command != exchange->command ||
		header.size < sizeof(header))
		return -EPROTO;
	length = header.size - sizeof(header);
	if (header.flags == (VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR))
		return length == 0 && header.error > 0 ? -(int)header.error : -EPROTO;
	if (header.flags != VFIO_USER_TYPE_REPLY || header.error != 0 ||
		length < exchange->reply_head_length ||
		length - exchange->reply_head_length > exchange->reply_room)
		return -EPROTO;
	exchange->reply_length = length - exchange->reply_head_length;
	r = receive(client, exchange->head, exchange->reply_head_length, exchange);
	return r < 0 ? r : receive(client, exchange->reply_data, exchange->reply_length, exchange);
}

int
vfio_client_receive(struct vfio_client *client, struct vfio_exchange *exchange)
{
	int r = receive_reply(client, exchange);

	if (r < 0)
		close_all(exchange->reply_fds, exchange->reply_n_fds);
	return r;
}

static int
call(struct vfio_client *client, struct vfio_exchange *exchange)
{
	int r;

	pthread_mutex_lock(&client->lock);
	r = vfio_client_send(client, exchange);
	if (r == 0)
		r = vfio_client_receive(client, exchange);
	pthread_mutex_unlock(&client->lock);
	return r;
}

/* A request whose reply has the same structure at its head. */
static struct vfio_exchange
about(uint16_t command, void *head, size_t length)
{
	return (struct vfio_exchange){.command = command,
		.head = head,
		.head_length = length,
		.reply_head_length = length};
}

static int
ask(struct vfio_client *client, uint16_t command, void *head, size_t length)
{
	struct vfio_exchange exchange = about(command, head, length);

	return call(client, &exchange);
}

/* ---- connecting ------------------------------------------------------------------------------- */

int
vfio_client_connect(struct vfio_client *client, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	*client = (struct vfio_client){.socket = -1};
	pthread_mutex_init(&client->lock, NULL);
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	client->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->socket < 0 ||
		connect(client->socket, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return 0;
}

void
vfio_client_close(struct vfio_client *client)
{
	if (client->socket >= 0)
		close(client->socket);
	client->socket = -1;
	pthread_mutex_destroy(&client->lock);
}

int
vfio_client_version(
	struct vfio_client *client, const char *capabilities, char *ret_text, size_t room)
{
	struct vfio_user_version version = {VFIO_USER_MAJOR, VFIO_USER_MINOR};
	struct vfio_exchange exchange = about(VFIO_USER_VERSION, &version, sizeof(version));

	exchange.data = capabilities;
	exchange.length = strlen(capabilities) + 1;
	exchange.reply_data = ret_text;
	exchange.reply_room = room;
	return call(client, &exchange);
}

/* ---- what there is ---------------------------------------------------------------------------- */

int
vfio_client_region(struct vfio_client *client, uint32_t region, uint64_t *ret_size, int *ret_fd)
{
	struct vfio_user_region_info info = {.argsz = sizeof(info), .index = region};
	int fds[VFIO_CLIENT_MAX_FDS];
	struct vfio_exchange exchange =
		about(VFIO_USER_DEVICE_GET_REGION_INFO, &info, sizeof(info));
	int r;

	exchange.reply_fds = fds;
	r = call(client, &exchange);
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
	struct vfio_exchange exchange =
		about(VFIO_USER_DEVICE_GET_REGION_IO_FDS, &head, sizeof(head));
	int r;

	exchange.reply_data = entries;
	exchange.reply_room = VFIO_CLIENT_MAX_FDS * sizeof(*entries);
	exchange.reply_fds = fds;
	r = call(client, &exchange);
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
	if (r < 0) {
		close_all(fds, exchange.reply_n_fds);
		return r;
	}
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
	struct vfio_exchange exchange = about(VFIO_USER_REGION_READ, &access, sizeof(access));
	int r;

	exchange.reply_data = data;
	exchange.reply_room = length;
	r = call(client, &exchange);
	return r == 0 && exchange.reply_length != length ? -EPROTO : r;
}

int
vfio_client_write(struct vfio_client *client, uint32_t region, uint64_t offset, const void *data,
	uint32_t length)
{
	struct vfio_user_region_access access = {offset, region, length};
	struct vfio_exchange exchange = about(VFIO_USER_REGION_WRITE, &access, sizeof(access));

	exchange.data = data;
	exchange.length = length;
	return call(client, &exchange);
}

int
vfio_client_reset(struct vfio_client *client)
{
	return ask(client, VFIO_USER_DEVICE_RESET, NULL, 0);
}

/* ---- interrupts ------------------------------------------------------------------------------- */

int
vfio_client_set_irq(
	struct vfio_client *client, uint32_t action, uint32_t index, uint32_t number, int eventfd)
{
	struct vfio_user_irq_set set = {
		sizeof(set), VFIO_USER_IRQ_SET_DATA_EVENTFD | action, index, number, 1};

	return call(client, &(struct vfio_exchange){.command = VFIO_USER_DEVICE_SET_IRQS,
				    .head = &set,
				    .head_length = sizeof(set),
				    .fds = &eventfd,
				    .n_fds = 1});
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
	struct vfio_exchange exchange = about(VFIO_USER_MIG_DATA_READ, &head, sizeof(head));
	int r;

	exchange.reply_data = data;
	exchange.reply_room = length;
	r = call(client, &exchange);
	if (r == 0)
		*ret_length = head.size;
	return r;
}

int
vfio_client_write_state(struct vfio_client *client, const void *data, uint32_t length)
{
	struct vfio_user_mig_data head = {(uint32_t)sizeof(head) + length, length};

	return call(client, &(struct vfio_exchange){.command = VFIO_USER_MIG_DATA_WRITE,
				    .head = &head,
				    .head_length = sizeof(head),
				    .data = data,
				    .length = length});
}
