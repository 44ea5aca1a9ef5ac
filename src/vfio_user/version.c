/* SPDX-License-Identifier: BSD-2-Clause */

/* VERSION: the first message. It says what each side can take. */
#include <vfio_user/handlers.h>

#include <base/error.h>

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* No honest list of capabilities is longer. */
#define MAX_JSON 65536

/*
 * QEMU fails if the reply is longer than its own request, announces more than 16 descriptors, or
 * has a minor version above its own. Cloud Hypervisor needs the JSON text, and `capabilities` in
 * it.
 */
static const char capabilities[] =
	"{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576}}";

_Static_assert(VFIO_USER_MAX_FDS == 16 && VFIO_USER_MAX_TRANSFER == 1048576,
	"the text above must say what is so");

/* Take a number of the client, within our bounds. */
static int
take_limit(struct session *session, const json_t *client, const char *name, uint32_t max,
	uint32_t *value)
{
	const json_t *number = json_object_get(client, name);
	json_int_t limit;

	if (!number)
		return 0;
	limit = json_integer_value(number);
	if (!json_is_integer(number) || limit < 0)
		return error_set(&session->error, -EPROTO,
			"%s in its JSON must be a whole number, and not negative", name);
	*value = limit < max ? (uint32_t)limit : max;
	return 0;
}

/* The page size of the client's dirty bitmaps does not matter, because there are none. */
static int
check_migration(struct session *session, const json_t *client)
{
	const json_t *migration = json_object_get(client, "migration");
	uint32_t page_size;

	if (migration && !json_is_object(migration))
		return error_set(
			&session->error, -EPROTO, "`migration` in its JSON must be an object");
	return take_limit(session, migration, "pgsize", UINT32_MAX, &page_size);
}

static int
take_capabilities(struct session *session, const json_t *root)
{
	const json_t *client = json_object_get(root, "capabilities");
	uint32_t max_fds = session->max_fds, max_transfer = session->max_transfer;
	int r;

	if (!json_is_object(root) || (client && !json_is_object(client)))
		return error_set(&session->error, -EPROTO,
			"its JSON must be an object, as must `capabilities` in it");
	r = take_limit(session, client, "max_msg_fds", VFIO_USER_MAX_REPLY_FDS, &max_fds);
	if (r == 0)
		r = take_limit(session, client, "max_data_xfer_size", VFIO_USER_MAX_TRANSFER,
			&max_transfer);
	if (r == 0)
		r = check_migration(session, client);
	if (r < 0)
		return r;
	session->max_fds = max_fds;
	session->max_transfer = max_transfer;
	return 0;
}

static int
take_json(struct session *session, const char *text, size_t length)
{
	json_error_t error;
	json_t *root;
	int r;

	/* Text and NUL, and nothing after them. A client may send no text at all. */
	if (length == 0)
		return 0;
	if (length > MAX_JSON || memchr(text, '\0', length) != text + length - 1)
		return error_set(&session->error, -EPROTO,
			"its JSON must be one string that ends in a NUL, of %d bytes at most",
			MAX_JSON);
	if (length == 1)
		return 0;
	root = json_loadb(text, length - 1, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		return error_set(
			&session->error, -EPROTO, "its JSON does not parse: %s", error.text);
	r = take_capabilities(session, root);
	json_decref(root);
	return r;
}

int
handle_version(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_version version;
	int r;

	if (session->negotiated)
		return error_set(&session->error, -EINVAL, "the version was negotiated before");
	memcpy(&version, request->body, sizeof(version));
	if (version.major != VFIO_USER_MAJOR)
		return error_set(&session->error, -EPROTO,
			"it speaks version %u.%u of vfio-user, but we speak %d.%d", version.major,
			version.minor, VFIO_USER_MAJOR, VFIO_USER_MINOR);
	r = take_json(session, (const char *)request->body + sizeof(version),
		request->length - sizeof(version));
	if (r < 0)
		return r;
	session->negotiated = true;
	if (version.minor > VFIO_USER_MINOR)
		version.minor = VFIO_USER_MINOR;
	reply_add(reply, &version, sizeof(version));
	reply_add(reply, capabilities, sizeof(capabilities));
	return 0;
}
