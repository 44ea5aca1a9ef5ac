/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A whole server, written down and read back, and records of servers that are wrong. What clients see of it is
 * tested in tests/protocol, ids and rosters in record.c and tests/model.
 */

#include <server/server.h>

#include <loop/loop.h>
#include <server/record.h>

#include <fdpass.h>
#include <test.h>

#include <ivshmem/common.h>

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIELD     sizeof(uint64_t)
#define N_DOORS   4 /* members, observers, two seats */
#define N_CLIENTS 4
#define N_VECTORS 2

enum { MEMBERS, OBSERVERS, SEAT_7, SEAT_9 };

/* The fields before the record of the ids. */
enum {
	NAME,
	VERSION,
	LENGTH,
	N_FDS,
	VECTORS,
	SEATS,
	SEAT_A,
	SEAT_B,
	PREPARED,
	PREPARED_ID,
	IDS_SIZE,
	IDS_FDS
};

/* Two members, an observer, and the holder of one of two seats. */
static struct stage {
	struct loop *loop;
	struct server *server;
	struct server_seat seats[2];
	struct server_config config;
	int listeners[N_DOORS], clients[N_CLIENTS], memory;
	struct record record; /* of the server */
} stage;

static struct sockaddr_un
address_of(int door)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%d", test_directory(), door);
	return address;
}

static void
stage_connect(int client, int door)
{
	struct sockaddr_un address = address_of(door);

	stage.clients[client] = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK_SYS(
		connect(stage.clients[client], (const struct sockaddr *)&address, sizeof(address)));
	for (int i = 0; i < 5; i++)
		CHECK(loop_dispatch(stage.loop, 0) >= 0);
}

void
test_before(void)
{
	stage = (struct stage){0};
	CHECK_EQ(loop_new(&stage.loop), 0);
	stage.memory = CHECK_SYS(memfd_create("test", MFD_CLOEXEC));
	for (int i = 0; i < N_DOORS; i++) {
		struct sockaddr_un address = address_of(i);

		stage.listeners[i] =
			CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
		CHECK_SYS(bind(
			stage.listeners[i], (const struct sockaddr *)&address, sizeof(address)));
		CHECK_SYS(listen(stage.listeners[i], SOMAXCONN));
	}
	stage.seats[0] = (struct server_seat){9, stage.listeners[SEAT_9]};
	stage.seats[1] = (struct server_seat){7, stage.listeners[SEAT_7]};
	stage.config = (struct server_config){
		.loop = stage.loop,
		.listen_fd = stage.listeners[MEMBERS],
		.observer_listen_fd = stage.listeners[OBSERVERS],
		.max_observers = 3,
		.seats = stage.seats,
		.n_seats = 2,
		.memory_fd = stage.memory,
		.n_vectors = N_VECTORS,
	};
	CHECK_EQ(server_new(&stage.server, &stage.config), 0);
	stage_connect(0, MEMBERS);
	stage_connect(1, OBSERVERS);
	stage_connect(2, SEAT_7);
	stage_connect(3, MEMBERS);
	CHECK_EQ(server_write(stage.server, &stage.record), 0);
}

void
test_after(void)
{
	record_done(&stage.record);
	server_free(stage.server);
	loop_free(stage.loop);
	for (int i = 0; i < N_CLIENTS; i++)
		CHECK_SYS(close(stage.clients[i]));
	for (int i = 0; i < N_DOORS; i++)
		CHECK_SYS(close(stage.listeners[i]));
	CHECK_SYS(close(stage.memory));
}

/* With descriptors of its own, for a server that takes them over. */
static struct record
copy_record(void)
{
	struct record copy = stage.record;

	copy.bytes = malloc(copy.size + FIELD);
	copy.fds = calloc(copy.n_fds + 1, sizeof(int));
	CHECK(copy.bytes && copy.fds);
	memcpy(copy.bytes, stage.record.bytes, copy.size);
	for (size_t i = 0; i < copy.n_fds; i++)
		copy.fds[i] = CHECK_SYS(dup(stage.record.fds[i]));
	return copy;
}

static void
put(struct record *record, size_t field, uint64_t value)
{
	value = htole64(value);
	memcpy(record->bytes + field * FIELD, &value, FIELD);
}

/* The server of the stage is still there: the new one has a loop of its own. */
static struct server *
go_on(const struct record *record, struct loop *loop)
{
	struct server_config config = stage.config;
	struct ivshmem_error error = {0};
	struct server *server = NULL;

	config.loop = loop;
	if (server_continue(&server, &config, record, &error) < 0)
		FAIL("%s", error.message);
	return server;
}

/* What is refused leaves nothing behind but descriptors, perhaps. */
static void
check_refused(struct record *record, const struct server_config *config, const char *words)
{
	struct ivshmem_error error = {0};
	struct server *server = NULL;
	struct server_config own = *config;
	int r;

	CHECK_EQ(loop_new(&own.loop), 0);
	r = server_continue(&server, &own, record, &error);
	CHECK(r < 0);
	CHECK(!server);
	CHECK_EQ(error.code, r);
	if (!strstr(error.message, words))
		FAIL("finding \"%s\" in \"%s\"", words, error.message);
	loop_free(own.loop);
	for (size_t i = 0; i < record->n_fds; i++)
		close(record->fds[i]);
	record_done(record);
}

static void
check_fault(size_t field, uint64_t value, const char *words)
{
	struct record record = copy_record();

	put(&record, field, value);
	check_refused(&record, &stage.config, words);
}

TEST(it_goes_on_as_it_was)
{
	struct record copy = copy_record(), again;
	struct loop *loop;
	struct server *server;
	int client;

	CHECK_EQ(loop_new(&loop), 0);
	server = go_on(&copy, loop);
	CHECK_EQ(server_n_peers(server), 3);
	CHECK_EQ(server_write(server, &again), 0);
	CHECK_EQ(again.size, copy.size);
	CHECK_EQ(again.n_fds, copy.n_fds);
	CHECK(memcmp(again.bytes, copy.bytes, copy.size) == 0);
	record_done(&again);
	record_done(&copy);
	/* The first one lets go; nobody notices, until the second one does, too. */
	stage.server = server_free(stage.server);
	CHECK(loop_dispatch(loop, 0) >= 0);
	client = stage.clients[0];
	CHECK_EQ(server_n_peers(server), 3);
	CHECK_SYS(shutdown(client, SHUT_RDWR));
	for (int i = 0; i < 5; i++)
		CHECK(loop_dispatch(loop, 0) >= 0);
	CHECK_EQ(server_n_peers(server), 2);
	server_free(server);
	loop_free(loop);
}

TEST(no_field_may_be_anything)
{
	unsigned open_fds = test_open_fds();

	for (size_t field = 0; field < stage.record.size / FIELD; field++)
		check_fault(field, UINT64_MAX, "");
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(wrong_fields_are_named)
{
	unsigned open_fds = test_open_fds();

	check_fault(NAME, 1, "the record of the server is wrong: the name is 1");
	check_fault(VERSION, 2, "the record of the server has version 2, and this server knows 1");
	check_fault(VECTORS, 3, "the number of vectors is 3, and must be 2 to 2");
	check_fault(SEATS, 1, "the number of seats is 1");
	check_fault(SEAT_A, 8, "the seats are others");
	check_fault(SEAT_B, 7, "the seat is 7, and must be 8 to 65535");
	check_fault(PREPARED, 0, "");
	check_fault(PREPARED_ID, 0, "an id that is in use is free, or is used twice");
	check_fault(PREPARED_ID, 9, "an id that is in use is free, or is used twice");
	check_fault(PREPARED_ID, 100, "an id that is in use is free, or is used twice");
	check_fault(IDS_SIZE, 7, "a record in it goes beyond its end");
	check_fault(IDS_SIZE, stage.record.size, "a record in it goes beyond its end");
	check_fault(IDS_FDS, 1, "the record of the ids is wrong: the number of descriptors is 0");
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(cut_off_anywhere)
{
	unsigned open_fds = test_open_fds();

	for (size_t size = 0; size < stage.record.size; size += FIELD) {
		struct record record = copy_record();

		record.size = size;
		if (size >= (LENGTH + 1) * FIELD)
			put(&record, LENGTH, size);
		check_refused(&record, &stage.config, "");
	}
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(descriptors_of_another_kind)
{
	unsigned open_fds = test_open_fds();

	for (size_t i = 0; i < stage.record.n_fds; i++) {
		struct record record = copy_record();

		CHECK_SYS(dup2(stage.memory, record.fds[i]));
		check_refused(&record, &stage.config,
			i < stage.record.n_fds - N_CLIENTS
				? "a descriptor that goes along is no eventfd"
				: "its descriptor is no UNIX stream socket");
	}
	/* One too few and one too many, with a header that says so. */
	for (int more = -1; more <= 1; more += 2) {
		struct record record = copy_record();

		if (more < 0)
			CHECK_SYS(close(record.fds[record.n_fds - 1]));
		else
			record.fds[record.n_fds] = CHECK_SYS(eventfd(0, EFD_CLOEXEC));
		record.n_fds += (size_t)more;
		put(&record, N_FDS, record.n_fds);
		check_refused(&record, &stage.config,
			more < 0 ? "no socket goes along" : "more descriptors go along");
	}
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(a_server_that_is_set_up_otherwise)
{
	struct server_config config = stage.config;
	struct record record = copy_record();

	config.max_observers = 0;
	check_refused(&record, &config, "there is no socket for observers any more");

	config = stage.config;
	config.n_seats = 1;
	record = copy_record();
	check_refused(&record, &config, "the number of seats is 2, and must be 1 to 1");

	config = stage.config;
	config.n_vectors = 1;
	record = copy_record();
	check_refused(&record, &config, "the number of vectors is 2, and must be 1 to 1");
}
