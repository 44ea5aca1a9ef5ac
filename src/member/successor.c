/* SPDX-License-Identifier: BSD-2-Clause */
#include <member/successor.h>

#include <base/list.h>
#include <wire/log.h>

#include <string.h>

static void
joined(struct member *member, void *data)
{
	struct successor *successor = data;
	struct member_kept *kept = successor->spare;
	struct ivshmem_error error;

	if (successor->replace(member, successor->data, &error) < 0) {
		rejoin_failed(&successor->rejoin, &error);
		return;
	}
	successor->next = NULL;
	successor->spare = successor->config.kept;
	successor->config.kept = kept;
	rejoin_joined(&successor->rejoin);
}

/* A loss of the next member ends the try. A loss of a member in use is for the user. */
static void
lost(struct member *member, const struct ivshmem_error *error, void *data)
{
	struct successor *successor = data;

	if (member == successor->next)
		rejoin_failed(&successor->rejoin, error);
	else if (successor->config.lost)
		successor->config.lost(member, error, successor->config.data);
}

static int
begin(struct rejoin *rejoin, struct ivshmem_error *reterr)
{
	struct successor *successor = container_of(rejoin, struct successor, rejoin);
	struct member_config config = successor->config;

	config.kept = successor->spare;
	if (config.kept) {
		wire_log_reset(config.kept->wire_log);
		config.kept->is_rung = false;
		memset(config.kept->rung, 0, sizeof(config.kept->rung));
	}
	config.joined = joined;
	config.lost = lost;
	config.data = successor;
	return member_open(&successor->next, rejoin->loop, &config, rejoin->log, reterr);
}

static void
abandon(struct rejoin *rejoin)
{
	struct successor *successor = container_of(rejoin, struct successor, rejoin);

	successor->next = member_close(successor->next);
}

static void
settled(struct rejoin *rejoin)
{
	struct successor *successor = container_of(rejoin, struct successor, rejoin);

	successor->settled(successor->data);
}

static const struct rejoin_ops ops = {begin, abandon, settled};

void
successor_init(struct successor *successor, struct loop *loop, const struct log *log)
{
	rejoin_init(&successor->rejoin, &ops, loop, log, successor->config.timeout_ms);
}

void
successor_done(struct successor *successor)
{
	rejoin_done(&successor->rejoin);
}
