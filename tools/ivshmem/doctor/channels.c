/* SPDX-License-Identifier: BSD-2-Clause */

/* What is in the shared memory. docs/channels.md says what lies where. */

#include "finding.h"
#include "look.h"
#include "topics.h"

#include <ivshmem/channel.h>
#include <ivshmem/client.h>

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PAGE        4096
#define SHAPE       8 /* where the header has the number of areas and their size */
#define CLAIMS      128
#define CLAIM_OWNED 1  /* the low byte of a claim */
#define STARTED     24 /* of an identity */

struct crowd {
	struct doctor *doctor;
	const struct ivshmem_client *client;
	unsigned living;
	unsigned here; /* processes of this machine */
};

static uint64_t
read_word(const struct ivshmem_client *client, uint64_t offset)
{
	uint64_t word = 0;

	return ivshmem_read(client, offset, &word, sizeof(word)) == 0 ? le64toh(word) : 0;
}

/* Whether the process of this number is the one that takes part, and not one of another machine. */
static int
count(void *data, const struct ivshmem_participant_info *info)
{
	struct crowd *crowd = data;
	uint64_t area_size = (read_word(crowd->client, SHAPE) & UINT64_C(0xffffffffffff)) * PAGE;
	uint64_t started = read_word(crowd->client, PAGE + info->area * area_size + STARTED);

	crowd->living++;
	if (started != 0 && started == look_process_started(crowd->doctor, (pid_t)info->pid))
		crowd->here++;
	return 0;
}

static void
check_areas(struct doctor *doctor, const struct ivshmem_client *client, const struct crowd *crowd,
	unsigned areas)
{
	unsigned owned = 0;

	for (unsigned i = 0; i < areas; i++)
		if ((read_word(client, CLAIMS + 8 * (uint64_t)i) & 0xff) == CLAIM_OWNED)
			owned++;
	found(doctor, "channels.looked-at", "%u areas for channels, %u taken", areas,
		crowd->living);
	if (owned > crowd->living) {
		mend(doctor, "ivshmem -t %s keeper &", doctor->subject);
		found(doctor, "channels.dead-owners", "%u area%s taken by processes that are gone",
			owned - crowd->living, owned - crowd->living == 1 ? " is" : "s are");
	}
	if (crowd->living >= areas) {
		mend(doctor, "when nobody uses channels: ivshmem -t %s format --areas %u",
			doctor->subject, areas * 2);
		found(doctor, "channels.full", "all %u areas are taken", areas);
	}
	/* Only a server tells when a guest ends, and it tells peers on the host. */
	if (crowd->living > 0 && crowd->here == 0 && ivshmem_peers(client, NULL, 0) >= 0) {
		mend(doctor, "ivshmem -t %s keeper &", doctor->subject);
		found(doctor, "channels.no-keeper",
			"%u participant%s channels, and none is on this host", crowd->living,
			crowd->living == 1 ? " uses" : "s use");
	}
}

void
channels_check(struct doctor *doctor, const struct ivshmem_client *client)
{
	struct crowd crowd = {.doctor = doctor, .client = client};
	struct ivshmem_error error;
	int r = ivshmem_channels_look(client, count, NULL, &crowd, &error);

	switch (r) {
	case 0:
		found(doctor, "channels.none", "nobody has used channels in this memory yet");
		break;
	case -EPROTONOSUPPORT:
		mend(doctor,
			"install the same version of ivshmem everywhere, then: ivshmem -t %s format",
			doctor->subject);
		found(doctor, "channels.other-layout", "%s", error.message);
		break;
	case -EMEDIUMTYPE:
		mend(doctor, "if nobody needs it: ivshmem -t %s format", doctor->subject);
		found(doctor, "channels.other-content",
			"there is something else than channels in the memory");
		break;
	case -EINPROGRESS:
		mend(doctor,
			"wait for the restore, or: ivshmem -t %s restore FILE, or ivshmem -t %s format",
			doctor->subject, doctor->subject);
		found(doctor, "channels.half-restored",
			"a restore is under way, or it was killed half-way");
		break;
	case -EINVAL:
		mend(doctor, "a larger memory: ivshmem-server -l 4M");
		found(doctor, "channels.too-small", "%s", error.message);
		break;
	default:
		if (r > 0) {
			check_areas(doctor, client, &crowd, (unsigned)r);
			break;
		}
		mend(doctor, "when nobody uses channels: ivshmem -t %s format --force",
			doctor->subject);
		found(doctor, "channels.damaged", "%s", error.message);
	}
}
