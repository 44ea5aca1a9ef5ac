/* SPDX-License-Identifier: BSD-2-Clause */
#include <base/pace.h>

#include <base/clock.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void
pace_end(struct pace *pace)
{
	if (pace->n > PACE_LINES)
		log_printf(pace->log, pace->level, "there were %u more %s like the last ones",
			pace->n - PACE_LINES,
			pace->level <= LOG_LEVEL_WARNING ? "warnings" : "messages");
	pace->n = 0;
}

void
pace_printf(struct pace *pace, const char *format, ...)
{
	uint64_t now = clock_now();
	char message[640];
	int saved = errno;
	va_list args;

	if (!log_enabled(pace->log, pace->level))
		return;
	if (now - pace->since > PACE_WHILE) {
		pace_end(pace);
		pace->since = now;
	}
	if (++pace->n > PACE_LINES)
		return;
	va_start(args, format);
	errno = saved;
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	for (char *c = message; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	log_printf(pace->log, pace->level, "%s%s", message,
		pace->n == PACE_LINES ? " (for a while, no more of this is told)" : "");
	errno = saved;
}
