/* SPDX-License-Identifier: BSD-2-Clause */
#include <operators.h>

#include <base/parse.h>
#include <control/control.h>

#include <stdio.h>

static void
describe_memory(
	const struct region_config *config, const struct region *region, char *text, size_t size)
{
	const char *more = config->preallocate ? ", preallocated" : "";
	char page[SIZE_TEXT_MAX];

	if (config->kind == REGION_SHM)
		snprintf(text, size, "shared memory object %s%s", region->name, more);
	else if (config->kind == REGION_DIRECTORY)
		snprintf(text, size, "unnamed file in %s%s", config->name, more);
	else if (config->huge_page)
		snprintf(text, size, "sealed memfd with huge pages of %s%s",
			format_size(config->huge_page, page), more);
	else
		snprintf(text, size, "sealed memfd%s", more);
}

int
operators_let_in(struct operators *operators, struct server *server, const struct sockets *sockets,
	const struct region *region, const struct handover *handover, const struct options *options)
{
	bool continues = handover->bag >= 0;

	if (sockets->control.fd < 0)
		return 0;
	control_name(options->socket, operators->region, sizeof(operators->region));
	describe_memory(&options->memory, region, operators->memory, sizeof(operators->memory));
	if (continues)
		snprintf(operators->continues, sizeof(operators->continues), "%s",
			handover->version);
	operators->facts = (struct server_facts){
		.region = operators->region,
		.socket = options->socket,
		.memory = operators->memory,
		.memory_size = region->size,
		.version = IVSHMEM_VERSION,
		.continues = continues ? operators->continues : NULL,
	};
	return server_open_control(
		&operators->control, server, &operators->facts, sockets->control.fd);
}

void
operators_send_away(struct operators *operators)
{
	operators->control = control_free(operators->control);
}
