/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Finding a PCI device, against folders that look like sysfs; and the text of the kernel's list of
 * memory types. What needs a real device is tested in tests/vm.
 */

#include "sysfs_tree.h"

#include <guest/guest.h>
#include <loop/loop.h>
#include <test.h>

#include <ivshmem/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ADDRESS "0000:00:05.0"

static struct pci_device device;
static struct ivshmem_error error;

void
test_before(void)
{
	make_tree();
	pci_memtype_list = "/nonexistent";
}

/* ---- finding -------------------------------------------------------------------------------- */

static void
find(const char *name, const char *address)
{
	CHECK_EQ(pci_find(name, &device, &error), 0);
	CHECK_STR(device.address, address);
}

static void
find_fails(const char *name, int code, const char *words)
{
	struct pci_device before = device;

	error = (struct ivshmem_error){0};
	CHECK_EQ(pci_find(name, &device, &error), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, words);
	CHECK_EQ(pci_find(name, &device, NULL), code);
	CHECK_MEM(&device, &before, sizeof(device));
}

TEST(pci_auto_finds_the_only_device)
{
	make_device("0000:00:02.0", "0x1234\n", "0x1110\n", bars);
	make_device("0000:00:03.0", "0x1af4\n", "0x1000\n", bars);
	make_ivshmem(ADDRESS);
	make_link(ADDRESS, "driver", "../../../bus/pci/drivers/vfio-pci");
	find("auto", ADDRESS);
	CHECK_STR(device.driver, "vfio-pci");
	CHECK_EQ(device.bar_start[0], 0xfe600000);
	CHECK_EQ(device.bar_size[0], 256);
	CHECK_EQ(device.bar_size[1], 4096);
	CHECK_EQ(device.bar_start[2], 0xfea00000);
	CHECK_EQ(device.bar_size[2], 1 << 20);
	CHECK_EQ(error.code, 0);
}

TEST(pci_auto_without_device_names_the_option)
{
	find_fails("auto", -ENOENT, "-device ivshmem-doorbell");
}

TEST(pci_auto_with_several_devices_lists_them_in_order)
{
	make_ivshmem("0000:01:00.0");
	make_ivshmem("0001:00:00.0");
	make_ivshmem(ADDRESS);
	make_link("0000:01:00.0", "driver", "../../../bus/pci/drivers/vfio-pci");
	find_fails("auto", -EINVAL, "3 ivshmem devices");
	CHECK_HAS(error.message, "0000:00:05.0 (no driver), 0000:01:00.0 (vfio-pci), 0001:00:00.0");
	CHECK_HAS(error.message, "pci:0000:00:05.0");
}

/* The list ends where the sentence would, and not in the middle of a device. */
TEST(pci_auto_with_very_many_devices_lists_some)
{
	char address[32];

	for (unsigned i = 0; i < 32; i++) {
		snprintf(address, sizeof(address), "0000:02:%02x.0", i);
		make_ivshmem(address);
	}
	find_fails("auto", -EINVAL, "32 ivshmem devices");
	CHECK_HAS(error.message, "(no driver), ...; name one");
}

TEST(pci_address_has_two_forms)
{
	static const char *const same[] = {
		"0000:0a:1f.7", "0a:1f.7", "0000:0A:1F.7", "a:1f.7", "0:a:1f.7"};

	make_ivshmem("0000:0a:1f.7");
	make_ivshmem("10000:00:01.0");
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
		find(same[i], "0000:0a:1f.7");
	find("10000:00:01.0", "10000:00:01.0");
}

TEST(pci_address_that_is_none_is_refused)
{
	static const char *const wrong[] = {"", ":", "auto ", "5", "00:05", "00:05.", "00:05.8",
		"00:20.0", "100:00.0", "00:00:00:00.0", "0000:00:05.0 ", " 00:05.0", "-1:05.0",
		"00:05.0x", "0x0:05.0", "00:g5.0", "123456789:00:00.0", "0000:00:05.00",
		"../../../../../etc", "0000:000:05.0"};

	make_ivshmem(ADDRESS);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		fprintf(stderr, "'%s'\n", wrong[i]);
		find_fails(wrong[i], -EINVAL, "is not a PCI address");
	}
}

TEST(pci_other_or_absent_device_is_refused)
{
	make_device("0000:00:02.0", "0x8086\n", "0x100e\n", bars);
	find_fails("00:02.0", -ENOENT, "-device ivshmem-doorbell");
	make_ivshmem(ADDRESS);
	find_fails("00:02.0", -ENODEV, "0000:00:02.0 is 8086:100e");
	CHECK_HAS(error.message, ADDRESS);
	find_fails("00:06.0", -ENOENT, "no PCI device 0000:00:06.0");
	CHECK_HAS(error.message, ADDRESS);
}

TEST(pci_without_sysfs_says_so)
{
	pci_sysfs_root = "/nowhere";
	find_fails("auto", -ENOENT, "sysfs");
	find_fails("00:05.0", -ENOENT, "sysfs");
}

/* A folder whose files are gone is a device being unplugged; anything else in there is not a
 * device. */
TEST(pci_strange_folders_are_skipped)
{
	make_file("0000:00:03.0", "vendor", "0x1af4\n", 7);
	make_file("0000:00:04.0", "vendor", "", 0);
	make_device("0000:00:06.0", "1af4\n", "1110\n", bars);
	make_device("0000:00:07.0", "0x1af4\n", "0x1110\n", "0x1 0x2\n");
	make_device("not-an-address", "0x1af4\n", "0x1110\n", bars);
	make_ivshmem(ADDRESS);
	find("auto", ADDRESS);
	CHECK(pci_find("00:07.0", &device, NULL) < 0);
	CHECK(pci_find("00:04.0", &device, NULL) < 0);
}

/* ---- using ---------------------------------------------------------------------------------- */

TEST(pci_bars_must_be_there)
{
	static const char unplaced[] =
		"0x00000000fe600000 0x00000000fe6000ff 0x0000000000040200\n" ABSENT_BAR
		"0x0000000000000000 0x0000003fffffffff 0x000000002014220c\n";
	static const struct {
		const char *resource, *missing;
	} cases[] = {
		{unplaced, "BAR2"},
		{ABSENT_BAR ABSENT_BAR ABSENT_BAR, "BAR0"},
		{bars, NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		make_device(ADDRESS, "0x1af4\n", "0x1110\n", cases[i].resource);
		find("auto", ADDRESS);
		CHECK_EQ(pci_check_bars(&device, &error), cases[i].missing ? -ENODEV : 0);
		if (cases[i].missing)
			CHECK_HAS(error.message, cases[i].missing);
		CHECK_EQ(device.bar_size[2], i == 2 ? 1 << 20 : 0);
	}
}

TEST(pci_id_has_16_bits)
{
	uint16_t id = 7;

	CHECK_EQ(pci_check_id(&device, UINT32_MAX, &id, &error), -ENODEV);
	CHECK_EQ(pci_check_id(&device, 65536, &id, &error), -ENODEV);
	CHECK_EQ(id, 7);
	CHECK_HAS(error.message, "0x00010000");
	CHECK_EQ(pci_check_id(&device, 0, &id, NULL), 0);
	CHECK_EQ(id, 0);
	CHECK_EQ(pci_check_id(&device, 65535, &id, NULL), 0);
	CHECK_EQ(id, 65535);
}

TEST(pci_backend_follows_the_driver)
{
	static const struct {
		const char *driver, *name;
		const struct guest_backend *backend;
		int r;
	} cases[] = {
		{"ivshmem", NULL, &guest_kernel, 0},
		{"ivshmem", "vfio", &guest_vfio, 0},
		{"vfio-pci", NULL, &guest_vfio, 0},
		{"", NULL, &guest_sysfs, 0},
		{"uio_pci_generic", NULL, &guest_sysfs, 0},
		{"pci-stub", NULL, &guest_sysfs, 0},
		{"e1000e", NULL, NULL, -ENODEV},
		{"vfio-pci2", NULL, NULL, -ENODEV},
		{"vfio-pci", "sysfs", &guest_sysfs, 0},
		{"", "vfio", &guest_vfio, 0},
		{"e1000e", "sysfs", &guest_sysfs, 0},
		{"", "", NULL, -EINVAL},
		{"", "unix", NULL, -EINVAL},
		{"", "VFIO", NULL, -EINVAL},
	};

	strcpy(device.address, ADDRESS);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct guest_backend *backend = NULL;

		error = (struct ivshmem_error){0};
		strcpy(device.driver, cases[i].driver);
		CHECK_EQ(
			guest_choose_backend(&device, cases[i].name, &backend, &error), cases[i].r);
		CHECK(backend == cases[i].backend);
		CHECK_EQ(error.code, cases[i].r);
		if (cases[i].r == -ENODEV)
			CHECK_HAS(error.message,
				"devices/0000:00:05.0/driver/unbind; echo vfio-pci > ");
	}
}

/* The longest driver name and address: the commands are only useful whole. */
TEST(pci_sentences_fit)
{
	const struct guest_backend *backend;

	strcpy(device.address, "fffffff:ff:1f.7");
	memset(device.driver, 'd', sizeof(device.driver) - 1);
	CHECK_EQ(guest_choose_backend(&device, NULL, &backend, &error), -ENODEV);
	CHECK_HAS(error.message, "echo fffffff:ff:1f.7 > /sys/bus/pci/drivers_probe");
}

/* ---- sysfs back end, as far as plain files can stand for the device ------------------------- */

#define BAR4 "0x000000fe00000000 0x000000fe00001fff 0x000000000014220c"

static struct guest *guest;
static struct guest_owner owner;
static unsigned fds, n_unplugged;

/* With `bar4`, and a file for it. */
static void
make_resources_and(uint32_t id, bool combining, const char *bar4)
{
	static const unsigned char nothing[0x2000];
	char resource[512];

	make_resources(ADDRESS, id, combining);
	snprintf(resource, sizeof(resource),
		"0x00000000fe600100 0x00000000fe6001ff 0x0000000000040200\n" ABSENT_BAR
		"0x00000000fea00000 0x00000000feafffff 0x000000000014220c\n" ABSENT_BAR
		"%s\n" ABSENT_BAR ABSENT_BAR,
		bar4);
	make_file(ADDRESS, "resource", resource, strlen(resource));
	make_file(ADDRESS, "resource4", nothing, sizeof(nothing));
}

static void
check_file(const char *name, off_t offset, const void *bytes, size_t length)
{
	_test_close_ int fd = CHECK_SYS(open(device_file(ADDRESS, name), O_RDONLY | O_CLOEXEC));
	char buffer[16];

	CHECK_EQ(pread(fd, buffer, length, offset), length);
	CHECK_MEM(buffer, bytes, length);
}

static void
count_unplugged(void *data, const char *message)
{
	CHECK(data == &n_unplugged && message[0]);
	n_unplugged++;
}

static int
sysfs_open(void)
{
	guest = NULL;
	owner = (struct guest_owner){.unplugged = count_unplugged, .data = &n_unplugged};
	error = (struct ivshmem_error){0};
	CHECK_EQ(loop_new(&owner.loop), 0);
	fds = test_open_fds();
	return guest_open(&guest, "auto", "sysfs", &owner, &error);
}

static void
sysfs_close(void)
{
	if (guest)
		CHECK(!guest_close(guest));
	CHECK_EQ(test_open_fds(), fds);
	loop_free(owner.loop);
}

/* The device is gone: nobody is rung any more. */
static void
unplug(void)
{
	n_unplugged = 0;
	guest_unplugged(guest, "gone");
	CHECK_EQ(n_unplugged, 1);
	CHECK_EQ(guest_ring(guest, 1, 1), -ENODEV);
}

static void
check_sysfs(bool combining)
{
	make_resources_and(0x1234, combining, "0x0 0x0 0x0");
	CHECK_EQ(sysfs_open(), 0);
	CHECK_EQ(guest->id, 0x1234);
	CHECK_EQ(guest->size, 1 << 20);
	CHECK_EQ(guest->n_vectors, 0);
	CHECK_EQ(guest->mapping, combining ? IVSHMEM_MAPPING_WRITE_COMBINING : PCI_MAPPING_PLAIN);
	CHECK_STR(guest->doorbell, "register");
	memcpy((char *)guest->memory + guest->size - 4, "last", 4);
	check_file(combining ? "resource2_wc" : "resource2", (1 << 20) - 4, "last", 4);
	CHECK_EQ(guest_ring(guest, 0xabcd, 0x102), 0);
	check_file("resource0", 0x100 + IVSHMEM_REG_DOORBELL, "\x02\x01\xcd\xab", 4);
	unplug();
	check_file("resource0", 0x100 + IVSHMEM_REG_DOORBELL, "\x02\x01\xcd\xab", 4);
	sysfs_close();
}

TEST(pci_sysfs_prefers_write_combining_and_does_without)
{
	check_sysfs(false);
	check_sysfs(true);
}

/* The capability of a device that has doorbell words: in BAR4, two for each of `peers`. */
static void
make_words(uint32_t peers)
{
	unsigned char config[256] = {[4] = 2,
		[6] = 0x10,
		[0x34] = 0x4c,
		[0x4c] = 0x09,
		[0x4e] = 16,
		[0x4f] = 1,
		[0x50] = 4,
		[0x51] = 1,
		[0x54] = (unsigned char)peers,
		[0x55] = (unsigned char)(peers >> 8),
		[0x58] = 'I',
		[0x59] = 'V',
		[0x5a] = 'D',
		[0x5b] = 'B'};

	make_file(ADDRESS, "config", config, sizeof(config));
}

/* Ring peer 7, and see whether the register was written or the word. */
static void
check_ring(unsigned vector, const char *doorbell, bool by_word)
{
	const unsigned char value[4] = {by_word ? 0 : (unsigned char)vector, 0, by_word ? 0 : 7, 0};
	const unsigned char word[4] = {by_word, 0, 0, 0};

	CHECK_EQ(sysfs_open(), 0);
	CHECK_STR(guest->doorbell, doorbell);
	CHECK_EQ(guest_ring(guest, 7, vector), 0);
	check_file("resource0", 0x100 + IVSHMEM_REG_DOORBELL, value, 4);
	check_file("resource4", 7 * 8 + 4 * (off_t)vector, word, 4);
	unplug();
	sysfs_close();
}

TEST(pci_sysfs_rings_by_words)
{
	make_resources_and(1, false, BAR4);
	make_words(1024);
	check_ring(1, "words", true);
	/* what has no word */
	make_resources_and(1, false, BAR4);
	make_words(1024);
	check_ring(2, "words", false);
	make_words(6);
	check_ring(1, "words", false);
}

TEST(pci_sysfs_does_without_words)
{
	static const struct {
		const char *name, *bar4;
	} cases[] = {
		{"no place for them", "0x0 0x0 0x0"},
		{"no address yet", "0x00fe000000 0x00fe001fff 0x2014220c"},
		{"a place that is too small", "0x00fe000000 0x00fe001ffe 0x0014220c"},
		{"a place within a page", "0x00fe000010 0x00fe00201f 0x0014220c"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		fprintf(stderr, "%s\n", cases[i].name);
		make_resources_and(1, false, cases[i].bar4);
		make_words(1024);
		check_ring(1, "register", false);
	}
	/* what a process sees of config space that is not root's */
	make_resources_and(1, false, BAR4);
	check_ring(1, "register", false);
}

/* Without `enable`, or with a driver that makes it fail, through the command register. */
TEST(pci_sysfs_switches_the_device_on)
{
	static const unsigned char off[64] = {[4] = 4};

	make_resources_and(1, true, BAR4);
	make_file(ADDRESS, "config", off, sizeof(off));
	CHECK_EQ(sysfs_open(), 0);
	sysfs_close();
	check_file("config", 4, "\x06\x00", 2);
}

static void
check_sysfs_fails(int code, const char *reason)
{
	CHECK_EQ(sysfs_open(), code);
	CHECK_EQ(error.code, code);
	CHECK_HAS(error.message, reason);
	CHECK(!guest);
	sysfs_close();
}

TEST(pci_sysfs_failures_close_everything)
{
	static const unsigned char off[64] = {0};
	static const uint32_t not_ready[1024] = {[0x108 / 4] = UINT32_MAX};

	check_sysfs_fails(-ENOENT, "no ivshmem PCI device");
	make_resources_and(1, true, BAR4);
	CHECK_SYS(unlink(device_file(ADDRESS, "resource2_wc")));
	CHECK_SYS(unlink(device_file(ADDRESS, "resource2")));
	check_sysfs_fails(-ENOENT, "resource2");
	make_file(ADDRESS, "resource0", not_ready, sizeof(not_ready));
	check_sysfs_fails(-ENODEV, "0xffffffff");
	CHECK_SYS(unlink(device_file(ADDRESS, "resource0")));
	check_sysfs_fails(-ENOENT, "resource0");
	/* Writing to this `enable` succeeds and does nothing. */
	make_file(ADDRESS, "config", off, sizeof(off));
	make_file(ADDRESS, "enable", "0", 1);
	check_sysfs_fails(-ENODEV, "echo 1 > ");
}

/* ---- memory types --------------------------------------------------------------------------- */

/* From a guest with Linux 6.1; ends are exclusive. */
static const char memtypes[] = "PAT memtype list:\n"
			       "PAT: [mem 0x000000000ffe0000-0x000000000ffe3000] write-back\n"
			       "PAT: [mem 0x000000000ffe2000-0x000000000ffe3000] write-back\n"
			       "PAT: [mem 0x00000000b0000000-0x00000000c0000000] uncached-minus\n"
			       "PAT: [mem 0x00000000fe400000-0x00000000fe800000] write-combining\n"
			       "PAT: [mem 0x0000000200000000-0x0000000400000000] uncached\n"
			       "PAT: [mem 0x0000000400000000-0x0000000400001000] write-through\n";

#define NONE IVSHMEM_MAPPING_COUNT

/* The type of each range, which must be all in one. */
TEST(memtypes_are_found)
{
	static const struct {
		uint64_t start, size;
		enum ivshmem_mapping mapping;
	} ranges[] = {
		{0xfe400000, 4 << 20, IVSHMEM_MAPPING_WRITE_COMBINING},
		{0xfe500000, 1 << 20, IVSHMEM_MAPPING_WRITE_COMBINING},
		{0xffe2000, 4096, IVSHMEM_MAPPING_WRITE_BACK},
		{0xb0000000, 1, IVSHMEM_MAPPING_UNCACHED_MINUS},
		{0x200000000, 0x200000000, IVSHMEM_MAPPING_UNCACHED},
		/* One that we have no word for. */
		{0x400000000, 4096, IVSHMEM_MAPPING_UNKNOWN},
		{0xfe3fffff, 2, NONE},
		{0xfe400000, (4 << 20) + 1, NONE},
		{0xfe800000, 1, NONE},
		{0xfe400000, UINT64_MAX, NONE},
		{UINT64_MAX, UINT64_MAX, NONE},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		fprintf(stderr, "range %zu\n", i);
		CHECK_EQ(pci_parse_memtypes(memtypes, ranges[i].start, ranges[i].size, NONE),
			ranges[i].mapping);
	}
	CHECK_EQ(pci_parse_memtypes("", 0xfe400000, 4096, NONE), NONE);
}

TEST(memtypes_of_old_kernels_are_found)
{
	static const char old[] = "PAT memtype list:\n"
				  "write-back @ 0x9ed000-0x9ee000\n"
				  "uncached-minus @ 0xfe400000-0xfe800000\n";

	CHECK_EQ(
		pci_parse_memtypes(old, 0xfe400000, 4 << 20, NONE), IVSHMEM_MAPPING_UNCACHED_MINUS);
	CHECK_EQ(pci_parse_memtypes(old, 0x9ed000, 4096, NONE), IVSHMEM_MAPPING_WRITE_BACK);
}

TEST(memtypes_garbage_is_skipped)
{
	static const char garbage[] =
		"PAT: [mem 0xfe400000-0xfe800000\n"
		"PAT: [mem 0x-0xfe800000] write-back\n"
		"PAT: [mem fe400000-fe800000] write-back\n"
		"PAT: [mem 0x-1-0xfe800000] write-back\n"
		"PAT: [mem 0x00000000000000000-0xffffffffffffffff] write-back\n"
		"PAT: [mem 0xfe800000-0xfe400000] write-back\n"
		" @ \n@\nwrite-back @ 0xfe400000-0xfe800000 more\nwrite-back @ 0x\n"
		"\n\n\n"
		"PAT: [mem 0xfe400000-0xfe800000] write-combining";

	CHECK_EQ(pci_parse_memtypes(garbage, 0xfe400000, 4 << 20, NONE),
		IVSHMEM_MAPPING_WRITE_COMBINING);
}

/* However the text is cut off, the answer is the right one, or that there is none. */
TEST(memtypes_cut_anywhere)
{
	size_t whole = (size_t)(strstr(memtypes, "write-combining") - memtypes);

	for (size_t length = 0; length < sizeof(memtypes); length++) {
		/* Exactly as long, so that reading on is seen by a sanitizer. */
		char *text = strndup(memtypes, length);
		enum ivshmem_mapping mapping = pci_parse_memtypes(text, 0xfe400000, 4 << 20, NONE);

		if (length < whole)
			CHECK_EQ(mapping, NONE);
		else if (length < whole + strlen("write-combining"))
			CHECK_EQ(mapping, IVSHMEM_MAPPING_UNKNOWN);
		else
			CHECK_EQ(mapping, IVSHMEM_MAPPING_WRITE_COMBINING);
		free(text);
	}
}

TEST(memtypes_come_from_the_kernels_file)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/list", test_directory());
	pci_memtype_list = path;
	CHECK_EQ(pci_memory_mapping(0xfe400000, 4 << 20, IVSHMEM_MAPPING_UNCACHED),
		IVSHMEM_MAPPING_UNCACHED);
	file = fopen(path, "we");
	CHECK(file);
	CHECK(fputs(memtypes, file) >= 0);
	CHECK_EQ(fclose(file), 0);
	CHECK_EQ(pci_memory_mapping(0xfe400000, 4 << 20, IVSHMEM_MAPPING_UNCACHED),
		IVSHMEM_MAPPING_WRITE_COMBINING);
	CHECK_EQ(pci_memory_mapping(0x1000, 4096, IVSHMEM_MAPPING_UNCACHED),
		IVSHMEM_MAPPING_UNCACHED);
}
