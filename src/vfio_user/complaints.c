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
			log_warning(complaints->log, "there were %u more warnings because of VMMs",
				complaints->n - COMPLAINT_LIMIT);
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
	log_warning(complaints->log, "%s%s", message,
		complaints->n == COMPLAINT_LIMIT ? " (for a minute, no more of this is told)" : "");
}
