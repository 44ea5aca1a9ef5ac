/* SPDX-License-Identifier: BSD-2-Clause */
#include <server/counters.h>

#include <errno.h>

static const struct {
	int reason;
	const char *name;
} refusals[REFUSALS_MAX] = {
	{-EUSERS, "limit"},
	{-ENOSPC, "no-id"},
	{-EBUSY, "seat-taken"},
	{-ETOOMANYREFS, "unread-descriptors"},
	{-EMFILE, "no-descriptors"},
	{-ESHUTDOWN, "drained"},
	{-EACCES, "not-allowed"},
	{-EDQUOT, "user-limit"},
	[REFUSALS_OTHER] = {0, "other"},
};

void
counters_refused(struct counters *counters, int reason)
{
	unsigned i = 0;

	while (i < REFUSALS_OTHER && refusals[i].reason != reason)
		i++;
	counters->refusals[i]++;
}

const char *
counters_refusal_name(unsigned refusal)
{
	return refusals[refusal].name;
}

const char *
counters_cut_name(enum cut cut)
{
	static const char *const names[CUTS_MAX] = {
		[CUT_STALLED] = "stalled",
		[CUT_SENT] = "sent-something",
		[CUT_OPERATOR] = "operator",
		[CUT_FAILED] = "failed",
	};

	return names[cut];
}
