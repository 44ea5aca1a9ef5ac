/* SPDX-License-Identifier: BSD-2-Clause */

/* Any bytes as a record between an agent and a caller, and as a request. */

#include <fuzz.h>

#include <agent/records.h>

#include <errno.h>

static void
check_record(const uint8_t *data, size_t size)
{
	struct record record;
	char bytes[RECORD_SMALL];
	size_t header;

	if (record_parse(&record, data, size) < 0)
		return;
	header = record_format(bytes, &record);
	DEMAND(size <= RECORD_MAX && header + record.length == size);
	DEMAND(memcmp(bytes, data, header) == 0);
	DEMAND(record.bytes == (const char *)data + header);
}

static void
check_request(const uint8_t *data, size_t size)
{
	struct request request;
	struct request_draft draft;
	struct ivshmem_error error = {0};
	int r = request_parse(&request, data, size, &error);

	if (r < 0) {
		DEMAND((r == -EPROTO || r == -EPROTONOSUPPORT) && error.code == r);
		DEMAND(error.message[0]);
		return;
	}
	/* The same again is the same request. */
	request_begin(&draft, request.service);
	for (unsigned i = 0; i < request.n_fields; i++)
		request_add(&draft, request.fields[i].name, request.fields[i].value);
	DEMAND(request_finish(&draft) == 0);
	DEMAND(draft.length == size && memcmp(draft.bytes, data, size) == 0);
	free(draft.bytes);
	request_free(&request);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_record(data, size);
	check_request(data, size);
	return 0;
}
