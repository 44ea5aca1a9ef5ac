/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * A device in a group, and VMMs that send it anything, with anything attached: bytes and descriptors
 * through a real socket, the channel, the session, the device. Meanwhile peers come, go and ring, and
 * the memory arrives. Replies must be what every VMM survives: exactly as long as they have to be,
 * and no error where there is none to be.
 *
 * The first two bytes are the configuration. Then steps, each a byte that says what (bits 0 to 2) and
 * has a parameter p (bits 3 to 7):
 *
 *	0 raw		a byte n, and n bytes that are sent as they are, with p % 4 descriptors
 *	1 message	a byte each for command and flags, 2 for the length of the body, 1 for how many
 *			of its bytes follow (the others are 0), and those; with p descriptors
 *	2 vector	the server announces one for peer p % 8; p / 8 = 3: something else than an eventfd
 *	3 left		the server says that peer p % 8 left
 *	4 ring		p / 16 = 0: our own vector p; else the eventfd p % N_EVENTFDS of the VMM
 *	5 dispatch	the loop does what there is to do
 *	6 next VMM	the connection ends, and another one begins
 *	7 server	p = 0: version, id and memory, if they were not sent yet; else a number of 8 bytes
 *
 * Steps 0 and 1 with descriptors have a byte that says which kind the first one is, and whether the
 * others are of the same kind. The corpus began with what QEMU and Cloud Hypervisor send.
 */

#include <fdpass.h>
#include <fuzz.h>

#include <base/fd.h>
#include <base/log.h>
#include <base/pace.h>
#include <function/function.h>
#include <vfio_user/channel.h>
#include <vfio_user/handlers.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER      sizeof(struct vfio_user_header)
#define MEMORY      UINT64_C(65536)
#define OUR_ID      5
#define N_EVENTFDS  8
#define MAX_ATTACH  31
#define PIECE       16384
#define SMALL_REPLY 32768

/* ---- input ----------------------------------------------------------------------------------------- */

static const uint8_t *input;
static size_t input_left;

static uint64_t
take(unsigned bytes)
{
	uint64_t value = 0;

	while (bytes-- > 0 && input_left > 0) {
		value = value << 8 | *input++;
		input_left--;
	}
	return value;
}

/* ---- descriptors that are left over ------------------------------------------------------------------ */

/*
 * Which of the numbers from the lowest free one on are open. Descriptors get the lowest free number: the first
 * one that is forgotten is among them.
 */
static uint64_t
open_fds(int *ret_first)
{
	struct pollfd numbers[64];
	uint64_t mask = 0;

	if (*ret_first < 0) {
		*ret_first = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
		DEMAND(*ret_first >= 0);
		close(*ret_first);
	}
	for (int i = 0; i < 64; i++)
		numbers[i] = (struct pollfd){.fd = *ret_first + i};
	DEMAND(poll(numbers, 64, 0) >= 0);
	for (int i = 0; i < 64; i++)
		if (!(numbers[i].revents & POLLNVAL))
			mask |= UINT64_C(1) << i;
	return mask;
}

/* ---- all there is ------------------------------------------------------------------------------------ */

static struct log fuzz_log;
static struct loop *loop;
static struct member *member;
static int server; /* its end of the connection */
static bool greeted;
static int own[16]; /* our own eventfds, as the server has them */
static unsigned n_own;

static struct function function;
static struct session session;
static struct pace complaints;
static struct channel channel;
static struct reply reply;
static int vmm, ours; /* the ends of the socket; -1: the connection has ended */
static int eventfds[N_EVENTFDS];
static bool negotiated;

static void
write_log(void *data, enum log_level level, const char *message)
{
	(void)data;
	DEMAND(level <= LOG_LEVEL_DEBUG && message[0] != '\0');
	for (const char *c = message; *c; c++)
		DEMAND((unsigned char)*c >= ' ' && *c != 0x7f);
}

static void
send_with_fds(int socket, const void *bytes, size_t length, const int *fds, unsigned n_fds)
{
	/* The other side may have closed it. */
	if (fdpass_send(socket, bytes, length, fds, n_fds) < 0)
		DEMAND(errno == EPIPE || errno == ECONNRESET || errno == EAGAIN);
}

/* ---- the server ---------------------------------------------------------------------------------------- */

static void
say(int64_t number, int fd)
{
	send_with_fds(server, &number, sizeof(number), &fd, fd >= 0 ? 1 : 0);
	fd_close(fd);
}

static void
dispatch(void)
{
	while (loop_dispatch(loop, 0) > 0)
		;
}

static void
greet(void)
{
	int fd;

	if (greeted)
		return;
	greeted = true;
	fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	DEMAND(fd >= 0 && ftruncate(fd, (off_t)MEMORY) == 0);
	DEMAND(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	say(0, -1);
	say(OUR_ID, -1);
	say(-1, fd);
	dispatch();
}

/* Join without a greeting, which would wait for it: it is sent when wanted. */
static void
join(void)
{
	char folder[] = "/tmp/fuzz-vfio-user-XXXXXX";
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct member_config config = {.server = address.sun_path, .late = true};
	struct ivshmem_error error;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	DEMAND(listener >= 0 && mkdtemp(folder));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", folder);
	DEMAND(bind(listener, (const struct sockaddr *)&address, sizeof(address)) == 0);
	DEMAND(listen(listener, 1) == 0);
	DEMAND(member_open(&member, loop, &config, &fuzz_log, &error) == 0);
	DEMAND(unlink(address.sun_path) == 0 && rmdir(folder) == 0);
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	DEMAND(server >= 0);
	close(listener);
}

static void
vector_step(unsigned parameter)
{
	static const uint16_t peers[8] = {OUR_ID, OUR_ID, 0, 1, 7, 300, 301, 65535};
	uint16_t peer = peers[parameter % 8];
	int fd;

	if (!greeted)
		return;
	if (parameter / 8 == 3)
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	else
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	DEMAND(fd >= 0);
	if (peer == OUR_ID && parameter / 8 != 3 && n_own < 16)
		own[n_own++] = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	say(peer, fd);
}

static void
left_step(unsigned parameter)
{
	static const uint16_t peers[8] = {0, 1, 7, 300, 301, 65535, 2, 3};

	if (greeted)
		say(peers[parameter % 8], -1);
}

static void
server_step(unsigned parameter)
{
	if (parameter == 0)
		greet();
	else
		say((int64_t)take(8), -1);
}

/* ---- what every reply has to be -------------------------------------------------------------------------- */

/* The body of a successful reply has this length; -1: see check_success(). */
static const int body_lengths[] = {
	[VFIO_USER_VERSION] = -1,
	[VFIO_USER_DMA_MAP] = 0,
	[VFIO_USER_DMA_UNMAP] = 24,
	[VFIO_USER_DEVICE_GET_INFO] = 16,
	[VFIO_USER_DEVICE_GET_REGION_INFO] = 32,
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = -1,
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = 16,
	[VFIO_USER_DEVICE_SET_IRQS] = 0,
	[VFIO_USER_REGION_READ] = -1,
	[VFIO_USER_REGION_WRITE] = 16,
	[VFIO_USER_DEVICE_RESET] = 0,
	[VFIO_USER_REGION_WRITE_MULTI] = 8,
	[VFIO_USER_DEVICE_FEATURE] = -1,
	[VFIO_USER_MIG_DATA_READ] = -1,
	[VFIO_USER_MIG_DATA_WRITE] = 0,
};

static uint32_t
word(const uint8_t *bytes, size_t offset)
{
	uint32_t value;

	memcpy(&value, bytes + offset, sizeof(value));
	return value;
}

/* A region that is not there, whatever the device is like. */
static bool
is_nothing(uint32_t region)
{
	return region > 2 && region != IVSHMEM_BAR_DOORBELL && region != VFIO_USER_REGION_CONFIG;
}

/* Requests that must not fail: VMMs wait for the rest of the reply, or give up the device. */
static bool
is_well_formed(
	const struct vfio_user_header *header, const uint8_t *body, size_t length, unsigned n_fds)
{
	if ((header->flags & VFIO_USER_TYPE_MASK) != 0 || !negotiated || n_fds > VFIO_USER_MAX_FDS)
		return false;
	switch (header->command) {
	case VFIO_USER_DMA_MAP:
		return length >= 32;
	case VFIO_USER_DMA_UNMAP:
		return length >= 24;
	case VFIO_USER_DEVICE_GET_INFO:
		return length >= 16 && word(body, 0) >= 16;
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		return length >= 32 && word(body, 0) >= 32 && word(body, 8) < 9;
	case VFIO_USER_DEVICE_GET_IRQ_INFO:
		return length >= 16 && word(body, 0) >= 16 && word(body, 8) < 5;
	case VFIO_USER_REGION_READ:
		return length >= 16 && word(body, 12) <= VFIO_USER_MAX_TRANSFER;
	case VFIO_USER_REGION_WRITE:
		return length >= 16 && length - 16 == word(body, 12);
	case VFIO_USER_DEVICE_RESET:
		return true;
	default:
		return false;
	}
}

static void
check_success(uint16_t command, const uint8_t *body, size_t length)
{
	unsigned n_fds = 0;
	uint32_t count;

	DEMAND(command < sizeof(body_lengths) / sizeof(body_lengths[0]));
	if (body_lengths[command] >= 0)
		DEMAND(reply.length == (size_t)body_lengths[command]);
	switch (command) {
	case VFIO_USER_VERSION:
		DEMAND(reply.length > 4 && reply.length + HEADER <= 214);
		DEMAND(memchr(reply.body + 4, 0, reply.length - 4) ==
			reply.body + reply.length - 1);
		DEMAND(word(reply.body, 0) >> 16 <= 1 && (word(reply.body, 0) & 0xffff) == 0);
		negotiated = true;
		break;
	case VFIO_USER_DMA_UNMAP:
		DEMAND(memcmp(reply.body, body, 24) == 0);
		break;
	case VFIO_USER_REGION_WRITE:
		DEMAND(memcmp(reply.body, body, 16) == 0);
		break;
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		if (word(reply.body, 4) & VFIO_USER_REGION_MMAP) {
			DEMAND(word(body, 8) == 2);
			n_fds = 1;
		}
		break;
	case VFIO_USER_REGION_READ:
		count = word(body, 12);
		DEMAND(reply.length == 16 + (size_t)count);
		DEMAND(memcmp(reply.body, body, 16) == 0);
		if (is_nothing(word(body, 8)))
			for (uint32_t i = 0; i < count; i++)
				DEMAND(reply.body[16 + i] == 0xff);
		break;
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		n_fds = word(reply.body, 12);
		DEMAND(reply.length == 16 + 40 * (size_t)n_fds);
		DEMAND(reply.length <= word(body, 0) && reply.length <= word(reply.body, 0));
		DEMAND(n_fds <= session.max_fds);
		break;
	case VFIO_USER_DEVICE_FEATURE:
		DEMAND(reply.length >= 8 && reply.length <= word(body, 0));
		DEMAND(ivshmem_device_is_master(function.device));
		break;
	case VFIO_USER_MIG_DATA_READ:
		DEMAND(reply.length == 8 + (size_t)word(reply.body, 4));
		DEMAND(word(reply.body, 0) == reply.length);
		DEMAND(word(reply.body, 4) <= word(body, 4) && reply.length <= word(body, 0));
		break;
	case VFIO_USER_DEVICE_SET_IRQS:
		DEMAND(length >= 20);
		break;
	default:
		break;
	}
	DEMAND(reply.n_fds == n_fds);
}

/* What holds between requests. */
static void
check_state(void)
{
	const struct irqs *irqs = &function.irqs;

	DEMAND(irqs->intx_level == ivshmem_device_intx(function.device));
	DEMAND(irqs->stopped == !migration_is_running(&function.migration));
	/* A level that is high has fired if it could, and masked itself. */
	if (irqs->index[VFIO_PCI_INTX_IRQ_INDEX].count > 0 &&
		irqs->index[VFIO_PCI_INTX_IRQ_INDEX].fds[0] >= 0)
		DEMAND(!irqs->intx_level || irqs->intx_masked || irqs->stopped);
}

/* ---- the VMM ----------------------------------------------------------------------------------------------- */

static void
connect_vmm(void)
{
	int pair[2];

	DEMAND(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
	vmm = pair[0];
	ours = pair[1];
	negotiated = false;
	session_init(&session, &function, &complaints);
	DEMAND(channel_init(&channel, ours, 0, NULL) == 0);
}

static void
disconnect_vmm(void)
{
	char c;
	ssize_t n;

	channel_done(&channel);
	function_restart(&function);
	if (ours >= 0) {
		channel_shut(ours);
		ours = fd_close(ours);
	}
	/* It sees an end, and no reset. */
	do
		n = recv(vmm, &c, 1, 0);
	while (n > 0);
	DEMAND(n == 0);
	vmm = fd_close(vmm);
}

/* The VMM gets exactly what was made. */
static void
check_received(
	const struct vfio_user_header *header, const uint8_t *body, size_t length, unsigned n_fds)
{
	static uint8_t bytes[HEADER + SMALL_REPLY + 1];
	int fds[VFIO_USER_MAX_REPLY_FDS];
	size_t n;

	DEMAND(fdpass_recv(vmm, bytes, sizeof(bytes), fds, VFIO_USER_MAX_REPLY_FDS, &n, NULL) ==
		(ssize_t)(HEADER + length));
	DEMAND(memcmp(bytes, header, HEADER) == 0 && memcmp(bytes + HEADER, body, length) == 0);
	DEMAND(n == n_fds);
	while (n > 0)
		DEMAND(close(fds[--n]) == 0);
}

static void
answer(const struct vfio_user_header *header)
{
	size_t length = reply.length;
	unsigned n_fds = reply.n_fds;

	if (length > SMALL_REPLY) {
		reply_drop(&reply);
		return;
	}
	DEMAND(channel_send(&channel, header, &reply) == 0);
	DEMAND(reply.n_fds == 0);
	check_received(header, reply.body, length, n_fds);
}

/* Returns whether the connection goes on. */
static bool
handle(struct request *request)
{
	const struct vfio_user_header asked = request->header;
	bool well_formed = is_well_formed(&asked, request->body, request->length, request->n_fds);
	bool first = !negotiated, end;
	struct vfio_user_header header;

	DEMAND(asked.size == HEADER + request->length);
	end = handle_request(&session, request, &header, &reply);
	DEMAND(header.id == asked.id && header.command == asked.command);
	DEMAND(header.size == HEADER + reply.length && reply.length <= MESSAGE_MAX_BODY);
	if (header.flags & VFIO_USER_ERROR) {
		DEMAND(header.flags == (VFIO_USER_TYPE_REPLY | VFIO_USER_ERROR));
		DEMAND(header.error > 0 && header.error < 4096);
		DEMAND(reply.length == 0 && reply.n_fds == 0);
		DEMAND(!well_formed && session.error.message[0] != '\0');
	} else {
		DEMAND(header.flags == VFIO_USER_TYPE_REPLY && header.error == 0 && !end);
		DEMAND(!first || asked.command == VFIO_USER_VERSION);
		check_success(asked.command, request->body, request->length);
	}
	check_state();
	if (asked.flags & VFIO_USER_NO_REPLY)
		reply_drop(&reply);
	else
		answer(&header);
	return !end;
}

static void
serve(void)
{
	struct request request;
	int r = 1;

	while (ours >= 0 && (r = channel_receive(&channel, &request)) == 1) {
		DEMAND(request.n_fds <= CHANNEL_MAX_FDS);
		if (handle(&request))
			continue;
		channel_shut(ours);
		ours = fd_close(ours);
	}
	if (ours < 0 || r == -EAGAIN)
		return;
	DEMAND(r == -EMSGSIZE || r == -EPROTO);
	channel_shut(ours);
	ours = fd_close(ours);
}

/* Descriptors to be attached: the first one of some kind, the others of the same, or of all kinds. */
static unsigned
choose_fds(unsigned n, int *fds)
{
	unsigned kind = n > 0 ? (unsigned)take(1) : 0;

	for (unsigned i = 0; i < n; i++) {
		unsigned which = kind & 0x80 ? kind : kind + i;

		if (which % 16 < N_EVENTFDS)
			fds[i] = eventfds[which % 16];
		else
			fds[i] = which % 2 ? vmm : STDERR_FILENO;
	}
	return n;
}

static void
send_all(const uint8_t *bytes, size_t length, const int *fds, unsigned n_fds)
{
	while (length > 0 && ours >= 0) {
		size_t piece = length < PIECE ? length : PIECE;

		send_with_fds(vmm, bytes, piece, fds, n_fds);
		bytes += piece;
		length -= piece;
		n_fds = 0;
		serve();
	}
}

static void
raw_step(unsigned parameter)
{
	int fds[MAX_ATTACH];
	unsigned n_fds = choose_fds(parameter % 4, fds);
	size_t length = (size_t)take(1);
	const uint8_t *bytes = input;

	if (length > input_left)
		length = input_left;
	input += length;
	input_left -= length;
	send_all(bytes, length, fds, n_fds);
}

static void
message_step(unsigned parameter)
{
	static uint8_t bytes[HEADER + 65536];
	static uint16_t id;
	int fds[MAX_ATTACH];
	unsigned n_fds = choose_fds(parameter, fds);
	struct vfio_user_header header = {.id = id++};
	size_t length, given;

	header.command = (uint16_t)take(1);
	header.flags = (uint32_t)take(1);
	length = (size_t)take(2);
	given = (size_t)take(1);
	if (given > length)
		given = length;
	if (given > input_left)
		given = input_left;
	header.size = (uint32_t)(HEADER + length);
	memcpy(bytes, &header, HEADER);
	memset(bytes + HEADER, 0, length);
	if (given > 0)
		memcpy(bytes + HEADER, input, given);
	input += given;
	input_left -= given;
	send_all(bytes, HEADER + length, fds, n_fds);
}

static void
ring_step(unsigned parameter)
{
	if (parameter < 16 && parameter < n_own)
		eventfd_write(own[parameter], 1);
	else if (parameter >= 16)
		eventfd_write(eventfds[parameter % N_EVENTFDS], 1);
}

/* ---- one run ------------------------------------------------------------------------------------------------- */

static struct ivshmem_device_config
choose_config(void)
{
	static const unsigned vectors[8] = {1, 2, 3, 8, 16, 17, 300, 2048};
	struct ivshmem_device_config config;
	unsigned shape = (unsigned)take(1), more = (unsigned)take(1);

	ivshmem_device_config_init(&config, sizeof(config), shape & 1);
	config.memory_size = MEMORY;
	config.vectors = vectors[more % 8];
	config.legacy_doorbell = shape & 4;
	if (shape & 1) {
		config.id = OUR_ID;
		config.ioeventfd = shape & 0x20;
		config.doorbell_bar = shape & 0x40;
	} else {
		config.msi = shape & 2;
		config.ioeventfd = config.msi && (shape & 0x20);
		config.master = shape & 8 ? IVSHMEM_DEVICE_MASTER_ON : IVSHMEM_DEVICE_MASTER_OFF;
	}
	/* In revision 1 the memory is always there at once. */
	if ((shape & 1) || !(shape & 0x10))
		greet();
	return config;
}

static void
step(void)
{
	uint8_t what = (uint8_t)take(1);
	unsigned parameter = what >> 3;

	switch (what & 7) {
	case 0:
		raw_step(parameter);
		break;
	case 1:
		message_step(parameter);
		break;
	case 2:
		vector_step(parameter);
		break;
	case 3:
		left_step(parameter);
		break;
	case 4:
		ring_step(parameter);
		break;
	case 5:
		dispatch();
		check_state();
		break;
	case 6:
		disconnect_vmm();
		connect_vmm();
		check_state();
		break;
	default:
		server_step(parameter);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ivshmem_device_config config;
	struct ivshmem_error error;
	int first = -1;
	uint64_t before = open_fds(&first);

	input = data;
	input_left = size;
	fuzz_log = (struct log){LOG_LEVEL_DEBUG, write_log, NULL};
	complaints = (struct pace){.log = &fuzz_log, .level = LOG_LEVEL_WARNING};
	greeted = false;
	n_own = 0;
	DEMAND(loop_new(&loop) == 0);
	for (unsigned i = 0; i < N_EVENTFDS; i++) {
		eventfds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		DEMAND(eventfds[i] >= 0);
	}
	join();
	config = choose_config();
	DEMAND(function_init(&function, loop, member, &config, &fuzz_log, &error) == 0);
	DEMAND(reply_init(&reply, NULL) == 0);
	connect_vmm();
	while (input_left > 0)
		step();
	disconnect_vmm();
	reply_done(&reply);
	function_done(&function);
	member = member_close(member);
	/* Nothing is left in the loop, and no descriptor anywhere. */
	DEMAND(loop_dispatch(loop, 0) == 0);
	loop = loop_free(loop);
	while (n_own > 0)
		close(own[--n_own]);
	for (unsigned i = 0; i < N_EVENTFDS; i++)
		close(eventfds[i]);
	close(server);
	DEMAND(open_fds(&first) == before);
	return 0;
}
