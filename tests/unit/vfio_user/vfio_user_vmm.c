/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user_vmm.h>

#include <vfio_user_room.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADER sizeof(struct vfio_user_header)

struct device device;

/* ---- the device ------------------------------------------------------------------------------------ */

static void
quit(struct loop_source *source, uint32_t events)
{
	(void)source;
	(void)events;
	vfio_user_quit(device.vfio_user);
}

static void *
run(void *data)
{
	CHECK_EQ(vfio_user_run(data), 0);
	return NULL;
}

/* Everything but the thread that runs the loop. */
void
prepare_device(unsigned revision, uint64_t spin_ns)
{
	struct ivshmem_device_config config = room_config(revision, revision ? 2 : 1);
	struct vfio_user_config vfio_user = {
		.device = &config,
		.log = &stage.log,
		.spin_ns = spin_ns,
		.grace_ns = device.grace_ns,
	};
	struct ivshmem_error error = {0};

	stage_open();
	stage.log.level = LOG_LEVEL_WARNING;
	stage_join_simple();
	config.msi = revision > 0;
	vfio_user.loop = stage.loop;
	vfio_user.member = stage.member;
	if (vfio_user_new(&device.vfio_user, &vfio_user, &error) < 0)
		FAIL("%s", error.message);
	device.address = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(device.address.sun_path, sizeof(device.address.sun_path), "%s/device",
		test_directory());
	device.listener = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	CHECK_SYS(bind(
		device.listener, (const struct sockaddr *)&device.address, sizeof(device.address)));
	CHECK_SYS(listen(device.listener, 100));
	CHECK_EQ(vfio_user_listen(device.vfio_user, device.listener), 0);
	CHECK_EQ(loop_add(stage.loop, &device.quit, CHECK_SYS(eventfd(0, EFD_CLOEXEC)), EPOLLIN,
			 quit),
		0);
}

void
start_device(void)
{
	CHECK_EQ(pthread_create(&device.thread, NULL, run, device.vfio_user), 0);
}

void
open_device(void)
{
	prepare_device(1, 0);
	start_device();
}

/* The loop has ended; VMMs may be there. */
void
stop_device(void)
{
	CHECK_SYS(eventfd_write(device.quit.fd, 1));
	CHECK_EQ(pthread_join(device.thread, NULL), 0);
	vfio_user_free(device.vfio_user);
}

void
remove_device(void)
{
	loop_del(&device.quit);
	close(device.quit.fd);
	close(device.listener);
	/* Another one may follow in the same directory. */
	unlink(device.address.sun_path);
	unlink(stage.path);
	stage_close();
}

void
close_device(void)
{
	stop_device();
	remove_device();
}

/* ---- VMMs ------------------------------------------------------------------------------------------ */

int
vmm_connect(void)
{
	const struct timeval patience = {.tv_sec = 20};
	int vmm = CHECK_SYS(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));

	CHECK_SYS(setsockopt(vmm, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
	CHECK_SYS(connect(vmm, (const struct sockaddr *)&device.address, sizeof(device.address)));
	return vmm;
}

void
vmm_send(int vmm, uint16_t command, uint32_t flags, const void *body, size_t length, const int *fds,
	unsigned n_fds)
{
	uint8_t bytes[4096];
	struct vfio_user_header header = {
		.id = 9, .command = command, .size = (uint32_t)(HEADER + length), .flags = flags};

	CHECK(HEADER + length <= sizeof(bytes));
	memcpy(bytes, &header, HEADER);
	if (length > 0)
		memcpy(bytes + HEADER, body, length);
	CHECK_EQ(fdpass_send(vmm, bytes, HEADER + length, fds, n_fds), HEADER + length);
}

/* The body of a reply; returns its errno. */
uint32_t
vmm_receive(int vmm, void *body, size_t length)
{
	struct vfio_user_header header;

	CHECK_EQ(recv(vmm, &header, HEADER, MSG_WAITALL), HEADER);
	CHECK_EQ(header.id, 9);
	CHECK_EQ(header.flags, header.error ? 0x21 : 0x01);
	if (header.error) {
		CHECK_EQ(header.size, HEADER);
		return header.error;
	}
	CHECK_EQ(header.size, HEADER + length);
	if (length > 0)
		CHECK_EQ(recv(vmm, body, length, MSG_WAITALL), length);
	return 0;
}

void
vmm_send_version(int vmm)
{
	static const char version[] = "\0\0\1\0{\"capabilities\":{}}";

	vmm_send(vmm, VFIO_USER_VERSION, 0, version, sizeof(version), NULL, 0);
}

uint32_t
vmm_negotiate(int vmm)
{
	char reply[4 + sizeof(VERSION_TEXT)] = {0};
	uint32_t error;

	vmm_send_version(vmm);
	error = vmm_receive(vmm, reply, sizeof(reply));
	if (error == 0)
		CHECK_STR(reply + 4, VERSION_TEXT);
	return error;
}

uint32_t
vmm_read(int vmm, uint32_t region, uint64_t offset)
{
	struct vfio_user_region_access access = {offset, region, 4};
	uint8_t reply[20];
	uint32_t value;

	vmm_send(vmm, VFIO_USER_REGION_READ, 0, &access, sizeof(access), NULL, 0);
	CHECK_EQ(vmm_receive(vmm, reply, sizeof(reply)), 0);
	memcpy(&value, reply + 16, 4);
	return value;
}

void
vmm_write(int vmm, uint32_t flags, uint32_t region, uint64_t offset, uint32_t value)
{
	struct vfio_user_region_access access = {offset, region, 4};
	uint8_t body[20];

	memcpy(body, &access, 16);
	memcpy(body + 16, &value, 4);
	vmm_send(vmm, VFIO_USER_REGION_WRITE, flags, body, sizeof(body), NULL, 0);
	if (!(flags & VFIO_USER_NO_REPLY))
		CHECK_EQ(vmm_receive(vmm, body, 16), 0);
}

void
vmm_set_eventfd(int vmm, uint32_t action, uint32_t index, uint32_t number, int fd)
{
	struct vfio_user_irq_set set = {
		sizeof(set), VFIO_USER_IRQ_SET_DATA_EVENTFD | action, index, number, 1};

	vmm_send(vmm, VFIO_USER_DEVICE_SET_IRQS, 0, &set, sizeof(set), &fd, fd >= 0);
	CHECK_EQ(vmm_receive(vmm, NULL, 0), 0);
}

/* The connection has ended, and in an orderly way. */
void
check_end(int vmm)
{
	char c;

	CHECK_EQ(recv(vmm, &c, 1, 0), 0);
	close(vmm);
}

void
wait_for_event(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	CHECK_EQ(poll(&poll_fd, 1, 20000), 1);
	CHECK(stage_count(fd) > 0);
}

int
new_eventfd(void)
{
	return CHECK_SYS(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

/* An eventfd that the server gives away as a vector of `peer`; a copy is ours. */
int
give_vector(int64_t peer)
{
	int fd = new_eventfd();

	stage_say(peer, CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
	return fd;
}
