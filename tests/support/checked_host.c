/* SPDX-License-Identifier: BSD-2-Clause */
#include <checked_host.h>
#include <test.h>

#include <string.h>

struct in_force in_force;

static int (*answer)(const struct host_request *request);

static int
ask(const void *data, const struct host_request *request)
{
	CHECK(data == &in_force);
	return answer(request);
}

/* ---- the memory and the pin ------------------------------------------------------------------- */

static int
map_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	int r;

	CHECK(in_force.mapped_at == 0 && address != 0);
	CHECK(address == ivshmem_device_bar_address(device, IVSHMEM_BAR_MEMORY));
	CHECK(size == ivshmem_device_bar_size(device, IVSHMEM_BAR_MEMORY));
	r = ask(data, &(struct host_request){.type = HOST_MAP, .address = address});
	if (r == 0)
		in_force.mapped_at = address;
	return r;
}

static void
unmap_memory(struct ivshmem_device *device, uint64_t address, uint64_t size, void *data)
{
	CHECK(in_force.mapped_at == address && address != 0);
	CHECK(size == ivshmem_device_bar_size(device, IVSHMEM_BAR_MEMORY));
	in_force.mapped_at = 0;
	ask(data, &(struct host_request){.type = HOST_UNMAP, .address = address});
}

static void
set_intx(struct ivshmem_device *device, bool level, void *data)
{
	CHECK(level != in_force.intx && ivshmem_device_has_intx(device));
	in_force.intx = level;
	ask(data, &(struct host_request){.type = HOST_INTX, .level = level});
}

/* ---- doorbells -------------------------------------------------------------------------------- */

static void
ring(struct ivshmem_device *device, uint16_t peer, unsigned vector, void *data)
{
	CHECK(vector < ivshmem_device_peer_vectors(device, peer));
	ask(data, &(struct host_request){.type = HOST_RING, .peer = peer, .vector = vector});
}

static unsigned
find(const struct ivshmem_device_ioeventfd *wanted)
{
	unsigned i = 0;

	while (i < in_force.n_ioeventfds &&
		(in_force.ioeventfds[i].peer != wanted->peer ||
			in_force.ioeventfds[i].vector != wanted->vector ||
			in_force.ioeventfds[i].match != wanted->match))
		i++;
	return i;
}

/* Those that match a value are of the register, the others of the words of BAR4. */
static void
check_place(const struct ivshmem_device *device, const struct ivshmem_device_ioeventfd *ioeventfd)
{
	uint32_t value = (uint32_t)ioeventfd->peer << 16 | ioeventfd->vector;
	unsigned bar = ioeventfd->match ? IVSHMEM_BAR_REGISTERS : IVSHMEM_BAR_DOORBELL;
	uint64_t offset = IVSHMEM_REG_DOORBELL;

	if (!ioeventfd->match)
		offset = 4 * (((uint64_t)ioeventfd->peer << ivshmem_device_doorbell_shift(device)) +
				     ioeventfd->vector);
	CHECK(ioeventfd->width == 4 && ioeventfd->datamatch == (ioeventfd->match ? value : 0));
	CHECK(ivshmem_device_bar_address(device, bar) != 0);
	CHECK(ioeventfd->address == ivshmem_device_bar_address(device, bar) + offset);
}

static int
add_ioeventfd(
	struct ivshmem_device *device, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	int r;

	check_place(device, ioeventfd);
	CHECK(ioeventfd->vector < ivshmem_device_peer_vectors(device, ioeventfd->peer));
	CHECK(find(ioeventfd) == in_force.n_ioeventfds);
	r = ask(data, &(struct host_request){.type = HOST_ADD, .ioeventfd = ioeventfd});
	if (r < 0)
		return r;
	CHECK(in_force.n_ioeventfds < IN_FORCE_TRIGGERS);
	in_force.ioeventfds[in_force.n_ioeventfds++] = *ioeventfd;
	return 0;
}

static void
remove_ioeventfd(
	struct ivshmem_device *device, const struct ivshmem_device_ioeventfd *ioeventfd, void *data)
{
	unsigned i = find(ioeventfd);

	CHECK(i < in_force.n_ioeventfds);
	CHECK(in_force.ioeventfds[i].address == ioeventfd->address);
	CHECK(in_force.ioeventfds[i].datamatch == ioeventfd->datamatch);
	/* The peer is still there: it goes after them. */
	CHECK(ioeventfd->vector < ivshmem_device_peer_vectors(device, ioeventfd->peer));
	in_force.ioeventfds[i] = in_force.ioeventfds[--in_force.n_ioeventfds];
	ask(data, &(struct host_request){.type = HOST_REMOVE, .ioeventfd = ioeventfd});
}

/* ---- MSI-X ------------------------------------------------------------------------------------ */

static unsigned
own_vectors(const struct ivshmem_device *device)
{
	int32_t id = ivshmem_device_id(device);

	return id < 0 ? 0 : ivshmem_device_peer_vectors(device, (uint16_t)id);
}

static int
send_message(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	CHECK(message->vector < ivshmem_device_msix_vectors(device) && message->address % 4 == 0);
	return ask(data, &(struct host_request){
				 .type = HOST_SEND, .message = message, .vector = message->vector});
}

static int
attach_irqfd(
	struct ivshmem_device *device, const struct ivshmem_device_message *message, void *data)
{
	unsigned vector = message->vector;
	int r;

	CHECK(vector < own_vectors(device) && !in_force.attached[vector]);
	r = ask(data,
		&(struct host_request){.type = HOST_ATTACH, .message = message, .vector = vector});
	in_force.attached[vector] = r == 0;
	return r;
}

static void
detach_irqfd(struct ivshmem_device *device, unsigned vector, void *data)
{
	CHECK(vector < ivshmem_device_msix_vectors(device) && in_force.attached[vector]);
	in_force.attached[vector] = false;
	ask(data, &(struct host_request){.type = HOST_DETACH, .vector = vector});
}

static bool
take_ring(struct ivshmem_device *device, unsigned vector, void *data)
{
	CHECK(vector < own_vectors(device) && !in_force.attached[vector]);
	return ask(data, &(struct host_request){.type = HOST_TAKE, .vector = vector}) > 0;
}

static void
log_message(struct ivshmem_device *device, enum ivshmem_log_level level, const char *message,
	void *data)
{
	CHECK(device && level == IVSHMEM_LOG_WARNING && message[0] != '\0');
	ask(data, &(struct host_request){.type = HOST_LOG, .text = message});
}

/* ---- the host --------------------------------------------------------------------------------- */

const struct ivshmem_device_ops checked_ops = {
	.struct_size = sizeof(checked_ops),
	.map_memory = map_memory,
	.unmap_memory = unmap_memory,
	.set_intx = set_intx,
	.send_message = send_message,
	.ring = ring,
	.add_ioeventfd = add_ioeventfd,
	.remove_ioeventfd = remove_ioeventfd,
	.attach_irqfd = attach_irqfd,
	.detach_irqfd = detach_irqfd,
	.take_ring = take_ring,
	.log = log_message,
};

void
checked_host_init(int (*answer_fn)(const struct host_request *request))
{
	answer = answer_fn;
	in_force.mapped_at = 0;
	in_force.intx = false;
	in_force.n_ioeventfds = 0;
	memset(in_force.attached, 0, sizeof(in_force.attached));
}

void
checked_host_empty(void)
{
	CHECK(in_force.mapped_at == 0 && !in_force.intx && in_force.n_ioeventfds == 0);
	for (unsigned i = 0; i < IVSHMEM_MAX_VECTORS; i++)
		CHECK(!in_force.attached[i]);
}
