/* SPDX-License-Identifier: BSD-2-Clause */
#include "context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
doctor_add_target(struct doctor *doctor, const char *scheme, const char *path)
{
	char *target;

	if (asprintf(&target, "%s:%s", scheme, path) < 0)
		return;
	for (size_t i = 0; i < doctor->n_targets; i++) {
		if (strcmp(doctor->targets[i], target) == 0) {
			free(target);
			return;
		}
	}
	if (doctor->n_targets == DOCTOR_MOST) {
		doctor->left_out = true;
		free(target);
		return;
	}
	doctor->targets[doctor->n_targets++] = target;
}

const struct known_server *
doctor_server(const struct doctor *doctor, const char *path)
{
	for (size_t i = 0; i < doctor->n_servers; i++)
		if (strcmp(doctor->servers[i].path, path) == 0)
			return &doctor->servers[i];
	return NULL;
}
