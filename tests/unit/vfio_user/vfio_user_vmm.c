/* SPDX-License-Identifier: BSD-2-Clause */
#include <vfio_user_vmm.h>

#include <vfio_user_room.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

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

void
vmm_connect(struct vfio_client *vmm)
{
	const struct timeval patience = {.tv_sec = 20};

	CHECK_EQ(vfio_client_connect(vmm, device.address.sun_path), 0);
	CHECK_SYS(setsockopt(vmm->socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
}

void
vmm_send(struct vfio_client *vmm, uint16_t command, uint32_t flags, const void *body, size_t length)
{
	CHECK_EQ(vfio_client_send(vmm, &(struct vfio_exchange){.command = command,
					       .flags = flags,
					       .data = body,
					       .length = length}),
		0);
}

void
vmm_send_version(struct vfio_client *vmm)
{
	static const char version[] = "\0\0\1\0{\"capabilities\":{}}";

	vmm_send(vmm, VFIO_USER_VERSION, 0, version, sizeof(version));
}

static int
negotiate(struct vfio_client *vmm)
{
	char text[sizeof(VERSION_TEXT)] = {0};
	int r = vfio_client_version(vmm, "{\"capabilities\":{}}", text, sizeof(text));

	if (r == 0)
		CHECK_STR(text, VERSION_TEXT);
	return r;
}

void
vmm_open(struct vfio_client *vmm)
{
	vmm_connect(vmm);
	CHECK_EQ(negotiate(vmm), 0);
}

uint32_t
vmm_read(struct vfio_client *vmm, uint32_t region, uint64_t offset)
{
	uint32_t value;

	CHECK_EQ(vfio_client_read(vmm, region, offset, &value, sizeof(value)), 0);
	return value;
}

void
vmm_write(struct vfio_client *vmm, uint32_t flags, uint32_t region, uint64_t offset, uint32_t value)
{
	const struct {
		struct vfio_user_region_access access;
		uint32_t value, padding;
	} body = {{offset, region, sizeof(value)}, value, 0};

	if (flags & VFIO_USER_NO_REPLY)
		vmm_send(vmm, VFIO_USER_REGION_WRITE, flags, &body, sizeof(body.access) + 4);
	else
		CHECK_EQ(vfio_client_write(vmm, region, offset, &value, sizeof(value)), 0);
}

void
check_end(struct vfio_client *vmm)
{
	char c;

	CHECK_EQ(recv(vmm->socket, &c, 1, 0), 0);
	vfio_client_close(vmm);
}

void
vmm_is_refused(void)
{
	struct vfio_client vmm;

	vmm_connect(&vmm);
	CHECK_EQ(negotiate(&vmm), -EBUSY);
	check_end(&vmm);
}

void
wait_for_event(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	CHECK_EQ(poll(&poll_fd, 1, 20000), 1);
	CHECK(stage_count(fd) > 0);
}

int
give_vector(int64_t peer)
{
	int fd = test_eventfd();

	stage_say(peer, CHECK_SYS(fcntl(fd, F_DUPFD_CLOEXEC, 0)));
	return fd;
}
