/* SPDX-License-Identifier: BSD-2-Clause */
#include "top/table.h"
#include "top/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- who ------------------------------------------------------------------------------------ */

enum {
	WHO_PEER,
	WHO_VECTORS,
	WHO_AREA,
	WHO_NAME,
	WHO_PID,
	WHO_USER,
	WHO_PROGRAM,
	WHO_RINGS,
	WHO_SINCE
};

static const struct column who_columns[] = {
	[WHO_PEER] = {"PEER", 4, 5, 1, .right = true},
	[WHO_VECTORS] = {"VECTORS", 7, 7, 7, .right = true},
	[WHO_AREA] = {"AREA", 4, 4, 3, .right = true},
	[WHO_NAME] = {"TAKES PART AS", 10, 30, 2},
	[WHO_PID] = {"PID", 7, 7, 4, .right = true},
	[WHO_USER] = {"USER", 8, 12, 6},
	[WHO_PROGRAM] = {"PROGRAM", 9, 16, 5},
	[WHO_RINGS] = {"RINGS", 6, 14, 9},
	[WHO_SINCE] = {"SINCE", 10, 10, 8},
};

#define N_WHO (sizeof(who_columns) / sizeof(who_columns[0]))

struct who {
	struct view *view;
	const struct sample *sample;
	struct table table;
	unsigned left; /* lines */
};

/* "0:3 2:1": of those vectors that have some. */
static void
name_rings(const struct sample_peer *peer, char text[CELL_MAX])
{
	size_t length = 0;

	if (!peer->rings)
		return;
	snprintf(text, CELL_MAX, "0");
	for (unsigned vector = 0; vector < peer->vectors && length + 1 < CELL_MAX; vector++)
		if (peer->rings[vector] > 0)
			length +=
				(size_t)snprintf(text + length, CELL_MAX - length, "%s%u:%" PRIu64,
					length > 0 ? " " : "", vector, peer->rings[vector]);
}

/* A peer, or one who takes part, or both. */
static void
add_who(struct who *who, const struct sample_peer *peer,
	const struct sample_participant *participant)
{
	char id[16] = "-", vectors[16] = "-", area[16] = "-", pid[16] = "-", since[CELL_MAX];
	char rings[CELL_MAX] = "-";
	double start = peer ? peer->since : 0;
	const char *cells[N_WHO] = {id, vectors, area, "-", pid, "-", "-", rings, since};

	if (who->left == 0)
		return;
	who->left--;
	if (peer) {
		snprintf(id, sizeof(id), "%u", peer->id);
		snprintf(vectors, sizeof(vectors), "%u", peer->vectors);
		name_rings(peer, rings);
	} else if (participant && participant->has_peer) {
		snprintf(id, sizeof(id), "%u", participant->peer);
	}
	if (participant) {
		snprintf(area, sizeof(area), "%u", participant->area);
		snprintf(pid, sizeof(pid), "%" PRIu32, participant->pid);
		cells[WHO_NAME] = participant->name;
		cells[WHO_USER] = participant->here ? participant->process.user : "elsewhere";
		cells[WHO_PROGRAM] = participant->process.program;
		if (start <= 0)
			start = participant->process.started;
	}
	cell_date(start, who->sample->date, since);
	for (unsigned i = 0; i < N_WHO; i++)
		if (cells[i][0] == 0)
			cells[i] = "-";
	table_line(&who->table, cells, view_add(who->view, VIEW_PLAIN));
}

static const struct sample_peer *
find_peer(const struct sample *sample, uint16_t id)
{
	for (size_t i = 0; sample->peers && i < sample->n_peers; i++)
		if (sample->peers[i].id == id)
			return &sample->peers[i];
	return NULL;
}

/* Those of a peer, if it is not NULL; else those of no peer that we know. */
static unsigned
walk_participants(const struct sample *sample, const struct sample_peer *peer, struct who *who)
{
	unsigned n = 0;

	for (size_t i = 0; i < sample->n_participants; i++) {
		const struct sample_participant *participant = &sample->participants[i];

		if (peer ? !participant->has_peer || participant->peer != peer->id
			 : participant->has_peer && find_peer(sample, participant->peer))
			continue;
		n++;
		if (who)
			add_who(who, peer, participant);
	}
	return n;
}

/* How many there are, after showing them if `who` is not NULL. */
static unsigned
walk_who(const struct sample *sample, struct who *who)
{
	unsigned n = 0;

	for (size_t i = 0; i < sample->n_peers; i++) {
		unsigned of_peer = walk_participants(sample, &sample->peers[i], who);

		if (of_peer == 0 && who)
			add_who(who, &sample->peers[i], NULL);
		n += of_peer > 0 ? of_peer : 1;
	}
	return n + walk_participants(sample, NULL, who);
}

unsigned
view_who_lines(const struct sample *sample)
{
	unsigned n = walk_who(sample, NULL);

	return n > 0 ? n + 1 : 0;
}

/* How many have no room. */
static void
add_more(struct view *view, unsigned n, const char *what, unsigned width)
{
	char text[64];

	snprintf(text, sizeof(text), "  ... %u more %s", n, what);
	line_put(view_add(view, VIEW_DIM), text, width);
}

void
view_who(struct view *view, const struct sample *sample, unsigned width, unsigned lines)
{
	struct who who = {.view = view, .sample = sample};
	unsigned n = walk_who(sample, NULL);

	if (lines < 2)
		return;
	table_lay_out(&who.table, who_columns, N_WHO, width);
	table_titles(&who.table, -1, view_add(view, VIEW_HEADING));
	who.left = n + 1 > lines ? lines - 2 : n;
	n -= who.left;
	walk_who(sample, &who);
	if (n > 0)
		add_more(view, n, "peers and participants", width);
}

/* ---- channels ------------------------------------------------------------------------------- */

enum {
	CHANNEL_NAME,
	CHANNEL_KIND,
	CHANNEL_FROM,
	CHANNEL_TO,
	CHANNEL_BYTES,
	CHANNEL_RECORDS,
	CHANNEL_FILL,
	CHANNEL_BAR,
	CHANNEL_UNREAD,
	CHANNEL_WAITS,
};

static const struct column channel_columns[] = {
	[CHANNEL_NAME] = {"CHANNEL", 14, 30, 0},
	[CHANNEL_KIND] = {"KIND", 6, 6, 6},
	[CHANNEL_FROM] = {"FROM", 13, 24, 5},
	[CHANNEL_TO] = {"TO", 13, 24, 4},
	[CHANNEL_BYTES] = {"BYTES/S", 8, 8, 1, .right = true},
	[CHANNEL_RECORDS] = {"RECORDS/S", 10, 10, 7, .right = true},
	[CHANNEL_FILL] = {"FILL", 4, 4, 2, .right = true},
	[CHANNEL_BAR] = {"", 10, 20, 8},
	[CHANNEL_UNREAD] = {"UNREAD", 8, 8, 2, .right = true},
	[CHANNEL_WAITS] = {"WAITS", 6, 6, 3, .right = true},
};

#define N_CHANNEL (sizeof(channel_columns) / sizeof(channel_columns[0]))

/* Where nothing is published, records need no room. */
static void
choose_columns(const struct top_rows *rows, struct column columns[])
{
	bool counted = false;

	memcpy(columns, channel_columns, sizeof(channel_columns));
	for (size_t i = 0; i < rows->n; i++)
		counted = counted || sample_is_publisher(rows->rows[i].channel);
	if (!counted)
		columns[CHANNEL_RECORDS].least = 0;
}

static const int sorted_column[TOP_SORTS] = {
	[TOP_BY_RATE] = CHANNEL_BYTES,
	[TOP_BY_NAME] = CHANNEL_NAME,
	[TOP_BY_UNREAD] = CHANNEL_UNREAD,
	[TOP_BY_WAITS] = CHANNEL_WAITS,
	[TOP_BY_AREA] = CHANNEL_FROM,
};

/* "3 ivshmem send" */
static void
name_participant(const struct sample_participant *participant, char *text, size_t size)
{
	if (participant)
		snprintf(text, size, "%u %s", participant->area, participant->name);
	else
		snprintf(text, size, "-");
}

static void
name_other_end(const struct top_row *row, char *text, size_t size)
{
	const struct sample_channel *channel = row->channel;

	if (sample_is_publisher(channel))
		snprintf(text, size, "%u reader%s", row->n_readers, row->n_readers == 1 ? "" : "s");
	else if (strcmp(channel->phase, "connected") == 0 || sample_is_published(channel))
		name_participant(row->to, text, size);
	else
		snprintf(text, size, "(%s)", channel->phase);
}

static bool
is_nearly_full(const struct top_row *row)
{
	return row->fill >= 0.9;
}

static void
add_channel(struct view *view, const struct table *table, const struct top_row *row)
{
	char from[96], to[96], bytes[CELL_MAX], records[CELL_MAX], fill[CELL_MAX];
	char bar[CELL_MAX], unread[CELL_MAX], waits[CELL_MAX];
	const char *cells[N_CHANNEL] = {
		[CHANNEL_NAME] = row->channel->name,
		[CHANNEL_KIND] = ivshmem_channel_kind_name(row->channel->kind),
		[CHANNEL_FROM] = from,
		[CHANNEL_TO] = to,
		[CHANNEL_BYTES] = cell_bytes(row->bytes, bytes),
		[CHANNEL_RECORDS] = cell_count(row->records, records),
		[CHANNEL_FILL] = cell_percent(row->fill, fill),
		[CHANNEL_BAR] = cell_bar(row->fill, table->widths[CHANNEL_BAR], bar),
		[CHANNEL_UNREAD] = cell_bytes(row->fill < 0 ? -1 : (double)row->unread, unread),
		[CHANNEL_WAITS] = cell_seconds(row->unread == 0 ? -1 : row->waits, waits),
	};

	name_participant(row->from, from, sizeof(from));
	name_other_end(row, to, sizeof(to));
	table_line(table, cells,
		view_add(view, is_nearly_full(row) ? VIEW_WARNING
			       : row->idle         ? VIEW_DIM
						   : VIEW_PLAIN));
}

unsigned
view_channels_lines(const struct top_rows *rows, bool all)
{
	size_t n = all ? rows->n : rows->n - rows->n_idle;

	return n > 0 ? (unsigned)n + 1 : 0;
}

void
view_channels(struct view *view, const struct top_rows *rows, const struct view_options *options,
	unsigned lines)
{
	unsigned n = view_channels_lines(rows, options->all);
	unsigned room, i = 0, shown = 0;
	struct column columns[N_CHANNEL];
	struct table table;

	if (n == 0 || lines < 2)
		return;
	n--;
	room = n + 1 > lines ? lines - 2 : n;
	view->first = options->first > n - room ? n - room : options->first;
	choose_columns(rows, columns);
	table_lay_out(&table, columns, N_CHANNEL, options->width);
	table_titles(&table, sorted_column[options->sort], view_add(view, VIEW_HEADING));
	for (size_t row = 0; row < rows->n && shown < room; row++) {
		if (rows->rows[row].idle && !options->all)
			continue;
		if (i++ < view->first)
			continue;
		add_channel(view, &table, &rows->rows[row]);
		shown++;
	}
	if (room < n)
		add_more(view, n - room, "channels", options->width);
}

/* ---- events --------------------------------------------------------------------------------- */

unsigned
view_events_lines(const struct top_events *events)
{
	uint64_t n = events->n < TOP_EVENTS_MAX ? events->n : TOP_EVENTS_MAX;

	return n > 0 ? (unsigned)n + 1 : 0;
}

void
view_events(struct view *view, const struct sample *sample, const struct top_events *events,
	unsigned width, unsigned lines)
{
	if (lines < 2 || events->n == 0)
		return;
	line_put(view_add(view, VIEW_HEADING), "EVENTS", width);
	/* The latest first. */
	for (uint64_t i = events->n; i > 0 && --lines > 0; i--) {
		const struct top_event *event = top_events_get(events, i - 1);
		char text[TOP_EVENT_TEXT_MAX], date[CELL_MAX], line[TOP_EVENT_TEXT_MAX + CELL_MAX];
		bool bad;

		if (!event)
			break;
		bad = event->type == TOP_DIED || event->type == TOP_LOST;
		snprintf(line, sizeof(line), "%-10s %s", cell_date(event->date, sample->date, date),
			top_event_text(event, text));
		line_put(view_add(view, bad ? VIEW_WARNING : VIEW_PLAIN), line, width);
	}
}

/* ---- help ----------------------------------------------------------------------------------- */

void
view_help(struct view *view, const struct sample *sample, unsigned width)
{
	static const char *const lines[] = {
		"",
		"q         quit",
		"p, blank  pause, and go on",
		"+ and -   look more or less often",
		"r n u w a sort the channels by rate, name, bytes unread, waiting time, area",
		"i         show directions through which nothing has gone yet, too",
		"arrows    scroll the channels, as do page up, page down, home",
		"^L        draw everything anew",
		"",
		"BYTES/S   what the receiving end took, with the headers of records; an end says how",
		"          far it is once in an eighth of the ring, and before it sleeps",
		"RECORDS/S of states and topics; nobody counts the records of queues and calls",
		"FILL      how much of the ring waits to be received: UNREAD bytes",
		"WAITS     for how long the oldest of these has been there, at least",
		"elsewhere a process of a guest, or of another pid namespace; its pid is of there",
		"RINGS     those that a peer has not taken yet, of each VECTOR:RINGS; 0: it has all",
		"-         cannot be seen from outside: who a peer is that takes no part in channels,",
		"          and since when it is there, if it was there before us. How often peers",
		"          have rung each other cannot be seen either: nobody counts rings taken.",
	};

	(void)sample;
	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		line_put(view_add(view, VIEW_PLAIN), lines[i], width);
}
