/* SPDX-License-Identifier: BSD-2-Clause */

/* An entry as text, without snprintf(), which is not async-signal-safe. */
#include <trace/text.h>

#include <string.h>

void
text_put(struct text *text, const char *bytes, size_t length)
{
	size_t room = text->size - 1 - text->length;

	if (length > room)
		length = room;
	memcpy(text->buffer + text->length, bytes, length);
	text->length += length;
	text->buffer[text->length] = 0;
}

void
text_puts(struct text *text, const char *string)
{
	text_put(text, string, strlen(string));
}

void
text_number(struct text *text, uint64_t value, unsigned base, unsigned digits)
{
	char reversed[64];
	unsigned n = 0;

	do {
		reversed[sizeof(reversed) - ++n] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value > 0 || n < digits);
	text_put(text, reversed + sizeof(reversed) - n, n);
}

static void
put_signed(struct text *text, int64_t value)
{
	if (value < 0)
		text_puts(text, "-");
	text_number(text, value < 0 ? -(uint64_t)value : (uint64_t)value, 10, 1);
}

static void
put_error(struct text *text, int64_t error)
{
	const char *name = error < 0 ? trace_error_name(error) : NULL;

	if (name)
		text_puts(text, name);
	else
		put_signed(text, error);
}

void
text_seconds(struct text *text, uint64_t ns)
{
	text_number(text, ns / 1000000000, 10, 1);
	text_puts(text, ".");
	text_number(text, ns / 1000 % 1000000, 10, 6);
}

static void
put_value(struct text *text, const struct trace_argument *argument)
{
	const char *kind = trace_kind_name(argument->value);

	switch (argument->kind) {
	case 's':
		text_puts(text, "\"");
		text_puts(text, argument->text);
		text_puts(text, "\"");
		break;
	case 'i':
		put_signed(text, (int64_t)argument->value);
		break;
	case 'e':
		put_error(text, (int64_t)argument->value);
		break;
	case 'x':
		text_puts(text, "0x");
		text_number(text, argument->value, 16, 1);
		break;
	case 'k':
		if (kind) {
			text_puts(text, kind);
			break;
		}
		__attribute__((fallthrough));
	default:
		text_number(text, argument->value, 10, 1);
	}
}

static void
put_unknown(struct text *text, const struct trace_entry *entry)
{
	text_puts(text, "event_0x");
	text_number(text, trace_event_of(entry), 16, 1);
	for (unsigned i = 0; i < TRACE_ARGS; i++) {
		text_puts(text, " 0x");
		text_number(text, entry->args[i], 16, 1);
	}
}

void
text_event(struct text *text, const struct trace_entry *entry)
{
	const struct trace_event *event = trace_find_event(trace_event_of(entry));
	struct trace_argument argument = TRACE_NO_ARGUMENT;

	if (!event) {
		put_unknown(text, entry);
		return;
	}
	text_puts(text, event->name);
	while (trace_next_argument(entry, event, &argument)) {
		text_puts(text, " ");
		text_put(text, argument.name, (size_t)argument.name_length);
		text_puts(text, "=");
		put_value(text, &argument);
	}
}
