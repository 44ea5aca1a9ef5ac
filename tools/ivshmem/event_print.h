/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_EVENT_PRINT_H
#define IVSHMEM_EVENT_PRINT_H

/* The line that monitor and shell print for an event. */

#include "session.h"

/* Print the event to stdout as one line, of text (with `time_of_day`, behind the time of day) or of
 * JSON. A message goes to stderr. */
void event_print(const struct session *session, const struct event *event, bool time_of_day);

/* For the help: the forms of JSON that event_print() writes. */
#define EVENT_JSON_HELP                                                                            \
	"{\"time\":UNIX-SECONDS,\"event\":\"attached\",\"target\":T,\"id\":I,\"vectors\":N,\n"     \
	" \"size\":BYTES}\n"                                                                       \
	"{...,\"event\":\"joined\",\"peer\":P,\"vectors\":N}\n"                                    \
	"{...,\"event\":\"vectors\",\"peer\":P,\"vectors\":N}\n"                                   \
	"{...,\"event\":\"left\",\"peer\":P}\n"                                                    \
	"{...,\"event\":\"interrupt\",\"vector\":V,\"count\":C}\n"                                 \
	"{...,\"event\":\"lost\",\"reason\":TEXT}"

#endif
