/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef REGION_REGION_H
#define REGION_REGION_H

/*
 * Shared memory as an object that others can get: made, sized, sealed, mapped, removed.
 *
 * The default is an anonymous memfd that is sealed against shrinking and growing. Whoever truncates
 * a mapped object kills all who touch it with SIGBUS; with the seals nobody can (W7 in
 * tests/platform). Objects with a name cannot be sealed. They are for users who need the name.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct ivshmem_error;

enum region_kind {
	REGION_MEMFD,     /* anonymous and sealed */
	REGION_SHM,       /* POSIX shared memory object `name` (/dev/shm/NAME) */
	REGION_DIRECTORY, /* an unnamed file in directory `name`, such as a hugetlbfs mount */
	REGION_FILE,      /* the file `name`; region_open_lasting() only */
};

struct region_config {
	enum region_kind kind;
	const char *name;
	uint64_t size;      /* bytes; region_open() rounds up, see region_round_size() */
	uint64_t huge_page; /* REGION_MEMFD: 0, or 2 MiB or 1 GiB */
	mode_t mode;        /* of a named object that we create */
	/*
	 * Allocate all of it now, so that nobody who touches it finds that there is nothing left.
	 * It is an error if there is not enough. Huge pages of our own are always allocated at
	 * once.
	 */
	bool preallocate;
	/* Take it from this NUMA node only: a memory that has huge pages or is in a tmpfs. */
	bool on_node;
	unsigned numa_node;
};

struct region {
	int fd;
	uint64_t size; /* the real size: at least what was asked for */
	bool sealed;
	bool created; /* we made the named object, so region_close() removes it */
	dev_t dev;
	ino_t ino;
	char name[NAME_MAX + 2]; /* of a REGION_SHM object */

	/* Of a named object: whose it is, and its permissions. */
	uid_t owner;
	mode_t mode;
	/* How much of it the file system has room for: if less than `size`, some access will be a
	 * SIGBUS. UINT64_MAX: there is no known limit. */
	uint64_t room;
};

#define REGION_MIN_SIZE UINT64_C(4096)
/* QEMU and the PCI bus take powers of two only. Memory larger than this fits into no BAR. */
#define REGION_MAX_SIZE (UINT64_C(1) << 62)

/* The next power of two, at least REGION_MIN_SIZE. -ERANGE above REGION_MAX_SIZE, -EINVAL for 0. */
int region_round_size(uint64_t size, uint64_t *ret_size);

/*
 * Make the object. An existing REGION_SHM object keeps its contents: it is never shrunk, it is
 * grown if it is too small, and if it is larger its own size counts. New memory reads as zero.
 */
int region_open(struct region *ret_region, const struct region_config *config,
	struct ivshmem_error *reterr);

/*
 * Open a REGION_SHM object or a REGION_FILE that is to stay: `created` remains false, so that
 * region_close() never removes it. An existing one is used as it is and never resized; one that is
 * smaller than config->size is refused. A missing one is made with exactly that size. It appears
 * under its name only when it is complete, so that several processes may do this at the same time.
 * With a size of 0, any size is right, and the object must be there.
 */
int region_open_lasting(struct region *ret_region, const struct region_config *config,
	struct ivshmem_error *reterr);

/* The path of the POSIX shared memory object `name`, a name as for shm_open(); -EINVAL for any
 * other. A `size` of PATH_MAX is enough. */
int region_shm_path(const char *name, char *ret_path, size_t size, struct ivshmem_error *reterr);

/* Is it sealed, so that nobody can shrink it? */
bool region_is_sealed(int fd);

/* Close; remove the name if we created it and it still names our object. */
void region_close(struct region *region);

/*
 * Map a received descriptor, after checking it: it must be a regular file of at least one page, and
 * its size a multiple of the page size. The descriptor stays the caller's.
 */
int region_map(int fd, void **ret_address, uint64_t *ret_size, struct ivshmem_error *reterr);
/* The same for reading only: a store is a SIGSEGV. */
int region_map_read_only(
	int fd, void **ret_address, uint64_t *ret_size, struct ivshmem_error *reterr);
void region_unmap(void *address, uint64_t size);

#endif
