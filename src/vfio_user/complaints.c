/* SPDX-License-Identifier: BSD-2-Clause */
#include <complaints.h>

#include <stdarg.h>
#include <stdio.h>

void
complain(struct complaints *complaints, const char *format, ...)
{
	uint64_t now = clock_now();
	char message[640];
	va_list args;

	if (now - complaints->since > COMPLAINT_PERIOD) {
		if (complaints->n > COMPLAINT_LIMIT)
			log_printf(complaints->log, complaints->level,
				"there were %u more %s because of VMMs",
				complaints->n - COMPLAINT_LIMIT,
				complaints->level == LOG_LEVEL_WARNING ? "warnings" : "messages");
		complaints->since = now;
		complaints->n = 0;
	}
	if (complaints->n++ >= COMPLAINT_LIMIT)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	for (char *c = message; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	log_printf(complaints->log, complaints->level, "%s%s", message,
		complaints->n == COMPLAINT_LIMIT ? " (for a minute, no more of this is told)" : "");
}
