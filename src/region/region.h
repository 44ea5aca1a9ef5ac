/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef REGION_REGION_H
#define REGION_REGION_H

/*
 * Shared memory as an object that can be handed to others: made, sized, sealed, mapped, removed.
 *
 * The default is an anonymous memfd, sealed against shrinking and growing: whoever truncates a
 * mapped object kills all who touch it with SIGBUS, and with the seals nobody can (W7 in
 * tests/platform). Objects with a name cannot be sealed; they are for those who need the name.
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
	/* Allocate all of it now, so that nobody who touches it finds that there is nothing left. What
	 * cannot be had is an error. Huge pages of our own are always taken at once. */
	bool preallocate;
};

struct region {
	int fd;
	uint64_t size; /* what it really is: at least what was asked for */
	bool sealed;
	bool created; /* we made the named object, so region_close() removes it */
	dev_t dev;
	ino_t ino;
	char name[NAME_MAX + 2]; /* of a REGION_SHM object */

	/* Of a named object: whose it is, and its permissions. */
	uid_t owner;
	mode_t mode;
	/* How much of it the file system can hold: less than `size` is a SIGBUS in waiting.
	 * UINT64_MAX: nobody knows of a limit. */
	uint64_t room;
};

#define REGION_MIN_SIZE UINT64_C(4096)
/* QEMU and the PCI bus take powers of two only; larger than this has no BAR. */
#define REGION_MAX_SIZE (UINT64_C(1) << 62)

/* The next power of two, at least REGION_MIN_SIZE. -ERANGE above REGION_MAX_SIZE, -EINVAL for 0. */
int region_round_size(uint64_t size, uint64_t *ret_size);

/*
 * Make the object. An existing REGION_SHM object is kept with its contents: never shrunk, grown if
 * it is too small, and its size is what counts if it is larger. Memory that was created reads as
 * zero.
 */
int region_open(struct region *ret_region, const struct region_config *config,
	struct ivshmem_error *reterr);

/*
 * Open a REGION_SHM object or a REGION_FILE that is not ours, but lasts: `created` stays false, and
 * so region_close() never removes it. An existing one is used as it is, never resized; one that is
 * smaller than config->size is refused. A missing one is made with exactly that size; it appears
 * under its name only when it is complete, so that several may do this at the same time. A size of
 * 0 means whatever size it has, and then it must be there.
 */
int region_open_lasting(struct region *ret_region, const struct region_config *config,
	struct ivshmem_error *reterr);

/* The path of the POSIX shared memory object `name`, which is as shm_open() takes it. -EINVAL if it
 * is no such name. `size` must be enough: PATH_MAX is. */
int region_shm_path(const char *name, char *ret_path, size_t size, struct ivshmem_error *reterr);

/* Can nobody shrink it? */
bool region_is_sealed(int fd);

/* Close; remove the name if we created it and it still names our object. */
void region_close(struct region *region);

/*
 * Map a received descriptor, which is checked first: a regular file of at least one page whose size
 * is a multiple of the page size. Does not take the descriptor.
 */
int region_map(int fd, void **ret_address, uint64_t *ret_size, struct ivshmem_error *reterr);
/* The same for reading only: storing is a SIGSEGV. */
int region_map_read_only(
	int fd, void **ret_address, uint64_t *ret_size, struct ivshmem_error *reterr);
void region_unmap(void *address, uint64_t size);

#endif
