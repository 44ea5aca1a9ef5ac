/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/control.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/json.h>
#include <base/parse.h>
#include <control/control.h>
#include <control/metrics.h>
#include <server/server_parts.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Whoever has more than that to be told is far enough behind. It bounds the time of a look. */
#define UNTOLD_MAX 4096

static const char *const states[CLIENT_STATES] = {
	"new",
	"behind",
	"up to date",
	"full",
	"starved",
};

static struct client *
client_at(struct list *link)
{
	return container_of(link, struct client, link);
}

static double
seconds_since(uint64_t moment)
{
	return moment == 0 ? 0 : (double)(clock_now() - moment) / 1e9;
}

/* The clients of this state, how many bytes they have not read, and for how long the one that is full
 * for longest has been so. */
struct crowd {
	unsigned n;
	uint64_t unread;
	double stalled;
};

static struct crowd
look_at_state(const struct server *server, unsigned state)
{
	struct crowd crowd = {0};

	list_for_each (link, &server->clients.states[state]) {
		const struct client *client = client_at(link);
		double stalled = seconds_since(client->full_since);

		crowd.n++;
		crowd.unread += (uint64_t)client_unread(client);
		if (stalled > crowd.stalled)
			crowd.stalled = stalled;
	}
	return crowd;
}

/* ---- status ---------------------------------------------------------------------------------- */

static void
put_limit(struct json *json, const char *key, unsigned limit)
{
	if (limit)
		json_number(json, key, limit);
	else
		json_null(json, key);
}

static int
answer_status(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct asked *asked = data;
	const struct server *server = asked->server;
	const struct admission *admission = &server->admission;
	struct json json = {.out = out};

	(void)request;
	(void)reterr;
	json_object(&json, NULL);
	json_string(&json, "program", "ivshmem-server");
	json_string(&json, "version", asked->facts->version);
	json_number(&json, "pid", (uint64_t)getpid());
	json_decimal(&json, "since", clock_date(asked->since), 3);
	if (asked->facts->continues)
		json_string(&json, "continues_version", asked->facts->continues);
	else
		json_null(&json, "continues_version");
	json_string(&json, "region", asked->facts->region);
	json_string(&json, "socket", asked->facts->socket);
	json_number(&json, "memory_bytes", asked->facts->memory_size);
	json_string(&json, "backing", asked->facts->memory);
	json_number(&json, "vectors", admission->n_vectors);
	json_number(&json, "peers", server->roster.n_present);
	put_limit(&json, "max_peers", admission->max_peers);
	json_number(&json, "seats", admission->n_seats);
	json_number(&json, "observers", server->roster.n_observers);
	put_limit(&json, "max_observers", admission->max_observers);
	json_number(&json, "ids_in_use", admission->ids->n_used - (admission->prepared != NULL));
	json_number(
		&json, "ids_used_up", ids_spent(admission->ids, roster_oldest(&server->roster)));
	if (server->clients.stall_limit_ns)
		json_decimal(&json, "stall_timeout_seconds",
			(double)server->clients.stall_limit_ns / 1e9, 3);
	else
		json_null(&json, "stall_timeout_seconds");
	json_bool(&json, "draining", admission->draining);
	json_close(&json);
	return 0;
}

/* ---- peers ----------------------------------------------------------------------------------- */

struct row {
	const struct client *client;
	const char *state;
};

/* Peers by their ids, and then the observers in the order in which they came. */
static int
compare(const void *one, const void *other)
{
	const struct client *a = ((const struct row *)one)->client;
	const struct client *b = ((const struct row *)other)->client;
	bool a_observes = a->peer->kind == PEER_OBSERVER;
	bool b_observes = b->peer->kind == PEER_OBSERVER;

	if (a_observes != b_observes)
		return a_observes - b_observes;
	if (!a_observes)
		return a->peer->id - b->peer->id;
	return (a->since > b->since) - (a->since < b->since);
}

static void
put_client(struct json *json, const struct client *client, const char *state)
{
	const struct peer *peer = client->peer;
	bool observes = peer->kind == PEER_OBSERVER;

	json_object(json, NULL);
	if (observes)
		json_null(json, "id");
	else
		json_number(json, "id", peer->id);
	json_string(json, "kind",
		observes                    ? "observer"
		: peer->kind == PEER_HOLDER ? "seat"
					    : "member");
	json_number(json, "pid", (uint64_t)client->process.pid);
	if (client->process.uid == (uid_t)-1)
		json_null(json, "uid");
	else
		json_number(json, "uid", client->process.uid);
	json_string(json, "program", client->process.program);
	json_number(json, "vectors", peer->n_vectors);
	json_decimal(json, "since", clock_date(client->since), 3);
	json_bool(json, "continued", client->continued);
	json_string(json, "state", state);
	json_number(json, "untold", roster_untold(peer, UNTOLD_MAX));
	json_decimal(json, "stalled_seconds", seconds_since(client->full_since), 3);
	json_number(json, "unread_bytes", (uint64_t)client_unread(client));
	json_end(json);
}

static int
answer_peers(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct asked *asked = data;
	const struct server *server = asked->server;
	size_t n = 0, most = (size_t)server->roster.n_present + server->roster.n_observers;
	struct row *rows = calloc(most + 1, sizeof(*rows));
	struct json json = {.out = out};

	(void)request;
	if (!rows)
		return error_set(reterr, -ENOMEM, "there is no memory for the list of peers");
	for (unsigned i = 0; i < CLIENT_STATES; i++)
		list_for_each (link, &server->clients.states[i])
			rows[n++] = (struct row){client_at(link), states[i]};
	qsort(rows, n, sizeof(*rows), compare);
	json_object(&json, NULL);
	json_array(&json, "peers");
	for (size_t i = 0; i < n; i++)
		put_client(&json, rows[i].client, rows[i].state);
	json_close(&json);
	free(rows);
	return 0;
}

/* ---- counters -------------------------------------------------------------------------------- */

static int
answer_counters(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct asked *asked = data;
	const struct clients *clients = &asked->server->clients;
	const struct counters *counters = &clients->counters;
	struct json json = {.out = out};

	(void)request;
	(void)reterr;
	json_object(&json, NULL);
	json_decimal(&json, "since", clock_date(asked->since), 3);
	json_number(&json, "joins", counters->joins);
	json_number(&json, "leaves", counters->leaves);
	json_number(&json, "observers", counters->observers);
	json_object(&json, "refusals");
	for (unsigned i = 0; i < REFUSALS_MAX; i++)
		json_number(&json, counters_refusal_name(i), counters->refusals[i]);
	json_end(&json);
	json_object(&json, "disconnected");
	for (unsigned i = 0; i < CUTS_MAX; i++)
		json_number(&json, counters_cut_name((enum cut)i), counters->cuts[i]);
	json_end(&json);
	json_number(&json, "messages", counters->messages);
	json_number(&json, "announcements", counters->announcements);
	json_number(&json, "sockets_full", counters->full);
	json_number(&json, "starved", counters->starved);
	json_number(&json, "pauses", counters->pauses);
	json_number(&json, "wakeups", loop_rounds(clients->loop));
	json_close(&json);
	return 0;
}

/* ---- metrics --------------------------------------------------------------------------------- */

static void
put_gauge(struct metrics *metrics, const char *name, const char *unit, const char *help,
	uint64_t value)
{
	metrics_gauge(metrics, name, unit, help);
	metrics_put(metrics, NULL, NULL, value);
}

static void
put_counter(struct metrics *metrics, const char *name, const char *help, uint64_t value)
{
	metrics_counter(metrics, name, NULL, help);
	metrics_put(metrics, NULL, NULL, value);
}

static void
put_clients(struct metrics *metrics, const struct server *server)
{
	struct crowd crowds[CLIENT_STATES];
	uint64_t unread = 0;
	double stalled = 0;

	metrics_gauge(
		metrics, "server_clients", NULL, "Clients that are connected, by their state.");
	for (unsigned i = 0; i < CLIENT_STATES; i++) {
		crowds[i] = look_at_state(server, i);
		metrics_put(metrics, "state", states[i], crowds[i].n);
		unread += crowds[i].unread;
		if (crowds[i].stalled > stalled)
			stalled = crowds[i].stalled;
	}
	put_gauge(metrics, "server_unread", "bytes",
		"Memory of the kernel that holds what clients have not read.", unread);
	metrics_gauge(metrics, "server_longest_stall", "seconds",
		"For how long the client that has read nothing for longest has been stalled.");
	metrics_put_decimal(metrics, NULL, NULL, stalled);
}

static void
put_state(struct metrics *metrics, const struct asked *asked)
{
	const struct server *server = asked->server;
	const struct admission *admission = &server->admission;
	const unsigned max = admission->max_peers ? admission->max_peers : IVSHMEM_MAX_ID + 1;

	metrics_gauge(metrics, "server_build", NULL, "Always 1; the label is the version.");
	metrics_put(metrics, "version", asked->facts->version, 1);
	metrics_gauge(metrics, "server_start_time", "seconds",
		"When this process began to serve, in seconds since 1970.");
	metrics_put_decimal(metrics, NULL, NULL, clock_date(asked->since));
	put_gauge(metrics, "server_memory", "bytes", "Size of the shared memory.",
		asked->facts->memory_size);
	put_gauge(metrics, "server_vectors", NULL, "Interrupt vectors of each peer.",
		admission->n_vectors);
	put_gauge(metrics, "server_peers", NULL, "Peers that are connected.",
		server->roster.n_present);
	put_gauge(metrics, "server_peers_limit", NULL, "Peers that may be connected.", max);
	put_gauge(metrics, "server_observers", NULL, "Observers that are connected.",
		server->roster.n_observers);
	put_gauge(metrics, "server_ids_used_up", NULL,
		"Ids that no newcomer can get: in use, or remembered by somebody.",
		ids_spent(admission->ids, roster_oldest(&server->roster)));
	put_gauge(metrics, "server_draining", NULL, "1 while newcomers are refused, or 0.",
		admission->draining);
	put_clients(metrics, server);
}

static void
put_counters(struct metrics *metrics, const struct clients *clients)
{
	const struct counters *counters = &clients->counters;

	put_counter(metrics, "server_joins", "Peers that joined.", counters->joins);
	put_counter(metrics, "server_leaves", "Peers that left.", counters->leaves);
	put_counter(metrics, "server_observers_came", "Observers that came.", counters->observers);
	metrics_counter(metrics, "server_refusals", NULL, "New clients that were refused.");
	for (unsigned i = 0; i < REFUSALS_MAX; i++)
		metrics_put(metrics, "reason", counters_refusal_name(i), counters->refusals[i]);
	metrics_counter(
		metrics, "server_disconnects", NULL, "Clients that the server disconnected.");
	for (unsigned i = 0; i < CUTS_MAX; i++)
		metrics_put(metrics, "reason", counters_cut_name((enum cut)i), counters->cuts[i]);
	put_counter(metrics, "server_messages", "Messages that were sent.", counters->messages);
	put_counter(metrics, "server_announcements", "Messages that told who joined or left.",
		counters->announcements);
	put_counter(metrics, "server_sockets_full", "Times that the socket of a client was full.",
		counters->full);
	put_counter(metrics, "server_starved",
		"Times that the kernel took no message for a client.", counters->starved);
	put_counter(metrics, "server_pauses", "Times that no client could be accepted.",
		counters->pauses);
	put_counter(
		metrics, "server_wakeups", "Rounds of the event loop.", loop_rounds(clients->loop));
}

static int
answer_metrics(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct asked *asked = data;
	struct metrics metrics = {.out = out, .label = "region", .value = asked->facts->region};

	(void)request;
	(void)reterr;
	put_state(&metrics, asked);
	put_counters(&metrics, &asked->server->clients);
	metrics_end(&metrics);
	return 0;
}

/* ---- acting ---------------------------------------------------------------------------------- */

/* The first one with this number, or NULL. */
static struct client *
find_client(struct clients *clients, bool by_pid, unsigned number)
{
	for (unsigned i = 0; i < CLIENT_STATES; i++)
		list_for_each (link, &clients->states[i]) {
			struct client *client = client_at(link);
			bool observes = client->peer->kind == PEER_OBSERVER;

			if (by_pid ? (unsigned)client->process.pid == number
				   : !observes && client->peer->id == number)
				return client;
		}
	return NULL;
}

/* Whoever goes moves others from list to list, so each search begins anew. */
static unsigned
dismiss(struct clients *clients, bool by_pid, unsigned number)
{
	struct client *client;
	unsigned n = 0;

	for (; (client = find_client(clients, by_pid, number)); n++)
		client_dismiss(client);
	return n;
}

static int
answer_disconnect(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct asked *asked = data;
	const char *whom = request->words[1];
	bool by_pid = strncmp(whom, "pid:", 4) == 0;
	struct json json = {.out = out};
	unsigned number, n;

	if (parse_uint(by_pid ? whom + 4 : whom, by_pid, by_pid ? INT32_MAX : IVSHMEM_MAX_ID,
		    &number) < 0)
		return error_set(reterr, -EINVAL,
			"'%.40s' is neither an id, 0 to %d, nor pid: and the id of a process", whom,
			IVSHMEM_MAX_ID);
	n = dismiss(&asked->server->clients, by_pid, number);
	if (n == 0)
		return error_set(reterr, -ENOENT,
			"no client is connected %s %u: the request peers lists them",
			by_pid ? "from process" : "with id", number);
	json_object(&json, NULL);
	json_number(&json, "disconnected", n);
	json_close(&json);
	return 0;
}

static int
answer_drain(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	const struct asked *asked = data;
	struct admission *admission = &asked->server->admission;
	const char *word = request->n > 1 ? request->words[1] : "on";
	struct json json = {.out = out};

	if (strcmp(word, "on") != 0 && strcmp(word, "off") != 0)
		return error_set(reterr, -EINVAL,
			"'%.40s' is neither on nor off: drain refuses newcomers, drain off lets them in again",
			word);
	admission->draining = strcmp(word, "on") == 0;
	log_info(asked->server->clients.log, "%s",
		admission->draining ? "an operator drains the server: newcomers are refused"
				    : "an operator lets newcomers in again");
	json_object(&json, NULL);
	json_bool(&json, "draining", admission->draining);
	json_number(&json, "peers", asked->server->roster.n_present);
	json_close(&json);
	return 0;
}

static int
answer_reload(
	void *data, const struct control_request *request, FILE *out, struct ivshmem_error *reterr)
{
	(void)data;
	(void)request;
	(void)out;
	return error_set(reterr, -EOPNOTSUPP,
		"a server has its options for as long as it runs: with --regions, send SIGHUP to the manager, "
		"which reads its files anew; otherwise restart the server (docs/restart.md)");
}

/* ---- the socket ------------------------------------------------------------------------------ */

static const struct control_command commands[] = {
	{"status", "", 0, 0, answer_status},
	{"peers", "", 0, 0, answer_peers},
	{"counters", "", 0, 0, answer_counters},
	{"metrics", "", 0, 0, answer_metrics},
	{"disconnect", "ID|pid:PID", 1, 1, answer_disconnect},
	{"drain", "[on|off]", 0, 1, answer_drain},
	{"reload", "", 0, 0, answer_reload},
};

int
server_open_control(struct control **ret_control, struct server *server,
	const struct server_facts *facts, int listen_fd)
{
	struct asked *asked = &server->asked;
	const struct control_config config = {
		.loop = server->clients.loop,
		.listen_fd = listen_fd,
		.commands = commands,
		.n_commands = sizeof(commands) / sizeof(commands[0]),
		.data = asked,
	};

	*asked = (struct asked){.server = server, .facts = facts, .since = clock_now()};
	return control_new(ret_control, &config);
}
