/* SPDX-License-Identifier: BSD-2-Clause */
#include "output.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

static void print_message(const char *format, va_list args) __attribute__((format(printf, 1, 0)));

static void
print_message(const char *format, va_list args)
{
	char message[2048];

	vsnprintf(message, sizeof(message), format, args);
	/* One call makes one write, so the lines of several processes on one terminal stay whole. */
	fprintf(stderr, "ivshmem: %s\n", message);
}

enum status
fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_message(format, args);
	va_end(args);
	return STATUS_FAILURE;
}

void
note(const struct cli *cli, const char *format, ...)
{
	va_list args;

	if (cli->quiet)
		return;
	va_start(args, format);
	print_message(format, args);
	va_end(args);
}

/* The first failure, which we report. */
static int failure;

int
output_failure(void)
{
	if (ferror(stdout) && !failure)
		failure = errno ? -errno : -EIO;
	return failure;
}

int
output_flush(void)
{
	if (fflush(stdout) == EOF && !failure)
		failure = errno ? -errno : -EIO;
	return output_failure();
}

void
print_line(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	output_flush();
}

/* Whether this byte of a text could do something to a terminal. */
static bool
is_control(const unsigned char *bytes, size_t i)
{
	/* The C1 control characters, U+0080 to U+009F, as UTF-8: 0xc2 and then 0x80 to 0x9f. */
	bool c1 = i > 0 && bytes[i - 1] == 0xc2 && bytes[i] >= 0x80 && bytes[i] <= 0x9f;

	return bytes[i] < 0x20 || bytes[i] == 0x7f || c1;
}

void
print_foreign_text(const char *text, size_t length)
{
	const unsigned char *bytes = (const unsigned char *)text;

	if (!isatty(STDOUT_FILENO)) {
		fwrite(text, 1, length, stdout);
		return;
	}
	for (size_t i = 0; i < length; i++) {
		if (is_control(bytes, i) && bytes[i] != '\n' && bytes[i] != '\t')
			printf("\\x%02x", bytes[i]);
		else
			putchar(bytes[i]);
	}
}

char *
foreign_text(const char *text, size_t length, char *buffer, size_t size)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t n = 0;

	for (size_t i = 0; i < length && n + sizeof("\\x00") < size; i++) {
		if (is_control(bytes, i))
			n += (size_t)sprintf(buffer + n, "\\x%02x", bytes[i]);
		else
			buffer[n++] = text[i];
	}
	buffer[n] = '\0';
	return buffer;
}

char *
vectors_text(unsigned vectors, char buffer[VECTORS_TEXT_MAX])
{
	snprintf(buffer, VECTORS_TEXT_MAX, "%u vector%s", vectors, vectors == 1 ? "" : "s");
	return buffer;
}

char *
rate_text(double bytes_per_second, char buffer[RATE_TEXT_MAX])
{
	static const char *const units[] = {"KiB", "MiB", "GiB"};
	double value = bytes_per_second / 1024;
	unsigned unit = 0;

	if (bytes_per_second < 1024) {
		snprintf(buffer, RATE_TEXT_MAX, "%.0f bytes/s", bytes_per_second);
		return buffer;
	}
	for (; value >= 1024 && unit < 2; unit++)
		value /= 1024;
	snprintf(buffer, RATE_TEXT_MAX, "%.1f %s/s", value, units[unit]);
	return buffer;
}
