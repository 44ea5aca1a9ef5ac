/* SPDX-License-Identifier: BSD-2-Clause */
#include <operators.h>

#include <base/error.h>
#include <control/control.h>

#include <ivshmem/common.h>

#include <stdio.h>
#include <string.h>

static void
collect_facts(struct operators *operators, const struct device_options *options, const char *place)
{
	control_name(place, operators->name, sizeof(operators->name));
	if (options->shm)
		snprintf(operators->memory, sizeof(operators->memory), "shared memory object %s",
			options->shm);
	else if (options->file)
		snprintf(operators->memory, sizeof(operators->memory), "file %s", options->file);
	operators->facts = (struct vfio_user_facts){
		.name = operators->name,
		.socket = place,
		.server = options->server,
		.memory = operators->memory,
		.version = IVSHMEM_VERSION,
	};
}

int
operators_let_in(struct operators *operators, struct vfio_user *vfio_user,
	const struct device_options *options, const char *place, struct ivshmem_error *reterr)
{
	const struct listener_config config = {
		.path = options->control_socket,
		.mode = 0600,
		.owner = (uid_t)-1,
		.group = (gid_t)-1,
	};
	int r;

	if (!options->control_socket)
		return 0;
	r = listener_bind(&operators->listener, &config, reterr);
	if (r == 0)
		r = listener_listen(&operators->listener, reterr);
	if (r < 0)
		return r;
	collect_facts(operators, options, place);
	r = vfio_user_open_control(
		&operators->control, vfio_user, &operators->facts, operators->listener.fd);
	return r < 0 ? error_set(reterr, r, "cannot serve operators: %s", strerror(-r)) : 0;
}

void
operators_send_away(struct operators *operators)
{
	operators->control = control_free(operators->control);
	listener_close(&operators->listener);
}
