/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Accesses of the guest to BARs and config space. All of them succeed. What is not there reads as
 * all ones and ignores writes.
 */
#include <base/error.h>
#include <function/function.h>
#include <vfio_user/handlers.h>

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#define N_BARS 6

static bool
is_access_size(uint32_t count)
{
	return count == 1 || count == 2 || count == 4 || count == 8;
}

/* BAR2 may be read and written in bulk. In the other BARs, an access has 1, 2, 4 or 8 bytes. */
static bool
bar_allows(const struct vfio_user_region_access *access)
{
	if (access->region >= N_BARS || access->offset > UINT64_MAX - access->count)
		return false;
	return access->region == 2 || is_access_size(access->count);
}

/* The size of the next access to the device: all bytes, or the largest aligned piece of a bulk
 * transfer. */
static uint32_t
piece(const struct vfio_user_region_access *access, uint32_t done)
{
	uint32_t size = 8;

	if (is_access_size(access->count))
		return access->count;
	while (size > access->count - done || (access->offset + done) % size != 0)
		size /= 2;
	return size;
}

static void
read_region(
	struct ivshmem_device *device, const struct vfio_user_region_access *access, uint8_t *data)
{
	uint64_t offset = access->offset;

	if (access->region == VFIO_USER_REGION_CONFIG && offset <= UINT_MAX) {
		ivshmem_device_config_read(device, (unsigned)offset, data, access->count);
	} else if (bar_allows(access)) {
		for (uint32_t done = 0, size; done < access->count; done += size) {
			uint64_t value;

			size = piece(access, done);
			value = htole64(
				ivshmem_device_read(device, access->region, offset + done, size));
			memcpy(data + done, &value, size);
		}
	} else {
		memset(data, 0xff, access->count);
	}
}

static void
write_region(struct ivshmem_device *device, const struct vfio_user_region_access *access,
	const uint8_t *data)
{
	uint64_t offset = access->offset;

	if (access->region == VFIO_USER_REGION_CONFIG && offset <= UINT_MAX) {
		ivshmem_device_config_write(device, (unsigned)offset, data, access->count);
	} else if (bar_allows(access)) {
		for (uint32_t done = 0, size; done < access->count; done += size) {
			uint64_t value = 0;

			size = piece(access, done);
			memcpy(&value, data + done, size);
			ivshmem_device_write(
				device, access->region, offset + done, size, le64toh(value));
		}
	}
}

/* The shared memory can vanish under an access, which then fails. */
struct memory_access {
	struct ivshmem_device *device;
	const struct vfio_user_region_access *access;
	uint8_t *to;         /* reading */
	const uint8_t *from; /* writing */
};

static void
access_memory(void *data)
{
	const struct memory_access *memory = data;

	if (memory->to)
		read_region(memory->device, memory->access, memory->to);
	else
		write_region(memory->device, memory->access, memory->from);
}

static void
do_access(struct function *function, const struct vfio_user_region_access *access, uint8_t *to,
	const uint8_t *from)
{
	struct memory_access memory = {function->device, access, to, from};

	if (access->region != 2) {
		access_memory(&memory);
		return;
	}
	if (from && member_is_reader(function->member)) {
		function_drop_write(function);
		return;
	}
	if (to)
		memset(to, 0xff, access->count);
	member_access(function->member, access_memory, &memory);
}

int
handle_region_read(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_region_access access;

	memcpy(&access, request->body, sizeof(access));
	if (access.count > VFIO_USER_MAX_TRANSFER)
		return error_set(&session->error, -EINVAL,
			"%u bytes are more than the %u of one message", access.count,
			VFIO_USER_MAX_TRANSFER);
	reply_add(reply, &access, sizeof(access));
	do_access(session->function, &access, reply->body + reply->length, NULL);
	reply->length += access.count;
	return 0;
}

int
handle_region_write(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_region_access access;

	memcpy(&access, request->body, sizeof(access));
	if (request->length - sizeof(access) != access.count)
		return error_set(&session->error, -EINVAL, "it has %zu bytes of data, but says %u",
			request->length - sizeof(access), access.count);
	do_access(session->function, &access, NULL, request->body + sizeof(access));
	reply_add(reply, &access, sizeof(access));
	return 0;
}

/* We do not offer this command, but understand a VMM that sends it all the same. */
int
handle_write_multi(struct session *session, struct request *request, struct reply *reply)
{
	struct vfio_user_write_multi multi;
	struct vfio_user_one_write one;
	const uint8_t *next = request->body + sizeof(multi);
	size_t n = (request->length - sizeof(multi)) / sizeof(one);

	memcpy(&multi, request->body, sizeof(multi));
	if (multi.count != n || request->length != sizeof(multi) + n * sizeof(one))
		return error_set(&session->error, -EINVAL,
			"its %zu bytes do not hold the %llu writes it announces", request->length,
			(unsigned long long)multi.count);
	for (size_t i = 0; i < n; i++) {
		memcpy(&one, next + i * sizeof(one), sizeof(one));
		if (one.count > sizeof(one.data))
			return error_set(&session->error, -EINVAL,
				"write %zu of it has %u bytes, but 8 is the most", i, one.count);
	}
	for (size_t i = 0; i < n; i++) {
		memcpy(&one, next + i * sizeof(one), sizeof(one));
		do_access(session->function,
			&(struct vfio_user_region_access){one.offset, one.region, one.count}, NULL,
			one.data);
	}
	reply_add(reply, &multi, sizeof(multi));
	return 0;
}
