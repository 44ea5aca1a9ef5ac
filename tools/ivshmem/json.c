/* SPDX-License-Identifier: BSD-2-Clause */
#include "json.h"

#include "output.h"

void
json_finish(struct json *json)
{
	json_close(json);
	if (json->out != stdout)
		fflush(json->out);
	else
		output_flush();
}
