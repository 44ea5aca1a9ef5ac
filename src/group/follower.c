/* SPDX-License-Identifier: BSD-2-Clause */
#include <group/follower.h>

#include <base/error.h>
#include <base/fd.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

/* The largest errno of the kernel. A negative version beyond it is only a strange version. */
#define ERRNO_MAX 4095

void
follower_init(struct follower *follower)
{
	*follower = (struct follower){.state = FOLLOWER_VERSION};
}

void
follower_init_either(struct follower *follower)
{
	*follower = (struct follower){.state = FOLLOWER_VERSION, .either = true};
}

void
follower_init_observer(struct follower *follower)
{
	*follower = (struct follower){.state = FOLLOWER_VERSION, .observes = true};
}

/* Our id, in either dialect. */
static void
identify(struct follower *follower, int64_t id, bool is_2010, struct follower_event *event)
{
	event->identifies = true;
	follower->identified = true;
	follower->id = (uint16_t)id;
	follower->is_2010 = is_2010;
	follower->state = FOLLOWER_MEMORY;
}

/* In FOLLOWER_VERSION, if there is no doubt: an id that is no version. */
static bool
is_id_of_2010(const struct follower *follower, const struct wire_message *message)
{
	return follower->either && message->fd < 0 && message->number > IVSHMEM_WIRE_VERSION &&
	       message->number <= IVSHMEM_MAX_ID;
}

/* In FOLLOWER_ID: an id never has a descriptor, so the number that we took for the version was the
 * id. */
static bool
follows_id_of_2010(const struct follower *follower, const struct wire_message *message)
{
	return follower->either && message->fd >= 0;
}

/* In FOLLOWER_VERSION, if there is no doubt: a version never has a descriptor. */
static bool
is_memory_of_2010(const struct follower *follower, const struct wire_message *message)
{
	return follower->either && message->fd >= 0 && message->number == IVSHMEM_WIRE_MEMORY;
}

static int
step_version(const struct follower *follower, const struct wire_message *message,
	struct ivshmem_error *reterr)
{
	int64_t version = message->number;
	int expected = follower->observes ? IVSHMEM_WIRE_OBSERVER : IVSHMEM_WIRE_VERSION;

	if (version < 0 && version >= -ERRNO_MAX) {
		const char *reason = strerror((int)-version);

		if (version == -ENOSPC)
			reason = "no peer id can be used at the moment";
		else if (version == -EUSERS)
			reason =
				follower->observes
					? "it has as many observers as it may have (--max-observers)"
					: "it has as many peers as it may have (--max-peers)";
		else if (version == -EBUSY)
			reason = "another member has this place (--member)";
		else if (version == -EACCES)
			reason =
				"it allows neither our user nor one of our groups (--allow-user, --allow-group)";
		else if (version == -EDQUOT)
			reason =
				follower->observes
					? "our user has as many observers as it may have (--max-observers-per-user)"
					: "our user has as many peers as it may have (--max-peers-per-user)";
		else if (version == -EMFILE)
			reason = "it has no file descriptors left";
		else if (version == -ETOOMANYREFS)
			reason = "other clients leave too many descriptors unread";
		return error_set(reterr, -EPROTONOSUPPORT,
			"the server refused us: %s (it sent version %" PRId64
			" where %d was expected)",
			reason, version, expected);
	}
	if (follower->observes && version == IVSHMEM_WIRE_VERSION)
		return error_set(reterr, -EPROTONOSUPPORT,
			"this is a server's socket for peers, not for observers: write unix:PATH");
	if (!follower->observes && version == IVSHMEM_WIRE_OBSERVER)
		return error_set(reterr, -EPROTONOSUPPORT,
			"this is a server's socket for observers, who get no id: name the one for peers, or write observe:PATH");
	if (version != expected)
		return error_set(reterr, -EPROTONOSUPPORT,
			"the server speaks version %" PRId64
			" of the protocol, but we speak version %d",
			version, expected);
	if (message->fd >= 0)
		return error_set(
			reterr, -EPROTO, "the server attached a descriptor to its version");
	return 0;
}

static int
step_id(const struct wire_message *message, struct ivshmem_error *reterr)
{
	if (message->number < 0 || message->number > IVSHMEM_MAX_ID)
		return error_set(reterr, -EPROTO,
			"the server sent %" PRId64
			" as our id, which must be 0 to %d (a server from before QEMU 2.5?)",
			message->number, IVSHMEM_MAX_ID);
	if (message->fd >= 0)
		return error_set(reterr, -EPROTO,
			"the server attached a descriptor to our id (a server from before QEMU 2.5?)");
	return 0;
}

/* The number that an observer gets in the place of an id. */
static int
step_n_vectors(const struct wire_message *message, struct ivshmem_error *reterr)
{
	if (message->number < 0 || message->number > IVSHMEM_MAX_VECTORS)
		return error_set(reterr, -EPROTO,
			"the server sent %" PRId64
			" as the number of vectors of each peer, which must be 0 to %d",
			message->number, IVSHMEM_MAX_VECTORS);
	if (message->fd >= 0)
		return error_set(reterr, -EPROTO,
			"the server attached a descriptor to the number of vectors");
	return 0;
}

static int
nonsense(struct follower_event *event, struct ivshmem_error *reterr, const char *what)
{
	event->type = FOLLOWER_EVENT_NONSENSE;
	error_set(reterr, -EPROTO, "%s; it is ignored", what);
	return 0;
}

/* `take` is set when the descriptor went into the event. */
static int
step_running(struct follower *follower, const struct wire_message *message,
	struct follower_event *event, bool *take, struct ivshmem_error *reterr)
{
	int64_t number = message->number;

	if (follower->observes && number == IVSHMEM_WIRE_COMPLETE && message->fd < 0) {
		if (follower->complete)
			return nonsense(
				event, reterr, "the server said a second time that this is all");
		follower->complete = true;
		return 0;
	}
	if (number < IVSHMEM_WIRE_MEMORY || number > IVSHMEM_MAX_ID)
		return error_set(reterr, -EPROTO,
			"the server sent %" PRId64 ", which is neither a peer nor the memory",
			number);
	if (number == IVSHMEM_WIRE_MEMORY) {
		if (follower->state == FOLLOWER_RUNNING)
			return nonsense(
				event, reterr, "the server sent shared memory a second time");
		if (message->fd < 0)
			return error_set(reterr, -EPROTO,
				"the server announced the shared memory without its descriptor");
		follower->state = FOLLOWER_RUNNING;
		event->type = FOLLOWER_EVENT_MEMORY;
		event->fd = message->fd;
		*take = true;
		return 0;
	}
	if (message->fd >= 0) {
		event->type = FOLLOWER_EVENT_VECTOR;
		event->peer = (uint16_t)number;
		event->fd = message->fd;
		*take = true;
		return 0;
	}
	if (!follower->observes && number == follower->id)
		return nonsense(event, reterr, "the server said that we left");
	event->type = FOLLOWER_EVENT_LEFT;
	event->peer = (uint16_t)number;
	return 0;
}

int
follower_step(struct follower *follower, const struct wire_message *message,
	struct follower_event *ret_event, struct ivshmem_error *reterr)
{
	struct follower_event event = {.type = FOLLOWER_EVENT_NONE, .fd = -1};
	bool take = false;
	int r = -EPROTO;

	switch (follower->state) {
	case FOLLOWER_VERSION:
		if (is_id_of_2010(follower, message)) {
			identify(follower, message->number, true, &event);
			r = 0;
			break;
		}
		if (is_memory_of_2010(follower, message)) {
			follower->state = FOLLOWER_ID_LAST;
			event.type = FOLLOWER_EVENT_MEMORY;
			event.fd = message->fd;
			take = true;
			r = 0;
			break;
		}
		r = step_version(follower, message, reterr);
		if (r == 0)
			follower->state = FOLLOWER_ID;
		break;
	case FOLLOWER_ID:
		if (follows_id_of_2010(follower, message)) {
			identify(follower, IVSHMEM_WIRE_VERSION, true, &event);
			r = step_running(follower, message, &event, &take, reterr);
			break;
		}
		if (follower->observes) {
			r = step_n_vectors(message, reterr);
			if (r == 0) {
				follower->n_vectors = (unsigned)message->number;
				follower->state = FOLLOWER_MEMORY;
			}
			break;
		}
		r = step_id(message, reterr);
		if (r == 0)
			identify(follower, message->number, false, &event);
		break;
	case FOLLOWER_ID_LAST:
		r = step_id(message, reterr);
		if (r == 0) {
			identify(follower, message->number, true, &event);
			follower->state = FOLLOWER_RUNNING;
		}
		break;
	case FOLLOWER_MEMORY:
	case FOLLOWER_RUNNING:
		r = step_running(follower, message, &event, &take, reterr);
		break;
	case FOLLOWER_FAILED:
		error_set(reterr, r, "the connection failed before");
		break;
	}
	if (!take)
		fd_close(message->fd);
	if (r < 0)
		follower->state = FOLLOWER_FAILED;
	else
		*ret_event = event;
	return r;
}
