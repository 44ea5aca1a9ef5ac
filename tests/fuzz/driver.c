/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Replays files, and all files of folders, into a fuzz target that is not linked with libFuzzer. Each file is
 * a test in a process of its own; output is TAP.
 */

#include <fuzz.h>

#include <glob.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILE_SECONDS 60

/* The file, or all files of the folder, in their order. */
static void
paths_add(glob_t *paths, const char *name)
{
	struct stat status;
	char pattern[4096];
	bool is_folder = stat(name, &status) == 0 && S_ISDIR(status.st_mode);

	snprintf(pattern, sizeof(pattern), "%s%s", name, is_folder ? "/*" : "");
	glob(pattern, (paths->gl_pathv ? GLOB_APPEND : 0) | (is_folder ? 0 : GLOB_NOCHECK), NULL,
		paths);
}

static uint8_t *
file_read(const char *path, size_t *ret_size)
{
	FILE *file = fopen(path, "re");
	struct stat status;
	uint8_t *data = NULL;

	if (!file)
		return NULL;
	/* Exactly as large as the file, so that a sanitizer sees a read beyond its end. */
	if (fstat(fileno(file), &status) == 0 && S_ISREG(status.st_mode)) {
		*ret_size = (size_t)status.st_size;
		data = malloc(*ret_size + (*ret_size == 0));
	}
	if (data && fread(data, 1, *ret_size, file) != *ret_size) {
		free(data);
		data = NULL;
	}
	fclose(file);
	return data;
}

/* NULL, or what went wrong. */
static const char *
replay(const char *path)
{
	static char text[128];
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return "cannot fork";
	if (pid == 0) {
		size_t size = 0;
		uint8_t *data = file_read(path, &size);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		alarm(FILE_SECONDS);
		if (!data) {
			perror(path);
			_exit(2);
		}
		DEMAND(LLVMFuzzerTestOneInput(data, size) == 0);
		free(data);
		/* The leak sanitizer looks at exit. */
		exit(0);
	}
	if (waitpid(pid, &status, 0) < 0)
		return "waitpid() failed";
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		snprintf(text, sizeof(text), "took longer than %d s", FILE_SECONDS);
	else if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed by signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		snprintf(text, sizeof(text), "exit status %d", WEXITSTATUS(status));
	else
		return NULL;
	return text;
}

int
main(int argc, char **argv)
{
	glob_t paths = {0};
	unsigned failed = 0;

	for (int i = 1; i < argc; i++)
		paths_add(&paths, argv[i]);
	if (paths.gl_pathc == 0) {
		fprintf(stderr, "usage: %s FILE|FOLDER...\n", argv[0]);
		return 2;
	}
	printf("TAP version 13\n1..%zu\n", paths.gl_pathc);
	for (size_t i = 0; i < paths.gl_pathc; i++) {
		const char *path = paths.gl_pathv[i], *failure = replay(path);

		printf("%s %zu - %s\n", failure ? "not ok" : "ok", i + 1, basename(path));
		if (failure) {
			printf("# %s: %s\n", path, failure);
			failed++;
		}
	}
	globfree(&paths);
	return failed > 0 ? 1 : 0;
}
