/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The record of a group (server/record.h). It is in a sealed file, the first descriptor in the bag;
 * the descriptors that go along are the others.
 *
 *	version of the program, a text
 *	vectors of each client
 *	memory: size; 1 if the server made the named object, or 0; what was asked for, a text.
 *		It goes along
 *	how many sockets with a fixed id there are
 *	the socket for clients, the one for observers, and those with a fixed id, in ascending order:
 *		id	0 for the first two
 *		0 there is none, 1 the server made it, 2 the supervisor did
 *		device and inode of its path, if the server made it; it goes along
 *	the record of the server
 */
#include <handover.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/log.h>
#include <base/parse.h>
#include <common/supervisor.h>
#include <server/journal.h>
#include <socket/bag.h>

#include <ivshmem/abi.h>
#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define RECORD_NAME    "group"
#define RECORD_VERSION 1
#define TEXT_MAX       (PATH_MAX + 100)
#define FIRST_SOCKETS  2  /* for clients and for observers */
#define SPARE          16 /* descriptors: the record, the bag, a pipe, and some more */

enum origin { ORIGIN_NONE, ORIGIN_SERVER, ORIGIN_SUPERVISOR };

/* One of the sockets of a server. */
struct place {
	char what[32];
	uint16_t id; /* of a member */
	struct listener *listener;
	char expected[SOCKET_PATH_MAX]; /* as the options say; "" none */
};

static struct place
place_at(struct sockets *sockets, const struct options *options, const unsigned *order, unsigned i)
{
	struct place place = {0};

	if (i == 0) {
		place.listener = &sockets->clients;
		snprintf(place.what, sizeof(place.what), "the socket for clients");
		snprintf(place.expected, sizeof(place.expected), "%s", options->socket);
	} else if (i == 1) {
		place.listener = &sockets->observers;
		snprintf(place.what, sizeof(place.what), "the socket for observers");
		sockets_observers_path(options, place.expected);
	} else {
		const struct member_option *member = &options->members[order[i - FIRST_SOCKETS]];

		place.id = member->id;
		snprintf(place.what, sizeof(place.what), "the socket of member %u", member->id);
		place.listener = &sockets->members[order[i - FIRST_SOCKETS]];
		snprintf(place.expected, sizeof(place.expected), "%s",
			member->socket ? member->socket : "");
	}
	return place;
}

/* The members by their ids: the order of the options may be another one the next time. */
static void
sort_members(const struct options *options, unsigned ret_order[MEMBERS_MAX])
{
	for (unsigned n = 0; n < options->n_members; n++) {
		unsigned at = n;

		for (; at > 0 && options->members[ret_order[at - 1]].id > options->members[n].id;
			at--)
			ret_order[at] = ret_order[at - 1];
		ret_order[at] = n;
	}
}

/* What was asked for, such as "4 MiB" or "16 MiB with -M /demo". */
static void
describe_memory(
	const struct region_config *config, const struct region *region, char text[TEXT_MAX])
{
	char size[SIZE_TEXT_MAX], page[SIZE_TEXT_MAX];
	uint64_t rounded = config->size;

	region_round_size(config->size, &rounded);
	format_size(rounded, size);
	if (config->kind == REGION_SHM)
		snprintf(text, TEXT_MAX, "%s with -M %s", size,
			region ? region->name + 1 : config->name + (config->name[0] == '/'));
	else if (config->kind == REGION_DIRECTORY)
		snprintf(text, TEXT_MAX, "%s with -m %s", size, config->name);
	else if (config->huge_page)
		snprintf(text, TEXT_MAX, "%s with --hugetlb %s", size,
			format_size(config->huge_page, page));
	else
		snprintf(text, TEXT_MAX, "%s", size);
}

/* ---- giving ---------------------------------------------------------------------------------- */

static void
write_socket(const struct place *place, struct record *record)
{
	const struct listener *listener = place->listener;

	record_put(record, place->id);
	if (listener->fd < 0 || listener->adopted) {
		record_put(record, listener->fd < 0 ? ORIGIN_NONE : ORIGIN_SUPERVISOR);
		return;
	}
	record_put(record, ORIGIN_SERVER);
	record_put(record, listener->dev);
	record_put(record, listener->ino);
	record_put_fds(record, &listener->fd, 1);
}

int
handover_write(const struct server *server, struct sockets *sockets, const struct region *region,
	const struct options *options, struct record *record)
{
	unsigned order[MEMBERS_MAX];
	struct record inner = {0};
	char memory[TEXT_MAX];

	record_begin(record, RECORD_NAME, RECORD_VERSION);
	record_put_text(record, IVSHMEM_VERSION);
	record_put(record, options->n_vectors);
	describe_memory(&options->memory, region, memory);
	record_put(record, region->size);
	record_put(record, region->created);
	record_put_text(record, memory);
	record_put_fds(record, &region->fd, 1);
	sort_members(options, order);
	record_put(record, options->n_members);
	for (unsigned i = 0; i < FIRST_SOCKETS + options->n_members; i++) {
		const struct place place = place_at(sockets, options, order, i);

		write_socket(&place, record);
	}
	if (server_write(server, &inner) < 0)
		record->failed = true;
	record_put_record(record, &inner);
	record_done(&inner);
	return record_end(record);
}

static int
write_file(const struct record *record, int *ret_fd)
{
	_fd_cleanup_ int fd = memfd_create("ivshmem-handover", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t done = 0;

	if (fd < 0)
		return -errno;
	while (done < record->size) {
		ssize_t n = write(fd, record->bytes + done, record->size - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
		return -errno;
	*ret_fd = fd_take(&fd);
	return 0;
}

static int
fill_bag(const struct record *record, int *ret_bag)
{
	_fd_cleanup_ int file = -1;
	size_t n = record->n_fds + 1;
	int r = write_file(record, &file), *fds;

	if (r < 0)
		return r;
	fds = calloc(n, sizeof(int));
	if (!fds)
		return -ENOMEM;
	fds[0] = file;
	memcpy(fds + 1, record->fds, record->n_fds * sizeof(int));
	r = bag_new(ret_bag, fds, n);
	free(fds);
	return r;
}

static int
pack_group(const struct server *server, struct sockets *sockets, const struct region *region,
	const struct options *options, int *ret_bag)
{
	struct record record;
	int r = handover_write(server, sockets, region, options, &record);

	if (r == 0)
		r = fill_bag(&record, ret_bag);
	record_done(&record);
	return r;
}

unsigned long
handover_room(unsigned long limit)
{
	unsigned long room = bag_room(), half = limit / 2 > SPARE ? limit / 2 - SPARE : 0;

	return room < half ? room : half;
}

/* Why the group cannot be handed over, and what helps the next time. */
static const char *
explain(int error)
{
	if (error == -ENOBUFS)
		return "it has too many descriptors (raise net.core.wmem_max)";
	if (error == -ETOOMANYREFS)
		return "this user has too many descriptors under way (raise LimitNOFILE or ulimit -n, "
		       "or give the server CAP_SYS_RESOURCE)";
	return strerror(-error);
}

int
handover_give(const struct server *server, struct sockets *sockets, struct region *region,
	const struct options *options, struct journal *journal, const struct log *log,
	struct ivshmem_error *reterr)
{
	_fd_cleanup_ int bag = -1;
	int r;

	/* As much again as the server was allowed: see handover_room(). */
	fd_raise_limit();
	r = pack_group(server, sockets, region, options, &bag);
	if (r < 0)
		return error_set(reterr, r, "cannot hand over the group: %s; the clients lose it",
			explain(r));
	/* There may be no place for a second one, if an earlier message was lost. */
	supervisor_notify("FDSTOREREMOVE=1\nFDNAME=" HANDOVER_NAME);
	r = supervisor_store(bag, HANDOVER_NAME, journal_giving(journal));
	journal_end(journal);
	if (r == -ETIMEDOUT)
		log_warning(
			log, "the supervisor has not answered yet; the group waits in its queue");
	else if (r < 0)
		return error_set(reterr, r,
			"the supervisor does not take the group: %s; the clients lose it",
			explain(r));
	log_info(log, "the supervisor keeps the group; peers: %u", server_n_peers(server));
	sockets_keep(sockets);
	region->created = false;
	return 0;
}

/* ---- going on -------------------------------------------------------------------------------- */

/* Stays 0 only if nothing has changed. */
static void
check_same(struct record_reader *in, const char *what, const char *was, const char *is)
{
	if (in->error == 0 && strcmp(was, is) != 0)
		in->error = error_set(in->reterr, -EINVAL,
			"the group that the supervisor keeps does not fit: %s was %.100s, and is %.100s now; "
			"restore that, or stop the service (its clients lose the group then) and start it anew",
			what, was, is);
}

static int
read_file(int fd, struct record *record, struct ivshmem_error *reterr)
{
	struct stat st;
	size_t done = 0;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > INT_MAX)
		return error_set(reterr, -EINVAL, "what the supervisor keeps has no record");
	record->bytes = malloc((size_t)st.st_size + 1);
	if (!record->bytes)
		return error_set(reterr, -ENOMEM, "there is no memory for the record of the group");
	record->size = (size_t)st.st_size;
	while (done < record->size) {
		ssize_t n = pread(fd, record->bytes + done, record->size - done, (off_t)done);

		if (n == 0 || (n < 0 && errno != EINTR))
			return error_set(reterr, -EIO, "cannot read the record of the group: %s",
				n < 0 ? strerror(errno) : "it ends too early");
		if (n > 0)
			done += (size_t)n;
	}
	return 0;
}

static int
take_fd(struct record_reader *in)
{
	if (in->error == 0 && record_fds_left(in) == 0)
		record_refuse(in, "too few descriptors go along");
	return in->error == 0 ? *record_get_fds(in, 1) : -1;
}

static void
read_memory(struct record_reader *in, const struct options *options, struct region *region)
{
	char was[TEXT_MAX], is[TEXT_MAX];
	struct stat st = {0};

	*region = (struct region){.fd = -1, .room = UINT64_MAX};
	region->size = record_get(in, "size of the memory", REGION_MIN_SIZE, REGION_MAX_SIZE);
	region->created = record_get(in, "mark of the object's maker", 0, 1);
	record_get_text(in, "description of the memory", was, sizeof(was));
	region->fd = take_fd(in);
	describe_memory(&options->memory, NULL, is);
	check_same(in, "the memory", was, is);
	if (in->error < 0)
		return;
	if (fstat(region->fd, &st) < 0 || !S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size != region->size) {
		record_refuse(in, "the memory has another size");
		return;
	}
	region->sealed = region_is_sealed(region->fd);
	region->dev = st.st_dev;
	region->ino = st.st_ino;
	if (options->memory.kind == REGION_SHM)
		snprintf(region->name, sizeof(region->name), "/%s",
			options->memory.name + (options->memory.name[0] == '/'));
}

static void
read_socket(struct record_reader *in, const struct place *place)
{
	static const char passed[] = "one of the supervisor (LISTEN_FDS)", none[] = "none";
	const char *was = none, *is = none;
	struct listener kept = {.fd = -1};
	enum origin origin;
	uint64_t dev, ino;

	record_get(in, "id of a socket", place->id, place->id);
	origin = (enum origin)record_get(in, "origin of a socket", ORIGIN_NONE, ORIGIN_SUPERVISOR);
	if (origin == ORIGIN_SERVER) {
		dev = record_get(in, "device of a socket", 0, UINT64_MAX);
		ino = record_get(in, "inode of a socket", 0, UINT64_MAX);
		kept.fd = take_fd(in);
		if (in->error == 0)
			in->error = listener_continue(&kept, kept.fd, dev, ino, in->reterr);
		was = kept.path;
	} else if (origin == ORIGIN_SUPERVISOR) {
		was = passed;
	}
	if (place->listener->fd >= 0)
		is = passed;
	else if (place->expected[0])
		is = place->expected;
	check_same(in, place->what, was, is);
	if (in->error == 0 && origin == ORIGIN_SERVER)
		*place->listener = kept;
}

static void
read_sockets(struct record_reader *in, struct sockets *sockets, const struct options *options)
{
	unsigned order[MEMBERS_MAX];
	char was[16], is[16];

	snprintf(was, sizeof(was), "%u",
		(unsigned)record_get(in, "number of members with a fixed id", 0, MEMBERS_MAX));
	snprintf(is, sizeof(is), "%u", options->n_members);
	check_same(in, "the number of --member", was, is);
	sort_members(options, order);
	for (unsigned i = 0; in->error == 0 && i < FIRST_SOCKETS + options->n_members; i++) {
		const struct place place = place_at(sockets, options, order, i);

		read_socket(in, &place);
	}
	for (unsigned i = 0; i < options->n_members; i++)
		sockets->seats[i] =
			(struct server_seat){options->members[i].id, sockets->members[i].fd};
}

static int
read_group(struct handover *handover, struct sockets *sockets, struct region *region,
	const struct options *options, struct ivshmem_error *reterr)
{
	char was[64], is[64];
	struct record_reader in;

	record_open(&in, &handover->record, RECORD_NAME, RECORD_VERSION, reterr);
	record_get_text(
		&in, "version of the program", handover->version, sizeof(handover->version));
	snprintf(was, sizeof(was), "%u",
		(unsigned)record_get(&in, "number of vectors", 0, IVSHMEM_MAX_VECTORS));
	snprintf(is, sizeof(is), "%u", options->n_vectors);
	check_same(&in, "the number of vectors (-n)", was, is);
	read_memory(&in, options, region);
	read_sockets(&in, sockets, options);
	record_get_record(&in, "size of the server", &handover->server);
	return record_close(&in);
}

/* Out of the way of the numbers that stay in use: RLIMIT_NOFILE limits numbers, and one that comes
 * free below it would be one descriptor more with each restart. */
static int
move_up(int fd, size_t n_fds)
{
	int moved = fcntl(fd, F_DUPFD_CLOEXEC, (int)n_fds + SPARE);

	if (moved < 0)
		return fd;
	fd_close(fd);
	return moved;
}

int
handover_read(struct handover *ret_handover, struct record *record, struct sockets *sockets,
	struct region *region, const struct options *options, struct ivshmem_error *reterr)
{
	struct handover handover = {.bag = -1, .record = *record};
	int r = read_group(&handover, sockets, region, options, reterr);

	*record = (struct record){0};
	if (r < 0)
		record_done(&handover.record);
	else
		*ret_handover = handover;
	return r;
}

int
handover_open(struct handover *ret_handover, int bag, struct sockets *sockets,
	struct region *region, const struct options *options, struct ivshmem_error *reterr)
{
	struct record record = {0};
	int r = bag_read(bag, &record.fds, &record.n_fds, reterr);

	if (r == 0 && record.n_fds == 0)
		r = error_set(reterr, -EINVAL, "what the supervisor keeps has no record");
	if (r == 0)
		r = read_file(record.fds[0], &record, reterr);
	if (r == 0) {
		bag = move_up(bag, record.n_fds);
		fd_close(record.fds[0]);
		record.n_fds--;
		memmove(record.fds, record.fds + 1, record.n_fds * sizeof(int));
		r = handover_read(ret_handover, &record, sockets, region, options, reterr);
	}
	if (r < 0) {
		record_done(&record);
		return r;
	}
	ret_handover->bag = bag;
	return 0;
}

void
handover_forget(struct handover *handover)
{
	record_done(&handover->record);
	handover->server = (struct record){0};
}

void
handover_take(struct handover *handover, const struct log *log)
{
	int r;

	bag_empty(handover->bag);
	handover->bag = fd_close(handover->bag);
	r = supervisor_remove(HANDOVER_NAME);
	if (r < 0)
		log_warning(
			log, "cannot tell the supervisor to drop what it kept: %s", strerror(-r));
}
