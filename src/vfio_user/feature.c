/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * DEVICE_FEATURE, which is only about migration, and the two messages that carry the stream.
 *
 * As in the kernel, the form of a request is checked first, and then whether there is such a
 * feature. A feature that does not exist is -ENOTTY. A device that is not the master has no
 * features.
 */
#include <base/error.h>
#include <function/function.h>
#include <vfio_user/handlers.h>

#include <errno.h>
#include <string.h>

#define OPERATIONS (VFIO_USER_FEATURE_GET | VFIO_USER_FEATURE_SET)
#define ALL_FLAGS  (VFIO_USER_FEATURE_MASK | OPERATIONS | VFIO_USER_FEATURE_PROBE)

static int
get_migration(struct session *session, struct reply *reply)
{
	uint64_t flags = VFIO_USER_MIGRATION_STOP_COPY | VFIO_USER_MIGRATION_PRE_COPY;

	(void)session;
	reply_add(reply, &flags, sizeof(flags));
	return 0;
}

static int
get_state(struct session *session, struct reply *reply)
{
	struct vfio_user_device_state state = {.device_state = session->function->migration.state};

	reply_add(reply, &state, sizeof(state));
	return 0;
}

static int
set_state(struct session *session, const void *data, struct reply *reply)
{
	struct vfio_user_device_state state;
	int r;

	memcpy(&state, data, sizeof(state));
	r = function_set_state(session->function, state.device_state, &session->error);
	if (r < 0)
		return r;
	reply_add(reply, &state, sizeof(state));
	return 0;
}

static const struct feature {
	size_t size; /* of its data */
	int (*get)(struct session *session, struct reply *reply);
	int (*set)(struct session *session, const void *data, struct reply *reply);
} features[] = {
	[VFIO_USER_FEATURE_MIGRATION] = {sizeof(uint64_t), get_migration, NULL},
	[VFIO_USER_FEATURE_MIG_DEVICE_STATE] = {sizeof(struct vfio_user_device_state), get_state,
		set_state},
};

#define N_FEATURES (sizeof(features) / sizeof(features[0]))

/* NULL, and session->error, if there is none, or it cannot be set. */
static const struct feature *
find_feature(struct session *session, uint32_t flags)
{
	uint32_t number = flags & VFIO_USER_FEATURE_MASK;
	const struct feature *feature;

	if (number >= N_FEATURES || features[number].size == 0) {
		error_set(&session->error, -ENOTTY, "there is no feature %u", number);
		return NULL;
	}
	if (!migration_supported(&session->function->migration)) {
		error_set(&session->error, -ENOTTY,
			"only the master is migrated, and this device is a peer (role=peer, master=off)");
		return NULL;
	}
	feature = &features[number];
	if ((flags & VFIO_USER_FEATURE_SET) && !feature->set) {
		error_set(&session->error, -EINVAL, "feature %u cannot be set", number);
		return NULL;
	}
	return feature;
}

int
handle_feature(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_feature head;
	const struct feature *feature;
	uint32_t operation;
	size_t need;

	memcpy(&head, request->body, sizeof(head));
	operation = head.flags & OPERATIONS;
	if (head.argsz < sizeof(head) || (head.flags & ~ALL_FLAGS) != 0)
		return error_set(&session->error, -EINVAL,
			"argsz %u must be at least %zu, and flags 0x%x must be known", head.argsz,
			sizeof(head), head.flags);
	if (!(head.flags & VFIO_USER_FEATURE_PROBE) && operation != VFIO_USER_FEATURE_GET &&
		operation != VFIO_USER_FEATURE_SET)
		return error_set(&session->error, -EINVAL,
			"flags 0x%x must have exactly one of GET and SET, or PROBE", head.flags);
	feature = find_feature(session, head.flags);
	if (!feature)
		return session->error.code;

	if (head.flags & VFIO_USER_FEATURE_PROBE) {
		reply_add(reply, request->body,
			request->length < head.argsz ? request->length : head.argsz);
		return 0;
	}
	need = sizeof(head) + feature->size;
	if (head.argsz < need || (operation == VFIO_USER_FEATURE_SET && request->length < need))
		return error_set(&session->error, -EINVAL,
			"argsz %u and body of %zu bytes must have room for %zu bytes", head.argsz,
			request->length, need);
	head.argsz = (uint32_t)need;
	reply_add(reply, &head, sizeof(head));
	if (operation == VFIO_USER_FEATURE_SET)
		return feature->set(session, request->body + sizeof(head), reply);
	return feature->get(session, reply);
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* Whether one message can carry so many bytes of the stream. */
static int
check_size(struct session *session, const struct vfio_user_mig_data *head)
{
	uint32_t most = session->max_transfer;

	if (most > VFIO_USER_MAX_TRANSFER)
		most = VFIO_USER_MAX_TRANSFER;
	if (head->size > most)
		return error_set(&session->error, -EINVAL,
			"%u bytes are more than the %u of one message", head->size, most);
	if (head->argsz < sizeof(*head) + head->size)
		return error_set(&session->error, -EINVAL, "argsz %u has no room for %u bytes",
			head->argsz, head->size);
	return 0;
}

/* A reply with fewer bytes than the request asks for means the end of the stream. */
int
handle_mig_data_read(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_mig_data head;
	size_t n = 0;
	int r;

	memcpy(&head, request->body, sizeof(head));
	r = check_size(session, &head);
	if (r < 0)
		return r;
	r = migration_read(&session->function->migration, reply->body + sizeof(head), head.size, &n,
		&session->error);
	if (r < 0)
		return r;
	head.size = (uint32_t)n;
	head.argsz = (uint32_t)(sizeof(head) + n);
	reply_add(reply, &head, sizeof(head));
	reply->length += n;
	return 0;
}

int
handle_mig_data_write(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_mig_data head;
	int r;

	(void)reply;
	memcpy(&head, request->body, sizeof(head));
	r = check_size(session, &head);
	if (r < 0)
		return r;
	if (request->length - sizeof(head) != head.size)
		return error_set(&session->error, -EINVAL, "it has %zu bytes of data, but says %u",
			request->length - sizeof(head), head.size);
	return migration_write(&session->function->migration, request->body + sizeof(head),
		head.size, &session->error);
}
