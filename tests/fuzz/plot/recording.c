/* SPDX-License-Identifier: BSD-2-Clause */

/* Recordings by somebody who is not trusted: each is refused, or becomes a picture. */

#include <fuzz.h>

#include <picture.h>
#include <plot/reader.h>

#include <ivshmem/common.h>

static void
draw(const struct data *data)
{
	static const char end[] = "</svg>\n";
	char *text = picture_of(data, NULL);

	DEMAND(text);
	DEMAND(strlen(text) > strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0);
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
