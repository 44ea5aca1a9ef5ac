/* SPDX-License-Identifier: BSD-2-Clause */
#include <trace/table.h>

#include <trace/events.h>

#include <errno.h>
#include <string.h>

#define EVENT(name, number, arguments, what) {#name, number, arguments, what},
const struct trace_event trace_events[] = {TRACE_EVENTS(EVENT)};
#undef EVENT

const unsigned trace_n_events = sizeof(trace_events) / sizeof(trace_events[0]);

const struct trace_event *
trace_find_event(uint32_t number)
{
	for (unsigned i = 0; i < trace_n_events; i++)
		if (trace_events[i].number == number)
			return &trace_events[i];
	return NULL;
}

/* ---- arguments ------------------------------------------------------------------------------- */

static void
take_text(const uint64_t *words, char text[16 + 1])
{
	memcpy(text, words, 16);
	text[16] = 0;
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

bool
trace_next_argument(const struct trace_entry *entry, const struct trace_event *event,
	struct trace_argument *argument)
{
	const char *at = argument->name ? argument->next : event->arguments;
	unsigned word = argument->n_words;
	size_t length;

	while (*at == ' ')
		at++;
	length = strcspn(at, ": ");
	if (length == 0 || word >= TRACE_ARGS)
		return false;
	argument->name = at;
	argument->name_length = (int)length;
	argument->kind = 'u';
	if (at[length] == ':')
		argument->kind = at[length + 1];
	argument->next = at + length + (at[length] == ':' ? 2 : 0);
	argument->n_words = word + 1;
	argument->value = entry->args[word];
	if (argument->kind == 's') {
		if (word + 2 > TRACE_ARGS)
			return false;
		take_text(&entry->args[word], argument->text);
		argument->n_words = word + 2;
	}
	return true;
}

const char *
trace_error_name(int64_t error)
{
	static const struct {
		int code;
		const char *name;
	} names[] = {
		{EACCES, "EACCES"},
		{EADDRINUSE, "EADDRINUSE"},
		{EAGAIN, "EAGAIN"},
		{EBUSY, "EBUSY"},
		{ECANCELED, "ECANCELED"},
		{ECONNREFUSED, "ECONNREFUSED"},
		{ECONNRESET, "ECONNRESET"},
		{EDQUOT, "EDQUOT"},
		{EFAULT, "EFAULT"},
		{EINTR, "EINTR"},
		{EINVAL, "EINVAL"},
		{EMFILE, "EMFILE"},
		{EMSGSIZE, "EMSGSIZE"},
		{ENODATA, "ENODATA"},
		{ENODEV, "ENODEV"},
		{ENOENT, "ENOENT"},
		{ENOMEM, "ENOMEM"},
		{ENOSPC, "ENOSPC"},
		{ENOSYS, "ENOSYS"},
		{EOPNOTSUPP, "EOPNOTSUPP"},
		{EPERM, "EPERM"},
		{EPIPE, "EPIPE"},
		{EPROTO, "EPROTO"},
		{EPROTONOSUPPORT, "EPROTONOSUPPORT"},
		{EPROTOTYPE, "EPROTOTYPE"},
		{ESTALE, "ESTALE"},
		{ETIMEDOUT, "ETIMEDOUT"},
		{ETOOMANYREFS, "ETOOMANYREFS"},
		{EUSERS, "EUSERS"},
	};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (error == -names[i].code)
			return names[i].name;
	return NULL;
}

const char *
trace_kind_name(uint64_t kind)
{
	/* In the order of enum ivshmem_channel_kind. */
	static const char *const names[] = {NULL, "stream", "queue", "call", "state", "topic"};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : NULL;
}
