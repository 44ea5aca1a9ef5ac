/* SPDX-License-Identifier: BSD-2-Clause */

/* Recordings by somebody who is not trusted: each is refused, or becomes a picture. */

#include <fuzz.h>

#include <plot/chart.h>
#include <plot/reader.h>

#include <ivshmem/common.h>

static void
draw(const struct data *data)
{
	static const char end[] = "</svg>\n";
	char *text = NULL;
	size_t length;
	FILE *file = open_memstream(&text, &length);

	DEMAND(file);
	chart_draw(file, data, NULL);
	fclose(file);
	DEMAND(length > strlen(end) && strcmp(text + length - strlen(end), end) == 0);
	/* Numbers that a viewer cannot read. */
	DEMAND(!strstr(text, "\"nan") && !strstr(text, "\"-nan") && !strstr(text, "\"inf") &&
		!strstr(text, "\"-inf"));
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	struct ivshmem_error error = {.message = ""};
	struct data *data;
	FILE *file;
	bool cut;

	if (size == 0)
		return 0;
	file = fmemopen((void *)(uintptr_t)bytes, size, "r");
	data = data_new();
	DEMAND(file && data);
	if (recording_read(file, data, &cut, &error) == 0)
		draw(data);
	else
		DEMAND(error.message[0]);
	fclose(file);
	data_free(data);
	return 0;
}
