/* SPDX-License-Identifier: BSD-2-Clause */

/* Which handler gets a request, and what becomes of its errors. */
#include <vfio_user/handlers.h>

#include <base/error.h>
#include <base/pace.h>
#include <trace/trace.h>
#include <vfio_user/refusal.h>

#include <errno.h>

static const struct command {
	const char *name;
	request_handler *handle;
	size_t min_length; /* of the body */
} commands[] = {
	[VFIO_USER_VERSION] = {"VERSION", handle_version, sizeof(struct vfio_user_version)},
	[VFIO_USER_DMA_MAP] = {"DMA_MAP", handle_dma_map, sizeof(struct vfio_user_dma_map)},
	[VFIO_USER_DMA_UNMAP] = {"DMA_UNMAP", handle_dma_unmap, sizeof(struct vfio_user_dma_unmap)},
	[VFIO_USER_DEVICE_GET_INFO] = {"DEVICE_GET_INFO", handle_device_info,
		sizeof(struct vfio_user_device_info)},
	[VFIO_USER_DEVICE_GET_REGION_INFO] = {"DEVICE_GET_REGION_INFO", handle_region_info,
		sizeof(struct vfio_user_region_info)},
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = {"DEVICE_GET_REGION_IO_FDS", handle_io_fds,
		sizeof(struct vfio_user_io_fds)},
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = {"DEVICE_GET_IRQ_INFO", handle_irq_info,
		sizeof(struct vfio_user_irq_info)},
	[VFIO_USER_DEVICE_SET_IRQS] = {"DEVICE_SET_IRQS", handle_set_irqs,
		sizeof(struct vfio_user_irq_set)},
	[VFIO_USER_REGION_READ] = {"REGION_READ", handle_region_read,
		sizeof(struct vfio_user_region_access)},
	[VFIO_USER_REGION_WRITE] = {"REGION_WRITE", handle_region_write,
		sizeof(struct vfio_user_region_access)},
	[VFIO_USER_DEVICE_RESET] = {"DEVICE_RESET", handle_reset, 0},
	[VFIO_USER_REGION_WRITE_MULTI] = {"REGION_WRITE_MULTI", handle_write_multi,
		sizeof(struct vfio_user_write_multi)},
	[VFIO_USER_DEVICE_FEATURE] = {"DEVICE_FEATURE", handle_feature,
		sizeof(struct vfio_user_feature)},
	[VFIO_USER_MIG_DATA_READ] = {"MIG_DATA_READ", handle_mig_data_read,
		sizeof(struct vfio_user_mig_data)},
	[VFIO_USER_MIG_DATA_WRITE] = {"MIG_DATA_WRITE", handle_mig_data_write,
		sizeof(struct vfio_user_mig_data)},
};

#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static int
dispatch(struct session *session, struct request *request, struct reply *reply)
{
	const struct vfio_user_header *header = &request->header;
	const struct command *command;
	/* Before the version is negotiated, a malformed message ends the connection. */
	int malformed = session->negotiated ? -EINVAL : -EPROTO;

	if ((header->flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
		return error_set(&session->error, -EPROTO,
			"it is not a command (flags 0x%x), and we never asked for a reply",
			header->flags);
	if (!session->negotiated && header->command != VFIO_USER_VERSION)
		return error_set(&session->error, -EPROTO, "VERSION must come first");
	if (header->command >= N_COMMANDS || !commands[header->command].handle)
		return error_set(&session->error, -ENOSYS, "there is no such command");
	if (request->n_fds > VFIO_USER_MAX_FDS)
		return error_set(&session->error, malformed,
			"it has %u descriptors, but %d are the most", request->n_fds,
			VFIO_USER_MAX_FDS);
	command = &commands[header->command];
	if (request->length < command->min_length)
		return error_set(&session->error, malformed,
			"its body has %zu bytes, but %zu are needed", request->length,
			command->min_length);
	return command->handle(session, request, reply);
}

/* Log why a request is refused. */
static void
complain_of(const struct session *session, const struct vfio_user_header *header)
{
	const char *name = "command";

	if (header->command < N_COMMANDS && commands[header->command].name)
		name = commands[header->command].name;
	pace_printf(session->complaints, "the VMM's %s (%u) is refused: %s", name, header->command,
		session->error.message);
}

/* Accesses of the guest are too many, and too quick. */
bool
request_is_access(uint16_t command)
{
	return command == VFIO_USER_REGION_READ || command == VFIO_USER_REGION_WRITE ||
	       command == VFIO_USER_REGION_WRITE_MULTI;
}

bool
handle_request(struct session *session, struct request *request,
	struct vfio_user_header *ret_header, struct reply *reply)
{
	int r;

	reply->length = 0;
	reply->n_fds = 0;
	session->error.code = 0;
	session->error.message[0] = '\0';
	r = dispatch(session, request, reply);
	if (r < 0)
		TRACE(vmm_refused, request->header.command, request->header.size, request->n_fds,
			r);
	else if (!request_is_access(request->header.command))
		TRACE(vmm_request, request->header.command, request->header.size, request->n_fds);
	if (r < 0) {
		complain_of(session, &request->header);
		reply_drop(reply);
		/* EPROTO means the end among us. VMMs know EINVAL. */
		refusal_reply(&request->header, r == -EPROTO ? EINVAL : (uint32_t)-r, ret_header);
		return r == -EPROTO;
	}
	*ret_header = (struct vfio_user_header){
		.id = request->header.id,
		.command = request->header.command,
		.size = (uint32_t)(sizeof(*ret_header) + reply->length),
		.flags = VFIO_USER_TYPE_REPLY,
	};
	return false;
}
