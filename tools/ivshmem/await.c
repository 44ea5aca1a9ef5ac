/* SPDX-License-Identifier: BSD-2-Clause */
#include "await.h"

#include "output.h"

#include <base/clock.h>

#include <string.h>

/* We wait for others no longer than this after attaching: some may come and go for ever. */
#define NEWS_LIMIT (10 * NSEC_PER_SEC)

/*
 * A server announces our vectors one by one, and no message says which is the last. After a silence of
 * this length, we have all of them. A busy machine does not make a server pause for so long.
 */
#define VECTOR_SILENCE (2 * NSEC_PER_SEC)

/* Complain that we have too few vectors, and name the remedy. */
static enum status
fail_for_vectors(const struct session *session, int vector)
{
	unsigned vectors = ivshmem_vectors(session->client);
	char text[VECTORS_TEXT_MAX];

	if (!ivshmem_has_id(session->client))
		return fail(
			"an observer has no id, so nobody can interrupt it: name the server's other socket, --target unix:PATH");
	if (vectors == 0 && !session->is_pci)
		return fail(
			"the server gives its peers no vectors, so nobody can interrupt us: start "
			"it with one or more, ivshmem-server -n 1");
	if (vectors == 0 && strcmp(ivshmem_backend(session->client), "sysfs") == 0)
		return fail(
			"interrupts cannot be received through sysfs: load our driver (modprobe "
			"ivshmem), bind the device to vfio-pci (--backend vfio tells what it lacks "
			"for that), or poll the memory");
	if (vectors == 0)
		return fail("the device has no interrupts: give the virtual machine an "
			    "ivshmem-doorbell device instead of ivshmem-plain");
	return fail("we have no vector %d: we have %s, counted from 0", vector,
		vectors_text(vectors, text));
}

/*
 * Whether the server may still give us vectors, so that we have `wanted`. A device gets no more, and
 * an observer gets none.
 */
static bool
vectors_may_come(const struct session *session, unsigned wanted)
{
	return !session->is_pci && ivshmem_has_id(session->client) && !session->lost.code &&
	       wanted <= IVSHMEM_MAX_VECTORS;
}

enum status
session_await_vector(struct session *session, int vector, uint64_t deadline)
{
	unsigned wanted = vector == IVSHMEM_ANY_VECTOR ? 1 : (unsigned)vector + 1;
	unsigned before = 0, wake = 0;
	char text[VECTORS_TEXT_MAX];
	uint64_t until = 0;

	for (bool first = true;; first = false) {
		unsigned vectors;
		bool more;

		if (session_check_attached(session) != STATUS_OK ||
			session_check_peers(session) != STATUS_OK)
			return STATUS_FAILURE;
		vectors = ivshmem_vectors(session->client);
		more = first || vectors != before;
		if (vectors >= wanted)
			return STATUS_OK;
		if (wake & SESSION_QUIT && session->signal_status == STATUS_OK)
			return STATUS_OK;
		if (wake & SESSION_QUIT)
			return fail("interrupted: we have no vector %u yet", wanted - 1);
		if (!vectors_may_come(session, wanted) || (wake & SESSION_TIMEOUT && !more))
			return fail_for_vectors(session, vector);
		if (first)
			note(session->cli, "waiting for vector %u: we have %s so far", wanted - 1,
				vectors_text(vectors, text));
		if (more) {
			/* Only our own vectors count: others may come and go for ever. */
			until = session_deadline(VECTOR_SILENCE);
			until = until < deadline ? until : deadline;
			before = vectors;
		}
		wake = session_step(session, -1, until);
	}
}

bool
session_await_news(struct session *session)
{
	uint64_t silent = session->heard_at + VECTOR_SILENCE;
	uint64_t limit = session->attached_at + NEWS_LIMIT;
	unsigned before = session->news;

	/* The server has told an observer when it had announced everything. */
	if (session->is_pci || session->is_memory || !ivshmem_has_id(session->client))
		return false;
	while (!session->lost.code && session->news == before) {
		if (session_step(session, -1, silent < limit ? silent : limit) &
			(SESSION_QUIT | SESSION_TIMEOUT))
			break;
	}
	return session->news != before;
}
