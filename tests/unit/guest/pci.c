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

/* ---- finding -------------------------------------------------------------------------------- */

TEST(pci_auto_finds_the_only_device)
{
	struct pci_device device;
	struct ivshmem_error error = {0};

	make_tree();
	make_device("0000:00:02.0", "0x1234\n", "0x1110\n", bars);
	make_device("0000:00:03.0", "0x1af4\n", "0x1000\n", bars);
	make_ivshmem("0000:00:05.0");
	make_link("0000:00:05.0", "driver", "../../../bus/pci/drivers/vfio-pci");
	CHECK_EQ(pci_find("auto", &device, &error), 0);
	CHECK_STR(device.address, "0000:00:05.0");
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
	struct pci_device device;
	struct ivshmem_error error = {0};

	make_tree();
	CHECK_EQ(pci_find("auto", &device, &error), -ENOENT);
	CHECK_EQ(error.code, -ENOENT);
	check_contains(&error, "-device ivshmem-doorbell");
	CHECK_EQ(pci_find("auto", &device, NULL), -ENOENT);
}

TEST(pci_auto_with_several_devices_lists_them_in_order)
{
	struct pci_device device;
	struct ivshmem_error error = {0};

	make_tree();
	make_ivshmem("0000:01:00.0");
	make_ivshmem("0001:00:00.0");
	make_ivshmem("0000:00:05.0");
	make_link("0000:01:00.0", "driver", "../../../bus/pci/drivers/vfio-pci");
	CHECK_EQ(pci_find("auto", &device, &error), -EINVAL);
	check_contains(&error, "3 ivshmem devices");
	check_contains(&error, "0000:00:05.0 (no driver), 0000:01:00.0 (vfio-pci), 0001:00:00.0");
	check_contains(&error, "pci:0000:00:05.0");
}

/* The list ends where the sentence would, and not in the middle of a device. */
TEST(pci_auto_with_very_many_devices_lists_some)
{
	struct pci_device device;
	struct ivshmem_error error = {0};
	char address[32];

	make_tree();
	for (unsigned i = 0; i < 32; i++) {
		snprintf(address, sizeof(address), "0000:02:%02x.0", i);
		make_ivshmem(address);
	}
	CHECK_EQ(pci_find("auto", &device, &error), -EINVAL);
	check_contains(&error, "32 ivshmem devices");
	check_contains(&error, "(no driver), ...; name one");
}

TEST(pci_address_has_two_forms)
{
	static const char *const same[] = {
		"0000:0a:1f.7", "0a:1f.7", "0000:0A:1F.7", "a:1f.7", "0:a:1f.7"};
	struct pci_device device;

	make_tree();
	make_ivshmem("0000:0a:1f.7");
	make_ivshmem("10000:00:01.0");
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		CHECK_EQ(pci_find(same[i], &device, NULL), 0);
		CHECK_STR(device.address, "0000:0a:1f.7");
	}
	CHECK_EQ(pci_find("10000:00:01.0", &device, NULL), 0);
	CHECK_STR(device.address, "10000:00:01.0");
}

TEST(pci_address_that_is_none_is_refused)
{
	static const char *const wrong[] = {"", ":", "auto ", "5", "00:05", "00:05.", "00:05.8",
		"00:20.0", "100:00.0", "00:00:00:00.0", "0000:00:05.0 ", " 00:05.0", "-1:05.0",
		"00:05.0x", "0x0:05.0", "00:g5.0", "123456789:00:00.0", "0000:00:05.00",
		"../../../../../etc", "0000:000:05.0"};
	struct pci_device device = {.address = "untouched"};
	struct ivshmem_error error;

	make_tree();
	make_ivshmem("0000:00:05.0");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		if (pci_find(wrong[i], &device, &error) != -EINVAL)
			FAIL("'%s' was taken for an address", wrong[i]);
		CHECK_EQ(error.code, -EINVAL);
		check_contains(&error, "is not a PCI address");
	}
	CHECK_STR(device.address, "untouched");
}

TEST(pci_other_device_is_refused)
{
	struct pci_device device;
	struct ivshmem_error error = {0};

	make_tree();
	make_device("0000:00:02.0", "0x8086\n", "0x100e\n", bars);
	CHECK_EQ(pci_find("00:02.0", &device, &error), -ENOENT);
	check_contains(&error, "-device ivshmem-doorbell");
	make_ivshmem("0000:00:05.0");
	CHECK_EQ(pci_find("00:02.0", &device, &error), -ENODEV);
	check_contains(&error, "0000:00:02.0 is 8086:100e");
	check_contains(&error, "0000:00:05.0");
}

TEST(pci_absent_device_is_refused)
{
	struct pci_device device;
	struct ivshmem_error error = {0};

	make_tree();
	make_ivshmem("0000:00:05.0");
	CHECK_EQ(pci_find("00:06.0", &device, &error), -ENOENT);
	check_contains(&error, "no PCI device 0000:00:06.0");
	check_contains(&error, "0000:00:05.0");
}

TEST(pci_without_sysfs_says_so)
{
	struct pci_device device;
	struct ivshmem_error error = {0};

	pci_sysfs_root = "/nowhere";
	CHECK_EQ(pci_find("auto", &device, &error), -ENOENT);
	check_contains(&error, "sysfs");
	CHECK_EQ(pci_find("00:05.0", &device, &error), -ENOENT);
	check_contains(&error, "sysfs");
}

/* A folder whose files are gone is a device being unplugged; anything else in there is not a
 * device. */
TEST(pci_strange_folders_are_skipped)
{
	struct pci_device device;

	make_tree();
	make_file("0000:00:03.0", "vendor", "0x1af4\n", 7);
	make_file("0000:00:04.0", "vendor", "", 0);
	make_device("0000:00:06.0", "1af4\n", "1110\n", bars);
	make_device("0000:00:07.0", "0x1af4\n", "0x1110\n", "0x1 0x2\n");
	make_device("not-an-address", "0x1af4\n", "0x1110\n", bars);
	make_ivshmem("0000:00:05.0");
	CHECK_EQ(pci_find("auto", &device, NULL), 0);
	CHECK_STR(device.address, "0000:00:05.0");
	CHECK(pci_find("00:07.0", &device, NULL) < 0);
	CHECK(pci_find("00:04.0", &device, NULL) < 0);
}

/* ---- using ---------------------------------------------------------------------------------- */

TEST(pci_bars_must_be_there)
{
	static const char unplaced[] =
		"0x00000000fe600000 0x00000000fe6000ff 0x0000000000040200\n" ABSENT_BAR
		"0x0000000000000000 0x0000003fffffffff 0x000000002014220c\n";
	struct pci_device device;
	struct ivshmem_error error = {0};

	make_tree();
	make_device("0000:00:05.0", "0x1af4\n", "0x1110\n", unplaced);
	CHECK_EQ(pci_find("auto", &device, NULL), 0);
	CHECK_EQ(device.bar_size[2], 0);
	CHECK_EQ(pci_check_bars(&device, &error), -ENODEV);
	check_contains(&error, "BAR2");

	make_device("0000:00:05.0", "0x1af4\n", "0x1110\n", ABSENT_BAR ABSENT_BAR ABSENT_BAR);
	CHECK_EQ(pci_find("auto", &device, NULL), 0);
	CHECK_EQ(pci_check_bars(&device, &error), -ENODEV);
	check_contains(&error, "BAR0");

	make_device("0000:00:05.0", "0x1af4\n", "0x1110\n", bars);
	CHECK_EQ(pci_find("auto", &device, NULL), 0);
	CHECK_EQ(pci_check_bars(&device, NULL), 0);
}

TEST(pci_id_has_16_bits)
{
	struct pci_device device = {.address = "0000:00:05.0"};
	struct ivshmem_error error = {0};
	uint16_t id = 7;

	CHECK_EQ(pci_check_id(&device, UINT32_MAX, &id, &error), -ENODEV);
	CHECK_EQ(pci_check_id(&device, 65536, &id, &error), -ENODEV);
	CHECK_EQ(id, 7);
	check_contains(&error, "0x00010000");
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

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pci_device device = {.address = "0000:00:05.0"};
		const struct guest_backend *backend = NULL;
		struct ivshmem_error error = {0};

		strcpy(device.driver, cases[i].driver);
		CHECK_EQ(
			guest_choose_backend(&device, cases[i].name, &backend, &error), cases[i].r);
		CHECK(backend == cases[i].backend);
		CHECK_EQ(error.code, cases[i].r);
		if (cases[i].r == -ENODEV)
			check_contains(
				&error, "devices/0000:00:05.0/driver/unbind; echo vfio-pci > ");
	}
}

/* The longest driver name and address: the commands are only useful whole. */
TEST(pci_sentences_fit)
{
	struct pci_device device = {.address = "fffffff:ff:1f.7"};
	const struct guest_backend *backend;
	struct ivshmem_error error = {0};

	memset(device.driver, 'd', sizeof(device.driver) - 1);
	CHECK_EQ(guest_choose_backend(&device, NULL, &backend, &error), -ENODEV);
	check_contains(&error, "echo fffffff:ff:1f.7 > /sys/bus/pci/drivers_probe");
}

/* ---- sysfs back end, as far as plain files can stand for the device ------------------------- */

static void
read_back(const char *address, const char *name, off_t offset, void *buffer, size_t length)
{
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", test_directory(), address, name);
	fd = CHECK_SYS(open(path, O_RDONLY | O_CLOEXEC));
	CHECK_EQ(pread(fd, buffer, length, offset), length);
	close(fd);
}

static void
count_unplugged(void *data, const char *message)
{
	CHECK(message[0]);
	++*(unsigned *)data;
}

static void
check_sysfs(bool combining)
{
	unsigned n_unplugged = 0;
	struct guest_owner owner = {.unplugged = count_unplugged, .data = &n_unplugged};
	struct guest *guest = NULL;
	unsigned char bytes[4];
	unsigned fds;

	make_tree();
	make_resources("0000:00:05.0", 0x1234, combining);
	pci_memtype_list = "/nonexistent";
	CHECK_EQ(loop_new(&owner.loop), 0);
	fds = test_open_fds();
	CHECK_EQ(guest_open(&guest, "auto", "sysfs", &owner, NULL), 0);
	CHECK_EQ(guest->id, 0x1234);
	CHECK_EQ(guest->size, 1 << 20);
	CHECK_EQ(guest->n_vectors, 0);
	CHECK_EQ(guest->mapping, combining ? IVSHMEM_MAPPING_WRITE_COMBINING : PCI_MAPPING_PLAIN);
	CHECK_STR(guest->doorbell, "register");

	memcpy((char *)guest->memory + guest->size - 4, "last", 4);
	read_back(
		"0000:00:05.0", combining ? "resource2_wc" : "resource2", (1 << 20) - 4, bytes, 4);
	CHECK_MEM(bytes, "last", 4);

	CHECK_EQ(guest_ring(guest, 0xabcd, 0x102), 0);
	read_back("0000:00:05.0", "resource0", 0x100 + IVSHMEM_REG_DOORBELL, bytes, 4);
	CHECK_MEM(bytes, "\x02\x01\xcd\xab", 4);
	guest_unplugged(guest, "gone");
	CHECK_EQ(n_unplugged, 1);
	CHECK_EQ(guest_ring(guest, 1, 1), -ENODEV);
	read_back("0000:00:05.0", "resource0", 0x100 + IVSHMEM_REG_DOORBELL, bytes, 4);
	CHECK_MEM(bytes, "\x02\x01\xcd\xab", 4);

	CHECK(!guest_close(guest));
	CHECK_EQ(test_open_fds(), fds);
	loop_free(owner.loop);
}

TEST(pci_sysfs_prefers_write_combining)
{
	check_sysfs(true);
}

TEST(pci_sysfs_does_without_write_combining)
{
	check_sysfs(false);
}

/* The capability of a device that has doorbell words: in BAR4, two for each of `peers`. */
static void
make_words(const char *address, const char *bar4, uint32_t peers)
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
	char resource[512];

	snprintf(resource, sizeof(resource),
		"0x00000000fe600100 0x00000000fe6001ff 0x0000000000040200\n" ABSENT_BAR
		"0x00000000fea00000 0x00000000feafffff 0x000000000014220c\n" ABSENT_BAR
		"%s\n" ABSENT_BAR ABSENT_BAR,
		bar4);
	make_device(address, "0x1af4\n", "0x1110\n", resource);
	make_file(address, "config", config, sizeof(config));
}

/* Ring once, and see whether the register was written and whether the word at `offset` was. */
static void
check_ring(uint16_t peer, unsigned vector, const char *way, bool by_register, bool by_word,
	off_t offset)
{
	static const unsigned char nothing[0x2000];
	unsigned n_unplugged = 0;
	struct guest_owner owner = {.unplugged = count_unplugged, .data = &n_unplugged};
	struct guest *guest = NULL;
	unsigned char bytes[4];
	unsigned fds;

	make_file("0000:00:05.0", "resource4", nothing, sizeof(nothing));
	CHECK_EQ(loop_new(&owner.loop), 0);
	fds = test_open_fds();
	CHECK_EQ(guest_open(&guest, "auto", "sysfs", &owner, NULL), 0);
	CHECK_STR(guest->doorbell, way);
	CHECK_EQ(guest_ring(guest, peer, vector), 0);
	read_back("0000:00:05.0", "resource0", 0x100 + IVSHMEM_REG_DOORBELL, bytes, 4);
	CHECK_EQ(bytes[2] == peer && bytes[0] == vector, by_register);
	read_back("0000:00:05.0", "resource4", offset, bytes, 4);
	CHECK_EQ(bytes[0] == 1, by_word);
	guest_unplugged(guest, "gone");
	CHECK_EQ(n_unplugged, 1);
	CHECK_EQ(guest_ring(guest, 1, 1), -ENODEV);
	guest_close(guest);
	CHECK_EQ(test_open_fds(), fds);
	loop_free(owner.loop);
}

#define BAR4 "0x000000fe00000000 0x000000fe00001fff 0x000000000014220c"

TEST(pci_sysfs_rings_by_words)
{
	pci_memtype_list = "/nonexistent";
	make_tree();
	make_resources("0000:00:05.0", 1, false);
	make_words("0000:00:05.0", BAR4, 1024);
	check_ring(7, 1, "words", false, true, 7 * 8 + 4);
	/* what has no word */
	check_ring(7, 2, "words", true, false, 7 * 8 + 8);
	make_words("0000:00:05.0", BAR4, 6);
	check_ring(7, 1, "words", true, false, 7 * 8 + 4);
}

TEST(pci_sysfs_does_without_words)
{
	static const unsigned char nothing[64] = {[4] = 2};

	pci_memtype_list = "/nonexistent";
	make_tree();
	/* no place for them, one that is too small, one within a page */
	make_resources("0000:00:05.0", 1, false);
	make_words("0000:00:05.0", "0x0 0x0 0x0", 1024);
	check_ring(7, 1, "register", true, false, 7 * 8 + 4);
	make_resources("0000:00:05.0", 1, false);
	make_words("0000:00:05.0", "0x00fe000000 0x00fe001fff 0x2014220c", 1024);
	check_ring(7, 1, "register", true, false, 7 * 8 + 4);
	make_resources("0000:00:05.0", 1, false);
	make_words("0000:00:05.0", "0x00fe000000 0x00fe001ffe 0x0014220c", 1024);
	check_ring(7, 1, "register", true, false, 7 * 8 + 4);
	make_resources("0000:00:05.0", 1, false);
	make_words("0000:00:05.0", "0x00fe000010 0x00fe00201f 0x0014220c", 1024);
	check_ring(7, 1, "register", true, false, 7 * 8 + 4);
	/* what a process sees that is not root's */
	make_resources("0000:00:05.0", 1, false);
	make_words("0000:00:05.0", BAR4, 1024);
	make_file("0000:00:05.0", "config", nothing, sizeof(nothing));
	check_ring(7, 1, "register", true, false, 7 * 8 + 4);
}

static void
remove_file(const char *address, const char *name)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s/%s", test_directory(), address, name);
	CHECK_SYS(unlink(path));
}

/* Without `enable`, or with a driver that makes it fail, through the command register. */
TEST(pci_sysfs_switches_the_device_on)
{
	static const unsigned char off[64] = {[4] = 4};
	struct guest_owner owner = {0};
	struct guest *guest = NULL;
	unsigned char command[2];

	make_tree();
	make_resources("0000:00:05.0", 1, true);
	make_file("0000:00:05.0", "config", off, sizeof(off));
	CHECK_EQ(loop_new(&owner.loop), 0);
	CHECK_EQ(guest_open(&guest, "auto", "sysfs", &owner, NULL), 0);
	guest_close(guest);
	read_back("0000:00:05.0", "config", 4, command, 2);
	CHECK_MEM(command, "\x06\x00", 2);
	loop_free(owner.loop);
}

static void
check_sysfs_fails(int code, const char *reason)
{
	struct guest_owner owner = {0};
	struct guest *guest = NULL;
	struct ivshmem_error error = {0};
	unsigned fds;

	CHECK_EQ(loop_new(&owner.loop), 0);
	fds = test_open_fds();
	CHECK_EQ(guest_open(&guest, "0000:00:05.0", "sysfs", &owner, &error), code);
	CHECK_EQ(error.code, code);
	check_contains(&error, reason);
	CHECK(!guest);
	CHECK_EQ(test_open_fds(), fds);
	loop_free(owner.loop);
}

TEST(pci_sysfs_failures_close_everything)
{
	static const unsigned char off[64] = {0};
	static const uint32_t not_ready[1024] = {[0x108 / 4] = UINT32_MAX};

	make_tree();
	check_sysfs_fails(-ENOENT, "no ivshmem PCI device");
	make_resources("0000:00:05.0", 1, true);
	remove_file("0000:00:05.0", "resource2_wc");
	remove_file("0000:00:05.0", "resource2");
	check_sysfs_fails(-ENOENT, "resource2");
	make_file("0000:00:05.0", "resource0", not_ready, sizeof(not_ready));
	check_sysfs_fails(-ENODEV, "0xffffffff");
	remove_file("0000:00:05.0", "resource0");
	check_sysfs_fails(-ENOENT, "resource0");
	/* Writing to this `enable` succeeds and does nothing. */
	make_file("0000:00:05.0", "config", off, sizeof(off));
	make_file("0000:00:05.0", "enable", "0", 1);
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

TEST(memtypes_are_found)
{
	const enum ivshmem_mapping none = IVSHMEM_MAPPING_COUNT;

	CHECK_EQ(pci_parse_memtypes(memtypes, 0xfe400000, 4 << 20, none),
		IVSHMEM_MAPPING_WRITE_COMBINING);
	CHECK_EQ(pci_parse_memtypes(memtypes, 0xfe500000, 1 << 20, none),
		IVSHMEM_MAPPING_WRITE_COMBINING);
	CHECK_EQ(pci_parse_memtypes(memtypes, 0xffe2000, 4096, none), IVSHMEM_MAPPING_WRITE_BACK);
	CHECK_EQ(pci_parse_memtypes(memtypes, 0xb0000000, 1, none), IVSHMEM_MAPPING_UNCACHED_MINUS);
	CHECK_EQ(pci_parse_memtypes(memtypes, 0x200000000, 0x200000000, none),
		IVSHMEM_MAPPING_UNCACHED);
	/* One that we have no word for. */
	CHECK_EQ(pci_parse_memtypes(memtypes, 0x400000000, 4096, none), IVSHMEM_MAPPING_UNKNOWN);
}

TEST(memtypes_must_contain_the_range)
{
	const enum ivshmem_mapping none = IVSHMEM_MAPPING_COUNT;

	CHECK_EQ(pci_parse_memtypes(memtypes, 0xfe3fffff, 2, none), none);
	CHECK_EQ(pci_parse_memtypes(memtypes, 0xfe400000, (4 << 20) + 1, none), none);
	CHECK_EQ(pci_parse_memtypes(memtypes, 0xfe800000, 1, none), none);
	CHECK_EQ(pci_parse_memtypes(memtypes, 0xfe400000, UINT64_MAX, none), none);
	CHECK_EQ(pci_parse_memtypes(memtypes, UINT64_MAX, UINT64_MAX, none), none);
	CHECK_EQ(pci_parse_memtypes("", 0xfe400000, 4096, none), none);
}

TEST(memtypes_of_old_kernels_are_found)
{
	static const char old[] = "PAT memtype list:\n"
				  "write-back @ 0x9ed000-0x9ee000\n"
				  "uncached-minus @ 0xfe400000-0xfe800000\n";

	CHECK_EQ(pci_parse_memtypes(old, 0xfe400000, 4 << 20, IVSHMEM_MAPPING_COUNT),
		IVSHMEM_MAPPING_UNCACHED_MINUS);
	CHECK_EQ(pci_parse_memtypes(old, 0x9ed000, 4096, IVSHMEM_MAPPING_COUNT),
		IVSHMEM_MAPPING_WRITE_BACK);
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

	CHECK_EQ(pci_parse_memtypes(garbage, 0xfe400000, 4 << 20, IVSHMEM_MAPPING_COUNT),
		IVSHMEM_MAPPING_WRITE_COMBINING);
}

/* However the text is cut off, the answer is the right one, or that there is none. */
TEST(memtypes_cut_anywhere)
{
	const enum ivshmem_mapping none = IVSHMEM_MAPPING_COUNT;
	size_t whole = (size_t)(strstr(memtypes, "write-combining") - memtypes);

	for (size_t length = 0; length < sizeof(memtypes); length++) {
		/* Exactly as long, so that reading on is seen by a sanitizer. */
		char *text = strndup(memtypes, length);
		enum ivshmem_mapping mapping = pci_parse_memtypes(text, 0xfe400000, 4 << 20, none);

		if (length < whole)
			CHECK_EQ(mapping, none);
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
