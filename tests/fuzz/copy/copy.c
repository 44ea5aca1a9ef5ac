/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Any records to a receiver of files. Whatever they are, nothing appears outside of its folder. The
 * bytes are records one after the other, each behind its length; the first one says whether to resume.
 */

#include <fuzz.h>

#include <copy/receiver.h>

#include <ivshmem/channel.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE  (UINT64_C(1) << 20)
#define TURNS 100

static char folder[] = "/tmp/ivshmem-fuzz-XXXXXX";

static int
remove_one(const char *path, const struct stat *stat, int type, struct FTW *where)
{
	(void)stat;
	if (where->level > 0)
		DEMAND((type == FTW_DP ? rmdir(path) : unlink(path)) == 0);
	return 0;
}

static void
empty_folder(void)
{
	DEMAND(nftw(folder, remove_one, 10, FTW_DEPTH | FTW_PHYS) == 0);
}

/* A fuzzer ends in many ways of which atexit() does not hear. So a process of its own waits for our end, and
 * removes the folder then. */
static void
guard_folder(void)
{
	int life[2];
	pid_t pid;
	char byte;

	DEMAND(pipe2(life, O_CLOEXEC) == 0);
	pid = fork();
	DEMAND(pid >= 0);
	if (pid > 0) {
		close(life[0]);
		return;
	}
	/* What ends all of us, or waits for the end of our output, is not about it. */
	setsid();
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	close(life[1]);
	while (read(life[0], &byte, 1) != 0)
		;
	empty_folder();
	_exit(rmdir(folder) < 0);
}

static void
begin(void)
{
	static bool begun;

	if (!begun) {
		DEMAND(mkdtemp(folder));
		guard_folder();
		DEMAND(chdir(folder) == 0);
	}
	begun = true;
	DEMAND(mkdir("to", 0700) == 0 && mkdir("outside", 0700) == 0);
	DEMAND(symlink("../outside", "to/link") == 0);
	DEMAND(close(open("outside/file", O_CREAT | O_WRONLY, 0600)) == 0);
}

/* What was outside is as it was. */
static void
check(void)
{
	struct stat stat;

	DEMAND(lstat("outside", &stat) == 0 && stat.st_nlink == 2 &&
		(stat.st_mode & 07777) == 0700);
	DEMAND(lstat("outside/file", &stat) == 0 && stat.st_size == 0 &&
		(stat.st_mode & 07777) == 0600);
	DEMAND(unlink("outside/file") == 0 && rmdir("outside") == 0);
}

static void
receive(struct receiver *receiver, struct ivshmem_channel *sender)
{
	const void *said;
	int r = COPY_RUNS;

	for (unsigned i = 0; i < TURNS && (r == COPY_RUNS || i < 2); i++) {
		r = receiver_run(receiver);
		DEMAND(r == -EPROTO || r == -EPIPE || r >= 0);
		if (r < 0 || r == COPY_ENDED)
			return;
		while (ivshmem_queue_peek(sender, &said) >= 0)
			DEMAND(ivshmem_queue_release(sender) == 0);
	}
}

static void
send_all(struct receiver *receiver, struct ivshmem_channel *sender, struct fuzz_input *input)
{
	while (input->size > 0) {
		size_t length = (size_t)fuzz_take(input, 2);

		length = length < input->size ? length : input->size;
		if (ivshmem_queue_send(sender, input->data, length) < 0)
			break;
		input->data += length;
		input->size -= length;
		receive(receiver, sender);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static _Alignas(4096) uint8_t memory[SIZE];
	struct ivshmem_transport transport = {
		.struct_size = sizeof(transport), .memory = memory, .size = SIZE, .fd = -1};
	struct ivshmem_participant_options two = {.struct_size = sizeof(two), .areas = 2};
	struct ivshmem_participant *here, *there;
	struct ivshmem_channel *listener, *sender, *channel;
	struct fuzz_input input = {data, size};
	struct copy_options options = {.resume = fuzz_take(&input, 1) & 1};
	struct receiver *receiver;

	memset(memory, 0, sizeof(memory));
	begin();
	DEMAND(ivshmem_participant_open_over(&here, &transport, &two, NULL) == 0);
	DEMAND(ivshmem_participant_open_over(&there, &transport, &two, NULL) == 0);
	DEMAND(ivshmem_listen(&listener, there, "x", IVSHMEM_QUEUE, NULL, NULL) == 0);
	DEMAND(ivshmem_connect(&sender, here, "x", IVSHMEM_QUEUE, NULL, 0, NULL) == 0);
	DEMAND(ivshmem_accept(&channel, listener) == 0);
	receiver = receiver_new(channel, &options, "to");
	DEMAND(receiver);
	send_all(receiver, sender, &input);
	receiver_free(receiver);
	ivshmem_participant_close(here);
	ivshmem_participant_close(there);
	check();
	empty_folder();
	return 0;
}
