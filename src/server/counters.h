/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_COUNTERS_H
#define SERVER_COUNTERS_H

/* What has happened since this process began to serve. */

#include <stdint.h>

/* Why new clients were refused: the errno that each was told. */
#define REFUSALS_OTHER 8
#define REFUSALS_MAX   9
/* Why we disconnected clients. */
enum cut { CUT_STALLED, CUT_SENT, CUT_OPERATOR, CUT_FAILED, CUTS_MAX };

struct counters {
	uint64_t joins, leaves; /* of peers */
	uint64_t observers;     /* that came */
	uint64_t refusals[REFUSALS_MAX];
	uint64_t cuts[CUTS_MAX];
	uint64_t messages;      /* sent */
	uint64_t announcements; /* those of them that tell who joined or left */
	uint64_t full, starved; /* times that a client came into this state */
	uint64_t pauses;        /* times that no client could be accepted */
};

/* Count a refusal with this negative errno. */
void counters_refused(struct counters *counters, int reason);

/* Their names, of letters and dashes. */
const char *counters_refusal_name(unsigned refusal);
const char *counters_cut_name(enum cut cut);

#endif
