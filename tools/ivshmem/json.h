/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_JSON_H
#define IVSHMEM_JSON_H

/* JSON as a result of a command. */

#include <base/json.h>

#define JSON_BEGIN                                                                                 \
	{                                                                                          \
		.out = stdout                                                                      \
	}

/* Close what is open, end the line and flush it. For a file, the caller looks for errors. */
void json_finish(struct json *json);

#endif
