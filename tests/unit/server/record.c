/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Ids and rosters, written down and read back; and records that are wrong. tests/model does it at random moments
 * of random sequences, tests/fuzz with any bytes.
 */

#include <server/record.h>

#include <server/ids.h>
#include <server/roster.h>
#include <test.h>

#include <ivshmem/common.h>

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_FD 4712 /* passes through as a number */
#define FIELD     sizeof(uint64_t)

/* ---- bending a record ----------------------------------------------------------------------- */

static uint64_t
get(const struct record *record, unsigned field)
{
	uint64_t value;

	CHECK((field + 1) * FIELD <= record->size);
	memcpy(&value, record->bytes + field * FIELD, FIELD);
	return le64toh(value);
}

static void
put(struct record *record, unsigned field, uint64_t value)
{
	CHECK((field + 1) * FIELD <= record->size);
	value = htole64(value);
	memcpy(record->bytes + field * FIELD, &value, FIELD);
}

/* As the header has them. */
static void
put_length(struct record *record)
{
	put(record, 2, record->size);
	put(record, 3, record->n_fds);
}

static int
read_ids(const struct record *record, struct ivshmem_error *error)
{
	struct ids *ids = NULL;
	int r = ids_read(&ids, record, error);

	CHECK_EQ(r == 0, ids != NULL);
	free(ids);
	return r;
}

/* What is accepted must not close the descriptors of the roster that the record is from. */
static int
read_roster(const struct record *record, struct ivshmem_error *error)
{
	unsigned open_fds = test_open_fds();
	struct peer *seat = NULL;
	struct roster roster;
	int r = roster_read(&roster, record, 100, MEMORY_FD, error);

	list_for_each (link, &roster.log) {
		struct peer *peer = container_of(link, struct event, link)->peer;

		for (unsigned i = 0; i < peer->n_vectors; i++)
			peer->vectors[i] = -1;
		if (peer->kind == PEER_SEAT)
			seat = peer;
	}
	CHECK(r == 0 || list_empty(&roster.log));
	roster_done(&roster);
	peer_free(seat);
	CHECK_EQ(test_open_fds(), open_fds);
	return r;
}

typedef int (*read_fn)(const struct record *record, struct ivshmem_error *error);

static void
check_refused(const struct record *record, read_fn read, const char *expected)
{
	struct ivshmem_error error = {0};
	int r = read(record, &error);

	CHECK(r == -EINVAL || r == -EPROTONOSUPPORT);
	CHECK_EQ(error.code, r);
	if (!strstr(error.message, expected))
		CHECK_STR(error.message, expected);
	CHECK_EQ(read(record, NULL), r);
}

struct fault {
	unsigned field;
	uint64_t value;
	const char *sentence;
};

/* Each of them alone. */
static void
check_faults(struct record *record, read_fn read, const struct fault *faults, size_t n)
{
	CHECK_EQ(read(record, NULL), 0);
	for (size_t i = 0; i < n; i++) {
		uint64_t value = get(record, faults[i].field);

		put(record, faults[i].field, faults[i].value);
		check_refused(record, read, faults[i].sentence);
		put(record, faults[i].field, value);
	}
	CHECK_EQ(read(record, NULL), 0);
}

/* Cut off anywhere, with the old length and with one that fits; and what no field may be. */
static void
check_torn(struct record *record, read_fn read)
{
	size_t size = record->size;

	for (record->size = 0; record->size < size; record->size++) {
		check_refused(record, read, record->size < 3 * FIELD ? "ends before" : "length");
		if (record->size < 4 * FIELD)
			continue;
		put(record, 2, record->size);
		check_refused(record, read, "ends before");
		put(record, 2, size);
	}
	for (unsigned field = 0; field < size / FIELD; field++) {
		uint64_t value = get(record, field);

		put(record, field, UINT64_MAX);
		check_refused(record, read, "");
		put(record, field, value);
	}
	CHECK_EQ(read(record, NULL), 0);
}

/* A field more than there are. */
static void
check_longer(struct record *record, read_fn read)
{
	record_put(record, 0);
	put_length(record);
	check_refused(record, read, "it goes on after its end");
}

/* ---- ids ------------------------------------------------------------------------------------ */

/* now, next, number of ids, and for each: id, used, retired. */
static struct ids *
some_ids(void)
{
	struct ids *ids = calloc(1, sizeof(*ids));
	uint16_t id;

	CHECK(ids);
	ids_init(ids);
	for (unsigned i = 0; i < 3; i++)
		CHECK_EQ(ids_take(ids, UINT64_MAX, &id), 0);
	CHECK_EQ(ids_stamp(ids), 1);
	ids_release(ids, 0, false);
	ids_release(ids, 1, true);
	CHECK_EQ(ids_reserve(ids, 65535), 0);
	return ids;
}

TEST_WITH(ids_come_back, .timeout_s = 120)
{
	struct ids *ids = some_ids(), *copy = NULL;
	struct record record;
	int r;

	CHECK_EQ(ids_write(ids, &record), 0);
	CHECK_EQ(ids_read(&copy, &record, NULL), 0);
	record_done(&record);
	CHECK_EQ(copy->n_used, 2);
	/* All that there are, in the same order, and then none. */
	do {
		uint16_t id = 0, other = 0;

		r = ids_take(ids, 1, &id);
		CHECK_EQ(ids_take(copy, 1, &other), r);
		CHECK_EQ(other, id);
	} while (r == 0);
	CHECK_EQ(r, -ENOSPC);
	CHECK_EQ(ids_stamp(copy), ids_stamp(ids));
	free(ids);
	free(copy);
}

TEST(ids_that_are_wrong_are_refused)
{
	static const struct fault faults[] = {
		{0, 1, "the record of the ids is wrong: the name is 1"},
		{1, 0, "the record of the ids is wrong: the version is 0"},
		{1, 2, "the record of the ids has version 2, and this server knows 1"},
		{3, 1, "the number of descriptors is 1, and must be 0 to 0"},
		{4, UINT64_C(1) << 63, "the time is 9223372036854775808"},
		{4, 1, "entry 0 in the record of the ids is wrong: the stamp is 2"},
		{5, 65536, "the next id is 65536, and must be 0 to 65535"},
		{6, 65537, "the number of ids is 65537"},
		{6, 4, "the id is 65535, and must be 3 to 65534"},
		{6, 2, "it goes on after its end"},
		{7, 65534, "entry 0 in the record of the ids is wrong: the id is 65534"},
		{8, 2, "entry 0 in the record of the ids is wrong: the mark of use is 2"},
		{9, 0, "entry 0 in the record of the ids is wrong: the stamp is 0"},
		{9, 3, "entry 0 in the record of the ids is wrong: the stamp is 3"},
		{10, 1, "entry 1 in the record of the ids is wrong: the id is 1, and must be 2 to"},
	};
	struct ids *ids = some_ids();
	struct record record;

	CHECK_EQ(ids_write(ids, &record), 0);
	CHECK_EQ(record.size, 16 * FIELD);
	check_faults(&record, read_ids, faults, sizeof(faults) / sizeof(faults[0]));
	check_torn(&record, read_ids);
	check_longer(&record, read_ids);
	record_done(&record);
	free(ids);
}

/* ---- rosters -------------------------------------------------------------------------------- */

/*
 * A roster with something of everything:
 *
 *	number		in the record	it was told
 *	0 member 0	6 to 11		all, and has yet to hear that peer 4 left
 *	1 seat 9	12 to 17
 *	2 its holder	18 to 22	nothing
 *	3 observer	23 to 26	its greeting, and half of member 0
 *	4 peer 4, left	27 to 29
 *	the readers	30 to 34, 35 to 38, 39 to 42
 */
static struct roster roster;
static struct peer *member, *seat, *holder, *observer;

static void
tell(struct roster *to, struct peer *peer, unsigned n)
{
	struct wire_message messages[64];

	CHECK(roster_next(to, peer, messages, 64) >= (int)n);
	roster_told(to, peer, n);
}

static void
open_roster(void)
{
	struct peer *left;

	roster_init(&roster, MEMORY_FD, 2);
	CHECK_EQ(peer_new(&member, 0, 2), 0);
	CHECK_EQ(roster_join(&roster, member, 10), 0);
	CHECK_EQ(peer_new_seat(&seat, 9, 2), 0);
	CHECK_EQ(roster_join(&roster, seat, 11), 0);
	CHECK_EQ(peer_new_holder(&holder, seat), 0);
	CHECK_EQ(roster_join(&roster, holder, 12), 0);
	CHECK_EQ(peer_new_observer(&observer), 0);
	CHECK_EQ(roster_join(&roster, observer, 13), 0);
	CHECK_EQ(peer_new(&left, 4, 1), 0);
	CHECK_EQ(roster_join(&roster, left, 14), 0);
	tell(&roster, member, 3 + 2 + 2 + 1);
	tell(&roster, observer, 3 + 1);
	roster_leave(&roster, left);
}

static void
close_roster(void)
{
	roster_done(&roster);
	peer_free(seat);
}

TEST(roster_comes_back)
{
	unsigned open_fds = test_open_fds();
	struct peer *seat_again = NULL, *newcomer;
	struct roster copy;
	struct record record;
	struct list *link;

	open_roster();
	CHECK_EQ(roster_write(&roster, &record), 0);
	/* Both live on here, so each has descriptors of its own. */
	CHECK_EQ(record.n_fds, 4);
	for (unsigned i = 0; i < record.n_fds; i++)
		record.fds[i] = CHECK_SYS(fcntl(record.fds[i], F_DUPFD_CLOEXEC, 0));
	CHECK_EQ(roster_read(&copy, &record, 100, MEMORY_FD, NULL), 0);
	CHECK_EQ(copy.n_vectors, 2);
	CHECK_EQ(copy.n_present, 2);
	CHECK_EQ(copy.n_observers, 1);
	CHECK_EQ(roster_oldest(&copy), 10);

	/* Somebody comes, and each of the four hears the same from both. */
	for (unsigned i = 0; i < 2; i++) {
		CHECK_EQ(peer_new(&newcomer, 5, 1), 0);
		CHECK_EQ(roster_join(i == 0 ? &roster : &copy, newcomer, 101), 0);
	}
	link = copy.readers.next;
	list_for_each (old, &roster.readers) {
		struct peer *peer = container_of(old, struct peer, link);
		struct peer *again = container_of(link, struct peer, link);
		struct wire_message expected[64], messages[64];
		int n = roster_next(&roster, peer, expected, 64);

		CHECK_EQ(again->kind, peer->kind);
		CHECK_EQ(again->id, peer->id);
		CHECK_EQ(again->announced, peer->announced);
		CHECK_EQ(roster_next(&copy, again, messages, 64), n);
		for (int i = 0; i < n; i++) {
			CHECK_EQ(messages[i].number, expected[i].number);
			CHECK_EQ(messages[i].fd < 0, expected[i].fd < 0);
		}
		roster_told(&roster, peer, (unsigned)n);
		roster_told(&copy, again, (unsigned)n);
		link = link->next;
	}
	CHECK(link == &copy.readers);

	list_for_each (event, &copy.log) {
		struct peer *peer = container_of(event, struct event, link)->peer;

		CHECK(!peer->left);
		if (peer->kind == PEER_SEAT)
			seat_again = peer;
	}
	CHECK(seat_again && seat_again->vectors[1] == record.fds[3]);
	record_done(&record);
	roster_done(&copy);
	peer_free(seat_again);
	close_roster();
	CHECK_EQ(test_open_fds(), open_fds);
}

TEST(roster_that_is_wrong_is_refused)
{
	static const struct fault faults[] = {
		{0, 1, "the record of the roster is wrong: the name is 1"},
		{1, 0, "the record of the roster is wrong: the version is 0"},
		{1, 3, "the record of the roster has version 3, and this server knows 2"},
		{3, 3, "the number of descriptors is 3, and must be 4 to 4"},
		{4, 2049, "the number of vectors is 2049, and must be 0 to 2048"},
		{6, 6, "event 5 in the record of the roster is wrong: the mark of a leave is 3"},
		{5, 2, "the mark of circles is 2, and must be 0 to 1"},
		{6, UINT64_C(1) << 32, "the number of events is 4294967296"},
		{7, 2, "event 0 in the record of the roster is wrong: the mark of a leave is 2"},
		{8, 4, "event 0 in the record of the roster is wrong: the kind is 4"},
		{9, 1, "event 0 in the record of the roster is wrong: the kind of view is 1, and must be 0 to 0"},
		{10, 1, "the circle is 1, and must be 0 to 0"},
		{11, 65536, "event 0 in the record of the roster is wrong: the id is 65536"},
		{11, 9, "event 1 in the record of the roster is wrong: another peer has its id"},
		{12, 0, "the stamp is 0, and must be 1 to 100"},
		{12, 100, "event 1 in the record of the roster is wrong: there can be no stamp"},
		{13, 2, "the mark of announcement is 2"},
		{14, 5, "the number of vectors is 5, and must be 0 to 4"},
		{22, 1, "more descriptors go along than it has a use for"},
		{20, 10,
			"event 1 in the record of the roster is wrong: the stamp is 10, and must be 11"},
		{21, 0, "reader 0 in the record of the roster is wrong: it was told of a peer that has no"},
		{27, 3, "the seat is 3, and must be 0 to 2"},
		{27, 2, "event 2 in the record of the roster is wrong: that peer is no seat"},
		{27, 0, "event 2 in the record of the roster is wrong: that peer is no seat"},
		{28, 8, "the id is 8, and must be 9 to 9"},
		{34, 1, "the id is 1, and must be 0 to 0"},
		{37, 1, "event 4 in the record of the roster is wrong: nobody is told that a peer of"},
		{37, 2, "reader 0 in the record of the roster is wrong: it was never told of a peer"},
		{41, 4, "reader 0 in the record of the roster is wrong: the greeting is 4"},
		{41, 2, "reader 0 in the record of the roster is wrong: it was told of a peer before"},
		{42, 2, "the mark of a reader is 2"},
		{43, 6, "the cursor is 6, and must be 0 to 5"},
		{43, 5, "the number of leaves is 1, and must be 0 to 0"},
		{44, 1, "the vector is 1, and must be 0 to 0"},
		{45, 2, "the number of leaves is 2, and must be 0 to 1"},
		{46, 3, "the leave is 3, and must be 4 to 4"},
		{50, 1, "reader 1 in the record of the roster is wrong: it was told of a peer before"},
		{54, 3, "reader 2 in the record of the roster is wrong: the vector is 1, and must be 0"},
		{55, 2, "the vector is 2, and must be 0 to 1"},
	};
	struct record record;

	open_roster();
	CHECK_EQ(roster_write(&roster, &record), 0);
	CHECK_EQ(record.size, 57 * FIELD);
	check_faults(&record, read_roster, faults, sizeof(faults) / sizeof(faults[0]));
	check_torn(&record, read_roster);

	/* One descriptor less than its vectors, and a leave that nobody waits for. */
	record.n_fds--;
	put_length(&record);
	check_refused(&record, read_roster,
		"event 1 in the record of the roster is wrong: the number of vectors is 2");
	record.n_fds++;
	record.size -= FIELD;
	memmove(record.bytes + 46 * FIELD, record.bytes + 47 * FIELD, record.size - 46 * FIELD);
	put(&record, 45, 0);
	put_length(&record);
	check_refused(&record, read_roster,
		"event 4 in the record of the roster is wrong: nobody is to be told of this leave");
	record_done(&record);

	CHECK_EQ(roster_write(&roster, &record), 0);
	check_longer(&record, read_roster);
	record_done(&record);
	close_roster();
}

TEST(seat_with_two_holders_is_refused)
{
	struct record record;
	struct peer *second;

	open_roster();
	CHECK_EQ(peer_new_holder(&second, seat), 0);
	CHECK_EQ(roster_join(&roster, second, 20), 0);
	CHECK_EQ(roster_write(&roster, &record), 0);
	check_refused(&record, read_roster,
		"event 5 in the record of the roster is wrong: its seat has another holder");
	record_done(&record);
	close_roster();
}

/* ---- texts, and records in records ---------------------------------------------------------- */

TEST(texts_come_back)
{
	static const char *const texts[] = {
		"", "a", "seven77", "eight888", "nine99999", "sixteen_16161616"};
	struct record record;
	struct record_reader in;
	char text[17];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		record_begin(&record, "test", 1);
		record_put_text(&record, texts[i]);
		CHECK_EQ(record_end(&record), 0);
		record_open(&in, &record, "test", 1, NULL);
		record_get_text(&in, "text", text, sizeof(text));
		CHECK_EQ(record_close(&in), 0);
		CHECK_STR(text, texts[i]);
		record_done(&record);
	}
}

static void
check_text_refused(uint64_t length, uint64_t letters, const char *words)
{
	struct ivshmem_error error = {0};
	struct record_reader in;
	struct record record;
	char text[8] = "before";

	record_begin(&record, "test", 1);
	record_put(&record, length);
	record_put(&record, letters);
	CHECK_EQ(record_end(&record), 0);
	record_open(&in, &record, "test", 1, &error);
	record_get_text(&in, "text", text, sizeof(text));
	CHECK_EQ(record_close(&in), -EINVAL);
	CHECK(strstr(error.message, words));
	CHECK_STR(text, "");
	record_done(&record);
}

TEST(texts_that_are_wrong_are_refused)
{
	check_text_refused(8, 0x4141414141414141, "the text is 8, and must be 0 to 7");
	check_text_refused(2, 0x414141, "another length than it says");
	check_text_refused(2, 0x4100, "another length than it says");
	check_text_refused(0, 0x41, "it goes on after its end");
}

TEST(records_in_records)
{
	int fds[] = {11, 12, 13};
	struct record inner, outer, view;
	struct record_reader in;

	record_begin(&inner, "inner", 3);
	record_put(&inner, 4711);
	record_put_fds(&inner, fds, 2);
	CHECK_EQ(record_end(&inner), 0);
	record_begin(&outer, "outer", 1);
	record_put_record(&outer, &inner);
	record_put_fds(&outer, fds + 2, 1);
	CHECK_EQ(record_end(&outer), 0);
	record_open(&in, &outer, "outer", 1, NULL);
	record_get_record(&in, "inner", &view);
	CHECK_EQ(*record_get_fds(&in, 1), 13);
	CHECK_EQ(record_close(&in), 0);
	CHECK_EQ(view.size, inner.size);
	CHECK(memcmp(view.bytes, inner.bytes, inner.size) == 0);
	CHECK_EQ(view.n_fds, 2);
	CHECK_EQ(view.fds[1], 12);
	record_done(&inner);
	record_done(&outer);
}
