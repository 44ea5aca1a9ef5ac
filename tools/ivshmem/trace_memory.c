/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace_memory.h"

#include <base/error.h>
#include <base/fd.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* No process has more mappings, unless somebody has raised vm.max_map_count. */
#define MAX_SEGMENTS 65530

/* No program has so much data. This leaves out the memory of guests. */
#define MAX_DATA (UINT64_C(64) << 20)

static int
add_segment(struct traced_memory *memory, const struct segment *segment)
{
	unsigned n = memory->n_segments;

	/* Grows to 1, 2, 4, ... */
	if ((n & (n - 1)) == 0) {
		struct segment *more = reallocarray(
			memory->segments, n ? (size_t)2 * n : 1, sizeof(*memory->segments));

		if (!more)
			return -ENOMEM;
		memory->segments = more;
	}
	memory->segments[memory->n_segments++] = *segment;
	return 0;
}

void
traced_memory_close(struct traced_memory *memory)
{
	free(memory->segments);
	fd_close(memory->fd);
	*memory = (struct traced_memory){.fd = -1};
}

/* ---- a process ------------------------------------------------------------------------------- */

/* Why the kernel does not let us. */
static int
explain(pid_t pid, int error, struct ivshmem_error *reterr)
{
	char path[32];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	if (error == -ENOENT || error == -ESRCH || stat(path, &st) < 0)
		return error_set(reterr, -ESRCH, "there is no process %d", (int)pid);
	if (error != -EACCES && error != -EPERM)
		return error_set(reterr, error, "cannot look into process %d: %s", (int)pid,
			strerror(-error));
	if (st.st_uid != geteuid())
		return error_set(reterr, error,
			"process %d belongs to user %u: trace it as this user, or as root",
			(int)pid, (unsigned)st.st_uid);
	if (geteuid() == 0)
		return error_set(reterr, error,
			"the kernel does not let us look into process %d, which has rights that we lack",
			(int)pid);
	return error_set(reterr, error,
		"the kernel lets only root look into process %d (kernel.yama.ptrace_scope is set, or the process has more rights than we): trace it as root",
		(int)pid);
}

/*
 * A line of /proc/PID/maps, such as "7f00-8f00 rw-p 0 08:01 99 /usr/lib/libx.so". The writable data of
 * a program or library is a private mapping of its file.
 */
static bool
parse_line(char *line, struct segment *segment)
{
	char *at;
	uint64_t end;

	segment->address = strtoull(line, &at, 16);
	end = *at == '-' ? strtoull(at + 1, &at, 16) : 0;
	if (end <= segment->address || strncmp(at, " rw", 3) != 0 || strlen(at) < 5 || at[4] != 'p')
		return false;
	segment->size = end - segment->address;
	/* The path is the only field that can have a slash. */
	return segment->size <= MAX_DATA && strchr(at, '/');
}

static int
read_maps(struct traced_memory *memory, FILE *maps)
{
	char *line = NULL;
	size_t room = 0;
	int r = 0;

	for (unsigned i = 0; i < MAX_SEGMENTS && r == 0 && getline(&line, &room, maps) > 0; i++) {
		struct segment segment = {.is_searched = true};

		if (parse_line(line, &segment))
			r = add_segment(memory, &segment);
	}
	free(line);
	return r;
}

int
traced_memory_open(struct traced_memory *memory, pid_t pid, struct ivshmem_error *reterr)
{
	char path[32];
	FILE *maps;
	int r;

	*memory = (struct traced_memory){.fd = -1};
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	memory->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (memory->fd < 0)
		return explain(pid, -errno, reterr);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	r = maps ? read_maps(memory, maps) : -errno;
	if (maps)
		fclose(maps);
	if (r < 0) {
		explain(pid, r, reterr);
		traced_memory_close(memory);
	}
	return r;
}

/* ---- a core ---------------------------------------------------------------------------------- */

static int
read_headers(struct traced_memory *memory, const char *path, struct ivshmem_error *reterr)
{
	Elf64_Ehdr elf;
	ssize_t n = pread(memory->fd, &elf, sizeof(elf), 0);

	if (n != (ssize_t)sizeof(elf) || memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0 ||
		elf.e_type != ET_CORE)
		return error_set(reterr, -EINVAL, "%s is no core", path);
	if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_phentsize != sizeof(Elf64_Phdr) ||
		elf.e_phnum == PN_XNUM)
		return error_set(reterr, -EINVAL,
			"%s is the core of a process of 32 bits, or of one with too many mappings",
			path);
	for (unsigned i = 0; i < elf.e_phnum; i++) {
		Elf64_Phdr header;

		n = pread(memory->fd, &header, sizeof(header),
			(off_t)(elf.e_phoff + i * sizeof(header)));
		if (n != (ssize_t)sizeof(header))
			return error_set(reterr, -EINVAL, "%s is cut off", path);
		if (header.p_type != PT_LOAD || header.p_filesz == 0)
			continue;
		if (add_segment(memory, &(struct segment){.address = header.p_vaddr,
						.size = header.p_filesz,
						.offset = header.p_offset,
						.is_searched = (header.p_flags & PF_W) &&
							       header.p_filesz <= MAX_DATA}) < 0)
			return error_set(reterr, -ENOMEM, "out of memory");
	}
	return 0;
}

int
traced_memory_open_core(
	struct traced_memory *memory, const char *path, struct ivshmem_error *reterr)
{
	int r;

	*memory = (struct traced_memory){.is_core = true};
	memory->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (memory->fd < 0)
		return error_set(reterr, -errno, "cannot open %s: %s", path, strerror(errno));
	r = read_headers(memory, path, reterr);
	if (r < 0)
		traced_memory_close(memory);
	return r;
}

/* Where `address` is in a core, and how many bytes there are; -1: nowhere. */
static off_t
find_in_core(const struct traced_memory *memory, uint64_t address, size_t *length)
{
	for (unsigned i = 0; i < memory->n_segments; i++) {
		const struct segment *segment = &memory->segments[i];
		uint64_t into = address - segment->address;

		if (address < segment->address || into >= segment->size)
			continue;
		if (*length > segment->size - into)
			*length = (size_t)(segment->size - into);
		return (off_t)(segment->offset + into);
	}
	return -1;
}

/* ---- reading --------------------------------------------------------------------------------- */

int
traced_memory_read(
	const struct traced_memory *memory, uint64_t address, void *buffer, size_t length)
{
	uint8_t *to = buffer;

	while (length > 0) {
		size_t piece = length;
		off_t at = memory->is_core ? find_in_core(memory, address, &piece) : (off_t)address;
		ssize_t n = at < 0 ? -1 : pread(memory->fd, to, piece, at);

		if (n < 0)
			return -EFAULT;
		/* Its memory went with it. */
		if (n == 0)
			return memory->is_core ? -EFAULT : -ESRCH;
		to += n;
		address += (uint64_t)n;
		length -= (size_t)n;
	}
	return 0;
}
