/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Theory of operation
 *
 * A client is in one of two states. In both, one timer bounds its time.
 *
 *	asking		its line is not complete yet. It has ASK_LIMIT for the whole line.
 *	taking		its answer is complete, in memory, and goes out as the socket takes it. The
 *			client has TAKE_LIMIT for all of it.
 *
 * It leaves when all of the answer is out, when its time is over, or when its socket fails. A client
 * that closes its end before the line is complete is answered, too: it may only have closed it for
 * writing.
 */
#include <control/control.h>

#include <base/clock.h>
#include <base/error.h>
#include <base/fd.h>
#include <base/json.h>

#include <ivshmem/common.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define ASK_LIMIT  (5 * NSEC_PER_SEC)
#define TAKE_LIMIT (10 * NSEC_PER_SEC)
#define PAUSE      (100 * NSEC_PER_MSEC) /* when a client cannot be accepted */

struct control {
	struct control_config config;
	struct loop_source source; /* source.fd is borrowed */
	struct loop_timer timer;   /* ends a pause in accepting */
	struct list clients;       /* control_client::link */
	unsigned n_clients;
	int spare_fd;
};

struct control_client {
	struct control *control;
	struct list link;
	struct loop_source source; /* source.fd is owned */
	struct loop_timer timer;
	char line[CONTROL_LINE_MAX];
	size_t length; /* of the line so far */
	char *answer;  /* NULL while it asks */
	size_t size, sent;
};

static void control_accept(struct loop_source *source, uint32_t events);

/* ---- answers --------------------------------------------------------------------------------- */

static void
list_commands(const struct control_config *config, char *text, size_t size)
{
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < config->n_commands && n < size; i++)
		n += (size_t)snprintf(
			text + n, size - n, "%s%s", i == 0 ? "" : ", ", config->commands[i].name);
}

static int
run(const struct control_config *config, const struct control_request *request, FILE *out,
	struct ivshmem_error *reterr)
{
	const struct control_command *command = NULL;
	char names[256];

	for (unsigned i = 0; i < config->n_commands && !command; i++)
		if (strcmp(request->words[0], config->commands[i].name) == 0)
			command = &config->commands[i];
	if (!command) {
		list_commands(config, names, sizeof(names));
		return error_set(reterr, -EOPNOTSUPP, "there is no request '%.40s'; there are: %s",
			request->words[0], names);
	}
	if (request->n - 1 < command->min_operands || request->n - 1 > command->max_operands)
		return error_set(reterr, -EINVAL, "the request is: %s%s%s", command->name,
			command->operands[0] ? " " : "", command->operands);
	return command->answer(config->data, request, out, reterr);
}

static char *
answer_error(const struct ivshmem_error *error, size_t *ret_length)
{
	const char *code = strerrorname_np(-error->code);
	char *answer = NULL;
	FILE *out = open_memstream(&answer, ret_length);
	struct json json = {.out = out};

	if (!out)
		return NULL;
	json_object(&json, NULL);
	json_string(&json, "error", error->message);
	json_string(&json, "code", code ? code : "");
	json_close(&json);
	if (fclose(out) == 0)
		return answer;
	free(answer);
	return NULL;
}

char *
control_answer(
	const struct control_config *config, const char *line, size_t length, size_t *ret_length)
{
	struct control_request request;
	struct ivshmem_error error;
	char *answer = NULL;
	FILE *out;
	int r = control_request_parse(&request, line, length, &error);

	if (r < 0)
		return answer_error(&error, ret_length);
	out = open_memstream(&answer, ret_length);
	if (!out)
		return NULL;
	r = run(config, &request, out, &error);
	if (fclose(out) == 0 && r == 0)
		return answer;
	free(answer);
	return r < 0 ? answer_error(&error, ret_length) : NULL;
}

/* ---- clients --------------------------------------------------------------------------------- */

static int
open_spare(void)
{
	return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* What it has sent beyond its line: left unread, it would make the end of the answer an error for it. */
static void
client_read_rest(const struct control_client *client)
{
	char scrap[1024];

	for (unsigned i = 0; i < 16; i++)
		if (recv(client->source.fd, scrap, sizeof(scrap), MSG_DONTWAIT) <= 0)
			return;
}

static void
client_end(struct control_client *client)
{
	struct control *control = client->control;

	client_read_rest(client);
	loop_del(&client->source);
	loop_timer_cancel(&client->timer);
	list_remove(&client->link);
	fd_close(client->source.fd);
	free(client->answer);
	free(client);
	control->n_clients--;
	if (control->spare_fd < 0)
		control->spare_fd = open_spare();
	if (!loop_timer_is_set(&control->timer))
		loop_set_events(&control->source, EPOLLIN);
}

static void
client_late(struct loop_timer *timer)
{
	client_end(container_of(timer, struct control_client, timer));
}

static void
client_limit(struct control_client *client, uint64_t limit)
{
	loop_timer_set(
		client->control->config.loop, &client->timer, clock_now() + limit, client_late);
}

static void
client_send(struct control_client *client)
{
	ssize_t n = 1;

	while (n > 0 && client->sent < client->size) {
		n = send(client->source.fd, client->answer + client->sent,
			client->size - client->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0)
			client->sent += (size_t)n;
	}
	if (n > 0 || (errno != EAGAIN && errno != EINTR)) {
		client_end(client);
		return;
	}
	loop_set_events(&client->source, EPOLLOUT);
}

/* Send the answer, if there was memory for it. */
static void
client_answer(struct control_client *client, char *answer)
{
	client->answer = answer;
	if (!answer) {
		client_end(client);
		return;
	}
	client_limit(client, TAKE_LIMIT);
	client_send(client);
}

static void
client_run(struct control_client *client, size_t length)
{
	client_answer(client,
		control_answer(&client->control->config, client->line, length, &client->size));
}

/* The line cannot become complete any more. */
static void
client_refuse(struct control_client *client)
{
	struct ivshmem_error error;

	error_set(&error, -EINVAL, "the request ends without a newline, so it may not be whole");
	client_answer(client, answer_error(&error, &client->size));
}

static void
client_receive(struct control_client *client)
{
	ssize_t n = recv(client->source.fd, client->line + client->length,
		sizeof(client->line) - client->length, MSG_DONTWAIT);
	const char *newline;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 || (n == 0 && client->length == 0)) {
		client_end(client);
		return;
	}
	client->length += (size_t)n;
	newline = memchr(client->line, '\n', client->length);
	if (newline)
		client_run(client, (size_t)(newline - client->line));
	else if (n == 0)
		client_refuse(client);
	else if (client->length == sizeof(client->line))
		client_run(client, client->length);
}

static void
client_event(struct loop_source *source, uint32_t events)
{
	struct control_client *client = container_of(source, struct control_client, source);

	if (!client->answer)
		client_receive(client);
	else if (events & (EPOLLERR | EPOLLHUP))
		client_end(client);
	else
		client_send(client);
}

/* Takes the socket over if it succeeds. */
static int
client_new(struct control *control, int socket)
{
	struct control_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	client->control = control;
	r = loop_add(control->config.loop, &client->source, socket, EPOLLIN, client_event);
	if (r < 0) {
		free(client);
		return r;
	}
	list_append(&control->clients, &client->link);
	control->n_clients++;
	client_limit(client, ASK_LIMIT);
	return 0;
}

/* ---- the socket ------------------------------------------------------------------------------ */

static void
control_resume(struct loop_timer *timer)
{
	struct control *control = container_of(timer, struct control, timer);

	if (control->n_clients < CONTROL_CLIENTS_MAX)
		loop_set_events(&control->source, EPOLLIN);
}

static int
accept_client(const struct control *control)
{
	int socket = accept4(control->source.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return socket < 0 ? -errno : socket;
}

static void
control_accept(struct loop_source *source, uint32_t events)
{
	struct control *control = container_of(source, struct control, source);
	int socket = accept_client(control);

	(void)events;
	if (socket == -EMFILE && control->spare_fd >= 0) {
		control->spare_fd = fd_close(control->spare_fd);
		socket = accept_client(control);
	}
	if (socket == -EAGAIN || socket == -EINTR || socket == -ECONNABORTED)
		return;
	if (socket >= 0 && client_new(control, socket) < 0) {
		fd_close(socket);
		socket = -ENOMEM;
	}
	if (socket < 0)
		loop_timer_set(
			control->config.loop, &control->timer, clock_now() + PAUSE, control_resume);
	if (socket < 0 || control->n_clients >= CONTROL_CLIENTS_MAX)
		loop_set_events(source, 0);
}

int
control_new(struct control **ret_control, const struct control_config *config)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control)
		return -ENOMEM;
	control->config = *config;
	list_init(&control->clients);
	r = loop_add(config->loop, &control->source, config->listen_fd, EPOLLIN, control_accept);
	if (r < 0) {
		free(control);
		return r;
	}
	control->spare_fd = open_spare();
	*ret_control = control;
	return 0;
}

struct control *
control_free(struct control *control)
{
	if (!control)
		return NULL;
	list_for_each_safe (link, &control->clients)
		client_end(container_of(link, struct control_client, link));
	loop_del(&control->source);
	loop_timer_cancel(&control->timer);
	fd_close(control->spare_fd);
	free(control);
	return NULL;
}

void
control_name(const char *path, char *name, size_t size)
{
	static const char suffix[] = ".sock";
	const char *slash = strrchr(path, '/');
	size_t length;

	snprintf(name, size, "%s", slash ? slash + 1 : path);
	length = strlen(name);
	if (length > strlen(suffix) && strcmp(name + length - strlen(suffix), suffix) == 0)
		name[length - strlen(suffix)] = '\0';
}
