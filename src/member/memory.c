/* SPDX-License-Identifier: BSD-2-Clause */

/* The memory: the server's, or an object with a name. */

#include <member/membership.h>

#include <base/error.h>
#include <base/fd.h>
#include <base/parse.h>
#include <region/guard.h>
#include <region/read_only.h>
#include <region/region.h>

#include <errno.h>

/* Of an object that we create. */
#define MEMORY_MODE 0600

int
memory_take(struct member *member, int *fd, struct ivshmem_error *reterr)
{
	char text[SIZE_TEXT_MAX];
	bool read_only = region_is_read_only(*fd);
	int r = (read_only ? region_map_read_only : region_map)(
		*fd, &member->memory, &member->size, reterr);

	if (r < 0)
		return r;
	member->memory_fd = fd_take(fd);
	member->read_only = read_only;
	member->failed = false;
	member->guarded = !region_is_sealed(member->memory_fd) && guard_acquire() == 0;
	if (read_only)
		log_info(member->log,
			"the server's policy gives us the memory for reading only: what the guest writes to it is dropped");
	log_debug(member->log, "the shared memory has %s", format_size(member->size, text));
	/* For memory that the user named, warn_of_memory() can say more. */
	if (member->has_server && !region_is_sealed(member->memory_fd))
		log_warning(member->log,
			"the server's memory is not sealed: every member of the group can shrink it, which stops the VMs that use what is gone; give ivshmem-server no name for it (neither -M nor -m), and it is sealed");
	return 0;
}

void
memory_release(struct member *member)
{
	region_unmap(member->memory, member->size);
	if (member->guarded)
		guard_release();
	member->guarded = false;
	member->memory = NULL;
	member->size = 0;
	member->memory_fd = fd_close(member->memory_fd);
}

/* Warn of what is dangerous about an object with a name, though the user asked for it. */
static void
warn_of_memory(const struct member *member, const struct region *region, const char *name)
{
	char size[SIZE_TEXT_MAX], room[SIZE_TEXT_MAX];

	if (!region->sealed &&
		((region->owner != geteuid() && region->owner != 0) || region->mode & 022))
		log_warning(member->log,
			"'%s' belongs to user %u and has mode %04o: who may write it can shrink it, and so kill everybody who maps it",
			name, (unsigned)region->owner, (unsigned)region->mode);
	if (region->room < region->size)
		log_warning(member->log,
			"'%s' has %s, but its file system has room for %s only: whoever uses more is killed by SIGBUS",
			name, format_size(region->size, size), format_size(region->room, room));
}

int
memory_open(struct member *member, const struct member_config *config, struct ivshmem_error *reterr)
{
	struct region_config region_config = {
		.kind = config->shm ? REGION_SHM : REGION_FILE,
		.name = config->shm ? config->shm : config->file,
		.size = config->size,
		.mode = MEMORY_MODE,
		.preallocate = config->preallocate,
	};
	struct region region;
	struct ivshmem_error error;
	int r;

	if (!region_config.name)
		return error_set(reterr, -EINVAL, "neither a server nor a shared memory was named");
	if (config->kept && config->kept->memory_fd >= 0) {
		int fd = config->kept->memory_fd;

		return memory_take(member, &fd, reterr);
	}
	r = region_open_lasting(&region, &region_config, reterr);
	if (r < 0)
		return r;
	r = memory_take(member, &region.fd, &error);
	if (r < 0)
		error_set(reterr, r, "'%s' cannot be used: %s", region_config.name, error.message);
	else
		warn_of_memory(member, &region, region_config.name);
	if (config->kept)
		config->kept->memory_fd = member->memory_fd;
	region_close(&region);
	return r;
}

int
memory_tell_device(struct member *member, struct ivshmem_error *reterr)
{
	struct ivshmem_device *device = member->device;

	if (!device || !member->memory)
		return 0;
	return ivshmem_device_set_memory(device, member->memory, member->size, reterr);
}

/* ---- for users --------------------------------------------------------------------------------- */

int
member_access(struct member *member, void (*access)(void *data), void *data)
{
	char was[SIZE_TEXT_MAX], is[SIZE_TEXT_MAX];
	struct stat st;
	int r = guard_run(access, data);

	if (r == 0 || member->failed)
		return r;
	member->failed = true;
	if (fstat(member->memory_fd, &st) == 0 && (uint64_t)st.st_size < member->size)
		log_error(member->log,
			"somebody has shrunk the shared memory, from %s to %s: what is gone reads as all ones, and a VM that has it mapped is stopped when it uses it",
			format_size(member->size, was), format_size((uint64_t)st.st_size, is));
	else
		log_error(member->log,
			"a part of the shared memory cannot be used, and reads as all ones: its file system is full, or the memory is broken");
	return r;
}

void
member_fault(void)
{
	guard_fault();
}

bool
member_is_reader(const struct member *member)
{
	return member->read_only;
}

int
member_memory_fd(const struct member *member)
{
	return member->memory_fd;
}

void *
member_memory(const struct member *member)
{
	return member->memory;
}

uint64_t
member_memory_size(const struct member *member)
{
	return member->size;
}
