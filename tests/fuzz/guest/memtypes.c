/* SPDX-License-Identifier: BSD-2-Clause */

/* The kernel's list of memory types. The first line is the range that is asked for: START SIZE. */

#include <fuzz.h>

#include <guest/pci.h>

#include <inttypes.h>
#include <string.h>

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_text(data, size), *list;
	uint64_t start = 0, length = 0;
	enum ivshmem_mapping mapping, unknown;

	list = strchr(text, '\n');
	if (!list) {
		free(text);
		return 0;
	}
	*list++ = '\0';
	if (sscanf(text, "%" SCNx64 " %" SCNx64, &start, &length) < 1)
		start = 0;
	mapping = pci_parse_memtypes(list, start, length, IVSHMEM_MAPPING_COUNT);
	unknown = pci_parse_memtypes(list, start, length, IVSHMEM_MAPPING_UNKNOWN);
	/* A type of the list, whatever is to be said otherwise; or just that. */
	DEMAND(mapping <= IVSHMEM_MAPPING_COUNT);
	DEMAND(mapping == unknown ||
		(mapping == IVSHMEM_MAPPING_COUNT && unknown == IVSHMEM_MAPPING_UNKNOWN));
	DEMAND(mapping == IVSHMEM_MAPPING_COUNT || ivshmem_mapping_name(mapping));
	free(text);
	return 0;
}
