/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Any bytes as the record of a whole server. What is refused says why. What is accepted is written again as the
 * same bytes, and serves. In both cases, no descriptor is left but those that came with the record.
 *
 * The first byte says whether the length and the number of descriptors are to be put right, so that more or fewer
 * fields are not the end of it. The next one says how many eventfds go along, and the third how many sockets of
 * clients after them.
 */

#include <fuzz.h>

#include <server/record.h>
#include <server/server.h>

#include <base/fd.h>
#include <base/log.h>
#include <loop/loop.h>

#include <ivshmem/common.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define HEADER    3
#define PUT_RIGHT 1
#define LENGTH_AT 16
#define FIRST_FD  400 /* of those that go along: out of the way of all others */
#define N_DOORS   4
#define N_VECTORS 2
#define ROUNDS    8

static void
write_nothing(void *data, enum log_level level, const char *message)
{
	(void)data;
	(void)level;
	(void)message;
}

static const struct log log_nowhere = {.level = LOG_LEVEL_DEBUG, .write = write_nothing};

/* As in tests/unit/server/whole_server.c, whose record is in the corpus. */
static struct server_config
make_config(void)
{
	static struct server_seat seats[2];
	static int doors[N_DOORS], memory = -1;
	const sa_family_t family = AF_UNIX;

	if (memory < 0) {
		memory = memfd_create("fuzz", MFD_CLOEXEC);
		DEMAND(memory >= 0);
		for (int i = 0; i < N_DOORS; i++) {
			doors[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
			DEMAND(doors[i] >= 0);
			/* At an address that the kernel chooses. */
			DEMAND(bind(doors[i], (const struct sockaddr *)&family, sizeof(family)) ==
				0);
			DEMAND(listen(doors[i], 1) == 0);
		}
		seats[0] = (struct server_seat){9, doors[2]};
		seats[1] = (struct server_seat){7, doors[3]};
	}
	return (struct server_config){
		.log = &log_nowhere,
		.listen_fd = doors[0],
		.observer_listen_fd = doors[1],
		.max_observers = 3,
		.seats = seats,
		.n_seats = 2,
		.memory_fd = memory,
		.n_vectors = N_VECTORS,
	};
}

static int
put_at(int fd, size_t i)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD + (int)i);

	DEMAND(moved == FIRST_FD + (int)i);
	return moved;
}

/* Returns the other end of the sockets. */
static int
open_fds(struct record *record, size_t n_eventfds)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), ends[2];

	DEMAND(event >= 0);
	DEMAND(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
	for (size_t i = 0; i < record->n_fds; i++)
		record->fds[i] = put_at(i < n_eventfds ? event : ends[0], i);
	fd_close(event);
	fd_close(ends[0]);
	return ends[1];
}

static void
serve(struct server *server, struct loop *loop, const struct record *record)
{
	struct record again;

	DEMAND(server_write(server, &again) == 0);
	DEMAND(again.size == record->size && again.n_fds == record->n_fds);
	DEMAND(memcmp(again.bytes, record->bytes, record->size) == 0);
	DEMAND(memcmp(again.fds, record->fds, record->n_fds * sizeof(int)) == 0);
	record_done(&again);
	for (int i = 0; i < ROUNDS; i++)
		DEMAND(loop_dispatch(loop, 0) >= 0);
	server_free(server);
}

static void
go_on(struct record *record, size_t n_eventfds)
{
	struct server_config config = make_config();
	struct ivshmem_error error = {0};
	struct server *server = NULL;
	int other = open_fds(record, n_eventfds), before, after, r;

	DEMAND(loop_new(&config.loop) == 0);
	before = fcntl(other, F_DUPFD_CLOEXEC, 0);
	fd_close(before);
	r = server_continue(&server, &config, record, &error);
	if (r == 0) {
		serve(server, config.loop, record);
		for (size_t i = 0; i < record->n_fds; i++)
			DEMAND(fcntl(record->fds[i], F_GETFD) < 0);
	} else {
		DEMAND(!server && error.code == r && error.message[0] != '\0');
		DEMAND(r == -EINVAL || r == -EPROTONOSUPPORT);
	}
	after = fcntl(other, F_DUPFD_CLOEXEC, 0);
	fd_close(after);
	DEMAND(after == before);
	loop_free(config.loop);
	fd_close(other);
	for (size_t i = 0; i < record->n_fds; i++)
		fd_close(record->fds[i]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record record = {0};
	uint64_t right[2];

	if (size < HEADER)
		return 0;
	record.size = size - HEADER;
	record.n_fds = (size_t)data[1] + data[2];
	record.bytes = malloc(record.size + (record.size == 0));
	record.fds = malloc((record.n_fds + 1) * sizeof(*record.fds));
	DEMAND(record.bytes && record.fds);
	memcpy(record.bytes, data + HEADER, record.size);
	if ((data[0] & PUT_RIGHT) && record.size >= LENGTH_AT + sizeof(right)) {
		right[0] = htole64(record.size);
		right[1] = htole64(record.n_fds);
		memcpy(record.bytes + LENGTH_AT, right, sizeof(right));
	}
	go_on(&record, data[1]);
	record_done(&record);
	return 0;
}
