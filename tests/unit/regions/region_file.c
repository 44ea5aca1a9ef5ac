/* SPDX-License-Identifier: BSD-2-Clause */

/* The file of a region, and the directory of all of them: each wrong kind is told with its line. */

#include <region_file.h>
#include <region_folder.h>

#include <ivshmem/common.h>
#include <test.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD "[region]\n"

static int
parse(const char *text, size_t size, struct region_file *ret_file, struct ivshmem_error *reterr)
{
	return region_file_parse(text, size, "/d/r.ini", "r", "/run/x", ret_file, reterr);
}

static struct region_file
accepted(const char *text)
{
	struct region_file file;
	struct ivshmem_error error = {0};

	if (parse(text, strlen(text), &file, &error) < 0)
		FAIL("\"%s\": %s", text, error.message);
	return file;
}

static void
refused_bytes(const char *text, size_t size, const char *words)
{
	struct region_file file = {0};
	struct ivshmem_error error = {0};
	int r = parse(text, size, &file, &error);

	CHECK_EQ(r, -EINVAL);
	CHECK_EQ(error.code, r);
	CHECK(!file.argv);
	CHECK_HAS(error.message, words);
}

static void
refused(const char *text, const char *words)
{
	refused_bytes(text, strlen(text), words);
}

TEST(what_is_not_said_has_a_default)
{
	struct region_file file = accepted(HEAD);

	CHECK_STR(file.options.socket, "/run/x/r.sock");
	CHECK_STR(file.options.name, "r");
	CHECK_EQ(file.options.memory.size, UINT64_C(4) << 20);
	CHECK(file.options.foreground && file.options.keep_clients && !file.options.supervise);
	region_file_done(&file);
}

TEST(keys_are_options)
{
	struct region_file file = accepted(HEAD "size = 64M\nvectors: 4\npreallocate=yes\n"
						"verbose = no\nsocket = /s ; a comment\n# another\n"
						"member = 1=/m\nmember = 2=/n\nnuma-node = 1\n");

	CHECK_EQ(file.options.memory.size, UINT64_C(64) << 20);
	CHECK_EQ(file.options.n_vectors, 4);
	CHECK(file.options.memory.preallocate && !file.options.verbose);
	CHECK_STR(file.options.socket, "/s");
	CHECK_EQ(file.options.n_members, 2);
	CHECK_STR(file.options.members[1].socket, "/n");
	CHECK(file.options.memory.on_node);
	CHECK_EQ(file.options.memory.numa_node, 1);
	region_file_done(&file);
}

TEST(how_lines_look_does_not_matter)
{
	const char *const texts[] = {
		"[region]\nsize = 1M\nvectors = 2\n",
		"[region]\r\nsize = 1M\r\nvectors = 2\r\n",
		"\xef\xbb\xbf[region]\nsize = 1M\nvectors = 2",
		"\n; x\n  [region] ; y\n  size=1M\n\tvectors  :2  \n\n",
	};
	struct region_file first = accepted(texts[0]);

	for (unsigned i = 1; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct region_file file = accepted(texts[i]);

		CHECK(region_file_is(&file, first.argv));
		region_file_done(&file);
	}
	region_file_done(&first);
}

TEST(sections)
{
	refused("", "/d/r.ini: there is no section: begin the file with [region]");
	refused("; only this\n", "/d/r.ini: there is no section");
	refused("size = 1M\n", "/d/r.ini:1: 'size' comes before the section");
	refused("[group]\n", "/d/r.ini:1: unknown section [group]: the only one is [region]");
	refused(HEAD "\n[Region]\n", "/d/r.ini:3: unknown section [Region]");
	refused(HEAD HEAD, "/d/r.ini:2: a second [region]");
	refused("[region\n", "/d/r.ini:1: a section without ]");
	refused("[]\n", "/d/r.ini:1: unknown section []");
}

TEST(keys)
{
	refused(HEAD "vectorz = 2\n", "/d/r.ini:2: unknown key 'vectorz': did you mean 'vectors'?");
	refused(HEAD "colour = red\n", "/d/r.ini:2: unknown key 'colour'; the keys are ");
	refused(HEAD "colour = red\n", "no-observer-socket");
	refused(HEAD "size = 1M\n\nsize = 1M\n",
		"/d/r.ini:4: 'size' is set a second time; first in line 2");
	refused(HEAD "size\n", "/d/r.ini:2: the line is neither KEY = VALUE nor [region]");
	refused(HEAD "= 3\n", "/d/r.ini:2: unknown key ''");
	refused(HEAD "Size = 3\n", "/d/r.ini:2: unknown key 'Size': did you mean 'size'?");
	refused(HEAD "sizes = 3\n", "did you mean 'size'?");
}

TEST(what_is_the_managers)
{
	const char *const names[] = {"help", "version", "foreground", "keep-clients", "supervise",
		"regions", "runtime-dir", "check", "name", "pidfile"};
	char text[80], words[80];

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(text, sizeof(text), HEAD "%s = yes\n", names[i]);
		snprintf(words, sizeof(words), "/d/r.ini:2: '%s' cannot be set for a region",
			names[i]);
		refused(text, words);
	}
}

TEST(values)
{
	refused(HEAD "size = 12Q\n", "/d/r.ini:2: size: '12Q' is not a size");
	refused(HEAD "size =\n", "/d/r.ini:2: size: '' is not a size");
	refused(HEAD "vectors = 2049\n",
		"/d/r.ini:2: vectors: '2049' is not a number from 0 to 2048");
	refused(HEAD "max-peers = 0\n",
		"/d/r.ini:2: max-peers: '0' is not a number from 1 to 65536");
	refused(HEAD "preallocate = maybe\n", "/d/r.ini:2: preallocate: 'maybe' is not yes or no");
	refused(HEAD "socket-mode = 999\n", "/d/r.ini:2: socket-mode: '999' is not a set of");
	refused(HEAD "socket-owner = nobody-of-that-name\n", "/d/r.ini:2: socket-owner: ");
	refused(HEAD "numa-node = 1024\n",
		"/d/r.ini:2: numa-node: '1024' is not a number from 0 to 1023");
	refused(HEAD "hugetlb = 3M\n", "/d/r.ini:2: hugetlb: '3M' is not a size of huge pages");
	refused(HEAD "member = 1=/a\nmember = 1=/b\n", "/d/r.ini:3: member: id 1 is given to two");
	refused(HEAD "hugetlb = 2M\n\nshm = x\n", "/d/r.ini:4: hugetlb cannot be combined with");
}

TEST(bytes_that_are_no_text)
{
	static const char with_nul[] = HEAD "size = 1M\0\nvectors = 2\n";

	refused_bytes(with_nul, sizeof(with_nul) - 1,
		"/d/r.ini:2: the line has a byte that is no text, such as NUL");
	refused(HEAD "size = 1\033M\n", "/d/r.ini:2: the line has a byte that is no text");
	refused(HEAD "size = 1M\rvectors = 2\n", "/d/r.ini:2: the line has a byte");
	refused_bytes("\0\0\0\0", 4, "/d/r.ini:1: the line has a byte");
}

TEST(long_lines)
{
	char text[512] = HEAD;
	struct region_file file;

	memset(text + strlen(HEAD), ';', 198);
	file = accepted(text);
	region_file_done(&file);
	text[strlen(HEAD) + 198] = ';';
	refused(text, "/d/r.ini:2: the line has 199 bytes, which is too long: at most 198");
}

TEST(what_a_group_depends_on_stays)
{
	const struct {
		const char *was, *now, *words;
	} changes[] = {
		{HEAD, HEAD "max-peers = 3\nstall-timeout = 5\nverbose = yes\n", NULL},
		{HEAD "size = 4M\n", HEAD "size = 4096K\n", NULL},
		{HEAD "size = 4M\n", HEAD "size = 8M\n", "/d/r.ini:2: 'size' cannot change"},
		{HEAD "size = 8M\n", HEAD, "/d/r.ini: 'size' cannot change"},
		{HEAD, HEAD "vectors = 2\n", "/d/r.ini:2: 'vectors' cannot change"},
		{HEAD, HEAD "shm = x\n", "/d/r.ini:2: 'shm' cannot change"},
		{HEAD "shm = y\n", HEAD "shm = x\n", "/d/r.ini:2: 'shm' cannot change"},
		{HEAD "shm = y\n", HEAD "directory = /d\n", "/d/r.ini:2: 'directory' cannot"},
		{HEAD, HEAD "hugetlb = 2M\n", "/d/r.ini:2: 'hugetlb' cannot change"},
		{HEAD, HEAD "socket = /s\n", "/d/r.ini:2: 'socket' cannot change"},
		{HEAD, HEAD "observer-socket = /s\n", "/d/r.ini:2: 'observer-socket' cannot"},
		{HEAD, HEAD "member = 1=/s\n", "/d/r.ini:2: 'member' cannot change"},
		{HEAD "member = 2=/s\n", HEAD "member = 1=/s\n", "'member' cannot change"},
	};

	for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		struct region_file was = accepted(changes[i].was), now = accepted(changes[i].now);
		struct ivshmem_error error = {0};
		int r = region_file_follows(&now, was.argv, "/d/r.ini", &error);

		CHECK_EQ(r, changes[i].words ? -EINVAL : 0);
		CHECK_HAS(error.message, changes[i].words ? changes[i].words : "");
		region_file_done(&was);
		region_file_done(&now);
	}
}

/* ---- directories ----------------------------------------------------------------------------- */

static const char *
put(const char *name, const char *text, size_t size)
{
	static char path[512];
	_test_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", test_directory(), name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(write(fd, text, size), (ssize_t)size);
	return path;
}

static struct region_folder
folder(void)
{
	struct region_folder folder;
	struct ivshmem_error error = {0};

	if (region_folder_read(test_directory(), "/run/x", &folder, &error) < 0)
		FAIL("%s", error.message);
	return folder;
}

static void
expect_error(const struct region_folder *folder, const char *name, const char *words)
{
	const struct region_entry *entry = region_folder_find(folder, name);

	CHECK(entry);
	CHECK_HAS(entry->error.message, words);
	CHECK(!entry->file.argv);
}

TEST(things_that_are_no_files)
{
	static char large[65 * 1024];
	struct region_folder found;
	char path[512];

	memset(large, ';', sizeof(large));
	put("good.ini", HEAD, strlen(HEAD));
	put("large.ini", large, sizeof(large));
	put("notes.txt", "x", 1);
	put(".hidden.ini", "x", 1);
	snprintf(path, sizeof(path), "%s/dir.ini", test_directory());
	CHECK_SYS(mkdir(path, 0700));
	snprintf(path, sizeof(path), "%s/link.ini", test_directory());
	CHECK_SYS(symlink("/nowhere/at/all", path));
	snprintf(path, sizeof(path), "%s/fifo.ini", test_directory());
	CHECK_SYS(mkfifo(path, 0600));
	found = folder();
	CHECK_EQ(found.n, 5);
	CHECK_EQ(found.n_wrong, 4);
	CHECK_EQ(region_folder_find(&found, "good")->error.code, 0);
	expect_error(&found, "dir", "dir.ini: it is a directory");
	expect_error(&found, "link", "link.ini: it is a symbolic link to nothing");
	expect_error(&found, "fifo", "fifo.ini: it is something special");
	expect_error(&found, "large", "large.ini: it has more than 64 KiB");
	region_folder_done(&found);
}

TEST(a_file_that_nobody_may_read)
{
	struct region_folder found;

	CHECK_SYS(chmod(test_directory(), 0755));
	CHECK_SYS(chmod(put("secret.ini", HEAD, strlen(HEAD)), 0));
	test_drop_root();
	found = folder();
	expect_error(&found, "secret", "secret.ini: cannot read it: Permission denied");
	region_folder_done(&found);
}

TEST(names)
{
	struct region_folder found;
	char name[80];

	snprintf(name, sizeof(name), "%065d.ini", 0);
	put(name, HEAD, strlen(HEAD));
	put("with blank.ini", HEAD, strlen(HEAD));
	put("a-b.ini", HEAD, strlen(HEAD));
	put("a.ini", HEAD, strlen(HEAD));
	put("a.b.ini", HEAD, strlen(HEAD));
	found = folder();
	CHECK_EQ(found.n, 5);
	CHECK_EQ(found.n_wrong, 2);
	CHECK(region_folder_find(&found, "a") && region_folder_find(&found, "a-b") &&
		region_folder_find(&found, "a.b"));
	CHECK_HAS(found.entries[0].error.message, "the name of a region has at most 64 of these");
	region_folder_done(&found);
}

TEST(two_files_with_one_socket)
{
	const char *a = HEAD "socket = /s\n", *b = HEAD "member = 4=/s\n",
		   *c = HEAD "observer-socket = /run/x/d.sock\n";
	struct region_folder found;

	put("a.ini", a, strlen(a));
	put("b.ini", b, strlen(b));
	put("c.ini", c, strlen(c));
	put("d.ini", HEAD, strlen(HEAD));
	put("e.ini", HEAD, strlen(HEAD));
	found = folder();
	CHECK_EQ(found.n_wrong, 4);
	expect_error(&found, "a", "a.ini: the socket '/s' is also that of ");
	expect_error(&found, "a", "/b.ini: give each region its own");
	expect_error(&found, "b", "/a.ini: give each region its own");
	expect_error(&found, "c", "c.ini: the socket '/run/x/d.sock' is also that of ");
	expect_error(&found, "d", "/c.ini: give each region its own");
	CHECK_EQ(region_folder_find(&found, "e")->error.code, 0);
	region_folder_done(&found);
}

TEST(ten_thousand_files)
{
	const unsigned n = test_count(10000);
	struct region_folder found;
	char name[32];

	for (unsigned i = 0; i < n; i++) {
		const char *text = i % 100 == 99 ? "size = 1\n" : HEAD "size = 1M\n";

		snprintf(name, sizeof(name), "r%u.ini", i);
		put(name, text, strlen(text));
	}
	found = folder();
	CHECK_EQ(found.n, n);
	CHECK_EQ(found.n_wrong, n / 100);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "r%u", i);
		CHECK_EQ(region_folder_find(&found, name)->error.code < 0, i % 100 == 99);
	}
	region_folder_done(&found);
}
