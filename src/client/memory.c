/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The back ends for memory without a server: an object with a name, which guests see as a plain
 * device. We use it as it is, and never make, resize or remove it. There are no peers and no
 * interrupts.
 */
#include <client/backend.h>

#include <base/error.h>
#include <base/fd.h>
#include <region/region.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct object {
	char path[PATH_MAX];
	char what[400]; /* for messages */
	bool read_only;
};

/* ---- what the target says -------------------------------------------------------------------- */

/* Cut ",ro" or ",rw" off the end. A name that itself ends in one must be followed by another. */
static int
split_address(
	const char *address, char name[PATH_MAX], bool *ret_read_only, struct ivshmem_error *reterr)
{
	size_t length = strlen(address);
	bool read_only = length >= 3 && strcmp(address + length - 3, ",ro") == 0;

	if (read_only || (length >= 3 && strcmp(address + length - 3, ",rw") == 0))
		length -= 3;
	if (length == 0)
		return error_set(reterr, -EINVAL,
			"the target names no memory: write shm:NAME or file:PATH, and ,ro behind it for reading only");
	if (length >= PATH_MAX)
		return error_set(reterr, -ENAMETOOLONG,
			"the name of the memory is too long: '%.300s'", address);
	memcpy(name, address, length);
	name[length] = '\0';
	*ret_read_only = read_only;
	return 0;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int
open_failed(const struct object *object, int code, struct ivshmem_error *reterr)
{
	const char *what = object->what;

	switch (code) {
	case -ENOENT:
		return error_set(reterr, code,
			"there is no %s: start what makes it first, the virtual machine or "
			"ivshmem-device, or look for it under another name",
			what);
	case -EACCES:
	case -EPERM:
		if (!object->read_only && access(object->path, R_OK) == 0)
			return error_set(reterr, code,
				"no permission to write to %s: write ,ro behind the target for "
				"reading only, or let its owner change its mode (chmod)",
				what);
		return error_set(reterr, code,
			"no permission to open %s: run as its owner, or let them change its mode (chmod)",
			what);
	case -EROFS:
		return error_set(reterr, code,
			"the file system of %s is read-only: write ,ro behind the target", what);
	case -EISDIR:
		return error_set(reterr, -EINVAL,
			"%s is a folder: name the file in it that is the memory", what);
	case -ENXIO:
		return error_set(reterr, -EINVAL,
			"%s is no memory; if it is a server's socket, the target is unix:PATH",
			what);
	default:
		return error_set(reterr, code, "cannot open %s: %s", what, strerror(-code));
	}
}

static int
check_memory(const struct object *object, int fd, struct ivshmem_error *reterr)
{
	long page = sysconf(_SC_PAGESIZE);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(
			reterr, -errno, "cannot examine %s: %s", object->what, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return open_failed(object, -EISDIR, reterr);
	if (!S_ISREG(st.st_mode))
		return error_set(reterr, -EINVAL,
			"%s is neither shared memory nor an ordinary file: name the one that the "
			"virtual machine has as its memory",
			object->what);
	if (st.st_size == 0)
		return error_set(reterr, -ENODATA,
			"%s has a size of 0: start what gives it its size first, the virtual machine or "
			"ivshmem-device with --size",
			object->what);
	if (st.st_size % page != 0)
		return error_set(reterr, -EINVAL,
			"%s has %lld bytes, which is not a multiple of the page size, %ld: no "
			"virtual machine can share it; is it the right one?",
			object->what, (long long)st.st_size, page);
	return 0;
}

static int
object_attach(
	struct ivshmem_client *client, const struct object *object, struct ivshmem_error *reterr)
{
	/* This may turn out to be something else than memory: do not wait for a pipe, and do not
	 * make a terminal our controlling terminal. */
	int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	_fd_cleanup_ int fd = open(object->path, flags | (object->read_only ? O_RDONLY : O_RDWR));
	struct ivshmem_error error;
	uint64_t size;
	void *memory;
	int r;

	if (fd < 0)
		return open_failed(object, -errno, reterr);
	r = check_memory(object, fd, reterr);
	if (r < 0)
		return r;
	r = (object->read_only ? region_map_read_only : region_map)(fd, &memory, &size, &error);
	if (r < 0)
		return error_set(reterr, r, "%s: %s", object->what, error.message);
	client->memory = memory;
	client->memory_fd = fd_take(&fd);
	client->size = size;
	client->read_only = object->read_only;
	client->mapping = IVSHMEM_MAPPING_WRITE_BACK;
	client->doorbell = "none";
	return 0;
}

static int
shm_attach(struct ivshmem_client *client, const char *address, struct ivshmem_error *reterr)
{
	struct object object;
	char name[PATH_MAX];
	int r = split_address(address, name, &object.read_only, reterr);

	if (r == 0)
		r = region_shm_path(name, object.path, sizeof(object.path), reterr);
	if (r < 0)
		return r;
	snprintf(object.what, sizeof(object.what), "shared memory object '%.300s'", object.path);
	return object_attach(client, &object, reterr);
}

static int
file_attach(struct ivshmem_client *client, const char *address, struct ivshmem_error *reterr)
{
	struct object object;
	int r = split_address(address, object.path, &object.read_only, reterr);

	if (r < 0)
		return r;
	snprintf(object.what, sizeof(object.what), "file '%.300s'", object.path);
	return object_attach(client, &object, reterr);
}

/* ---- the back ends --------------------------------------------------------------------------- */

static int
nobody_to_ring(struct ivshmem_client *client, uint16_t peer, unsigned vector)
{
	(void)client;
	(void)peer;
	(void)vector;
	return -EOPNOTSUPP;
}

static void
memory_close(struct ivshmem_client *client)
{
	region_unmap(client->memory, client->size);
	client->memory = NULL;
	client->memory_fd = fd_close(client->memory_fd);
	client->size = 0;
}

const struct backend backend_shm = {
	.scheme = "shm",
	.without_id = true,
	.open = shm_attach,
	.ring = nobody_to_ring,
	.close = memory_close,
};

const struct backend backend_file = {
	.scheme = "file",
	.without_id = true,
	.open = file_attach,
	.ring = nobody_to_ring,
	.close = memory_close,
};
