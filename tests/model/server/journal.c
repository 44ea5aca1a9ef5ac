/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A real server with a journal, and random clients that come, go, read, or read nothing. After each
 * round, the journal must lead to the state that the server has. Then journals that are wrong.
 */
#include <server/journal.h>

#include <loop/loop.h>
#include <server/record.h>
#include <server/replay.h>
#include <server/server.h>
#include <server/server_parts.h>

#include <random.h>
#include <test.h>

#include <ivshmem/common.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define N_DOORS   4 /* members, observers, two seats */
#define N_CLIENTS 24
#define N_VECTORS 2

static struct stage {
	struct loop *loop;
	struct server *server;
	struct server_seat seats[2];
	struct server_config config;
	struct journal *journal;
	int listeners[N_DOORS], clients[N_CLIENTS], memory;
} stage;

static struct sockaddr_un
address_of(int door)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%d", test_directory(), door);
	return address;
}

static int
write_server(void *data, struct record *ret_record)
{
	return server_write(*(struct server **)data, ret_record);
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
	for (int i = 0; i < N_CLIENTS; i++)
		stage.clients[i] = -1;
	stage.seats[0] = (struct server_seat){9, stage.listeners[2]};
	stage.seats[1] = (struct server_seat){7, stage.listeners[3]};
	stage.config = (struct server_config){
		.loop = stage.loop,
		.listen_fd = stage.listeners[0],
		.observer_listen_fd = stage.listeners[1],
		.max_observers = 3,
		.max_peers = 15,
		.seats = stage.seats,
		.n_seats = 2,
		.memory_fd = stage.memory,
		.n_vectors = N_VECTORS,
	};
	CHECK_EQ(server_new(&stage.server, &stage.config), 0);
	CHECK_EQ(journal_new(&stage.journal), 0);
	CHECK_EQ(journal_begin(stage.journal, write_server, &stage.server), 0);
	server_keep_journal(stage.server, stage.journal);
}

void
test_after(void)
{
	server_free(stage.server);
	journal_free(stage.journal);
	loop_free(stage.loop);
	for (int i = 0; i < N_CLIENTS; i++)
		if (stage.clients[i] >= 0)
			CHECK_SYS(close(stage.clients[i]));
	for (int i = 0; i < N_DOORS; i++)
		CHECK_SYS(close(stage.listeners[i]));
	CHECK_SYS(close(stage.memory));
}

/* One client comes, goes, or reads. */
static void
act(struct random_source *random)
{
	int *client = &stage.clients[random_below(random, N_CLIENTS)];
	struct sockaddr_un address = address_of((int)random_below(random, N_DOORS));
	char bytes[256];

	if (*client < 0) {
		*client = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
		CHECK_SYS(connect(*client, (const struct sockaddr *)&address, sizeof(address)));
	} else if (random_below(random, 3) == 0) {
		CHECK_SYS(close(*client));
		*client = -1;
	} else {
		while (recv(*client, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
	}
}

static void
settle(void)
{
	for (int i = 0; i < 4; i++)
		CHECK(loop_dispatch(stage.loop, 0) >= 0);
}

static int
read_journal(struct record *ret_after, int *ret_closing, struct ivshmem_error *reterr)
{
	struct record before;
	int r;

	CHECK_EQ(journal_read(stage.journal, &before), 0);
	r = replay(stage.journal, &before, ret_after, ret_closing, reterr);
	record_done(&before);
	return r;
}

/*
 * What a replay cannot know: which sockets are full, who is up to date without being sent anything,
 * and how far a cursor has passed over what does not concern the reader.
 */
static void
forget_what_does_not_count(void)
{
	struct wire_message messages[WIRE_SEND_MAX];

	for (unsigned i = 0; i < CLIENT_STATES; i++)
		list_for_each (link, &stage.server->clients.states[i]) {
			struct client *client = container_of(link, struct client, link);

			client->fresh = false;
			client->full_since = 0;
		}
	list_for_each (link, &stage.server->roster.readers)
		CHECK(roster_next(&stage.server->roster, peer_at(link), messages, WIRE_SEND_MAX) >=
			0);
}

/* The record of a server that has gone on from `record`, without what does not count. */
static struct record
normal(const struct record *record)
{
	struct server *own = stage.server, *other = NULL;
	struct server_config config = stage.config;
	struct record copy = *record, ret;
	struct ivshmem_error error = {0};

	copy.fds = calloc(copy.n_fds + 1, sizeof(int));
	CHECK(copy.fds);
	for (size_t i = 0; i < copy.n_fds; i++)
		copy.fds[i] = CHECK_SYS(dup(record->fds[i]));
	CHECK_EQ(loop_new(&config.loop), 0);
	if (server_continue(&other, &config, &copy, &error) < 0)
		FAIL("%s", error.message);
	stage.server = other;
	forget_what_does_not_count();
	CHECK_EQ(server_write(other, &ret), 0);
	server_free(other);
	stage.server = own;
	loop_free(config.loop);
	free(copy.fds);
	return ret;
}

static void
check_replay(void)
{
	struct record after, server, one, other;
	struct ivshmem_error error = {0};
	int closing;

	if (read_journal(&after, &closing, &error) < 0)
		FAIL("%s", error.message);
	CHECK_EQ(closing, -1);
	CHECK_EQ(server_write(stage.server, &server), 0);
	CHECK_EQ(after.n_fds, server.n_fds);
	CHECK(memcmp(after.fds, server.fds, server.n_fds * sizeof(int)) == 0);
	one = normal(&after);
	other = normal(&server);
	CHECK_EQ(one.size, other.size);
	CHECK(memcmp(one.bytes, other.bytes, one.size) == 0);
	record_done(&one);
	record_done(&other);
	record_done(&after);
	record_done(&server);
}

TEST(the_journal_leads_to_the_state_of_the_server)
{
	struct random_source random = {.state = 1};

	for (unsigned i = 0; i < test_count(4000); i++) {
		act(&random);
		if (random_below(&random, 2))
			settle();
		if (i % 7 == 0) {
			settle();
			check_replay();
		}
		if (i % 400 == 0)
			CHECK_EQ(journal_begin(stage.journal, write_server, &stage.server), 0);
	}
}

TEST(checkpoints_come_by_themselves)
{
	struct random_source random = {.state = 2};
	uint32_t n = 0, most = 0;
	bool wrapped = false;

	for (unsigned i = 0; i < 200000 && !wrapped; i++) {
		act(&random);
		settle();
		journal_row(stage.journal, &n);
		wrapped = n < most;
		most = n > most ? n : most;
	}
	CHECK(wrapped && most > JOURNAL_ROW / 4);
	check_replay();
}

/* Whatever a row is cut to, it is refused or leads to a record that a server takes. */
TEST(a_row_that_ends_anywhere)
{
	struct random_source random = {.state = 3};
	struct record after;
	uint32_t *row, n;
	int closing;

	for (unsigned i = 0; i < 60; i++) {
		act(&random);
		settle();
	}
	row = (uint32_t *)(uintptr_t)journal_row(stage.journal, &n);
	CHECK(n > 100);
	for (uint32_t cut = n; cut-- > 0;) {
		uint32_t *length = row - 1;

		CHECK_EQ(*length, cut + 1);
		*length = cut;
		if (read_journal(&after, &closing, NULL) < 0)
			continue;
		record_done(&after);
	}
}

/* Every word is put to other values: nothing is accepted that does not fit, and nothing crashes. */
TEST(entries_that_are_wrong_are_refused)
{
	static const uint32_t wrong[] = {0, 1, 4, 8, 9, 1000, 65536, 0x7fffffff, 0xffffffff};
	struct random_source random = {.state = 4};
	struct ivshmem_error error;
	struct record after;
	unsigned refused = 0;
	uint32_t *row, n;
	int closing;

	for (unsigned i = 0; i < 60; i++) {
		act(&random);
		settle();
	}
	row = (uint32_t *)(uintptr_t)journal_row(stage.journal, &n);
	for (uint32_t at = 0; at < n; at++)
		for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
			uint32_t right = row[at];

			row[at] = wrong[i];
			error = (struct ivshmem_error){0};
			if (read_journal(&after, &closing, &error) == 0) {
				record_done(&after);
			} else {
				CHECK(strstr(error.message, "journal") != NULL);
				refused++;
			}
			row[at] = right;
		}
	CHECK(refused > n * 4);
	check_replay();
}

TEST(nobody_goes_on_with_a_journal_that_has_ended)
{
	struct record record;

	CHECK(journal_counts(stage.journal));
	journal_end(stage.journal);
	CHECK(!journal_counts(stage.journal));
	CHECK(journal_read(stage.journal, &record) < 0);
}
