/* SPDX-License-Identifier: BSD-2-Clause */

/* The properties as text. */

#include <device_host.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *warning;

static int
configure(const char *line, unsigned revision, struct ivshmem_device_config *ret_config,
	struct ivshmem_error *reterr)
{
	static char text[512];
	struct ivshmem_device_properties properties = {.struct_size = sizeof(properties)};
	int r;

	snprintf(text, sizeof(text), "%s", line);
	r = ivshmem_device_properties_parse(text, &revision, &properties, reterr);
	if (r < 0)
		return r;
	ret_config->struct_size = sizeof(*ret_config);
	return ivshmem_device_configure(&properties, revision, ret_config, &warning, reterr);
}

/* What it makes must be a device, too. */
static struct ivshmem_device_config
accepted(const char *line)
{
	struct ivshmem_device_config config = {0};
	struct ivshmem_error error = {0};
	struct ivshmem_device *device;
	int r = configure(line, 1, &config, &error);

	if (r < 0)
		FAIL("\"%s\": %d %s", line, r, error.message);
	CHECK_EQ(config.struct_size, sizeof(config));
	if (config.memory_size == 0)
		config.memory_size = 4096;
	CHECK_EQ(ivshmem_device_new(&device, &config, NULL), 0);
	ivshmem_device_free(device);
	return config;
}

static void
refused(const char *line, int code, const char *reason)
{
	struct ivshmem_device_config config = {.vectors = 4711};
	struct ivshmem_error error = {0};
	int r = configure(line, 1, &config, &error);

	if (r != code || !strstr(error.message, reason))
		FAIL("\"%s\": %d \"%s\" instead of %d \"%s\"", line, r, error.message, code,
			reason);
	CHECK_EQ(error.code, code);
	CHECK_EQ(config.vectors, 4711);
	CHECK_EQ(configure(line, 1, &config, NULL), code);
}

/* A line for each of the values, which end it. */
#define REFUSED_EACH(line, code, reason, ...)                                                      \
	refused_each(line, code, reason, (const char *const[]){__VA_ARGS__, NULL})

static void
refused_each(const char *line, int code, const char *reason, const char *const *values)
{
	char text[160];

	for (; *values; values++) {
		snprintf(text, sizeof(text), "%s%s", line, *values);
		refused(text, code, reason);
	}
}

struct size {
	const char *text;
	uint64_t size;
};

static void
check_sizes(const char *line, const struct size *sizes)
{
	char text[160];

	for (; sizes->text; sizes++) {
		snprintf(text, sizeof(text), "%s%s", line, sizes->text);
		CHECK_EQ(accepted(text).memory_size, sizes->size);
	}
}

TEST(defaults)
{
	struct ivshmem_device_config config = accepted("ivshmem,chardev=s");

	CHECK_EQ(config.revision, 0);
	CHECK(config.server && config.msi && !config.ioeventfd);
	CHECK_EQ(config.vectors, 1);
	CHECK_EQ(config.memory_size, 4 << 20);
	CHECK_EQ(config.id, IVSHMEM_DEVICE_NO_ID);
	CHECK_EQ(config.master, IVSHMEM_DEVICE_MASTER_ON);
	CHECK(!config.host_msix && !config.legacy_doorbell && !config.ops);
	CHECK_STR(warning, NULL);

	config = accepted("ivshmem-doorbell,chardev=s");
	CHECK_EQ(config.revision, 1);
	CHECK(config.server && config.msi && config.ioeventfd);
	CHECK_EQ(config.vectors, 1);
	CHECK_EQ(config.id, 0);
	CHECK_EQ(config.master, IVSHMEM_DEVICE_MASTER_OFF);

	config = accepted("ivshmem-plain,memdev=m");
	CHECK_EQ(config.revision, 1);
	CHECK(!config.server);
	config = accepted("shm=x");
	CHECK_EQ(config.revision, 1);
	CHECK(!config.server);
}

/* Checklist 37. */
TEST(sizes)
{
	static const struct size sizes[] = {{"1", 1 << 20}, {"1M", 1 << 20}, {"1m", 1 << 20},
		{"64M", 64 << 20}, {"1G", 1 << 30}, {"1g", 1 << 30}, {"1024", 1 << 30},
		{"0004", 4 << 20}, {"2G", UINT64_C(2) << 30}, {"2048M", UINT64_C(2) << 30}, {0}};

	check_sizes("ivshmem,shm=x,size=", sizes);
	CHECK_EQ(accepted("ivshmem,shm=x").memory_size, 4 << 20);
}

/* The notation of all our programs, because it is none of QEMU's properties. */
TEST(sizes_of_revision_1)
{
	static const struct size sizes[] = {{"4096", 4096}, {"64K", 64 << 10}, {"64k", 64 << 10},
		{"0x10000", 1 << 16}, {"1M", 1 << 20}, {"0.5G", 512 << 20},
		{"2T", UINT64_C(2) << 40}, {"4096B", 4096}, {"004096", 4096},
		{"4E", UINT64_C(4) << 60}, {"4G", UINT64_C(4) << 30},
		{"4294967296G", UINT64_C(1) << 62}, {0}};

	check_sizes("ivshmem-plain,shm=x,size=", sizes);
	REFUSED_EACH("ivshmem-plain,shm=x,size=", -EINVAL, "is not a size", "", "4Mx", "-1", "+1",
		" 1", "1 ", "4 M", "M", "1MB", "1.5", "0x", "0x1.8M");
	refused("ivshmem-plain,shm=x,size=1.5G", -EINVAL, "power of two");
	refused("ivshmem-plain,shm=x,size=0", -EINVAL, "power of two");
	refused("ivshmem-plain,shm=x,size=2048", -EINVAL, "less than a page");
	refused("ivshmem-plain,shm=x,size=64", -EINVAL, "for MiB, write 64M");
	refused("ivshmem-plain,shm=x,size=16E", -ERANGE, "too large");
}

/* Checklist 37 and 38. */
TEST(bad_sizes)
{
	REFUSED_EACH("ivshmem,shm=x,size=", -EINVAL, "invalid RAM size: '", "", "4K", "abc", "4Mx",
		"-1", "+1", " 1", "1 ", "4 M", "0x10", "1.5G", "M", "G", "1MM", "1MB", "1T", "4M,,",
		"1\n");
	REFUSED_EACH("ivshmem,shm=x,size=", -EINVAL, "size must be a power of two", "0", "0M", "0G",
		"3M", "3", "1023", "6G");
	REFUSED_EACH("ivshmem,shm=x,size=", -ERANGE, "is too large", "17592186044416",
		"17592186044415G", "18446744073709551616", "184467440737095516168",
		"99999999999999999999999999999", "9223372036854775808G", "8796093022208M",
		"8589934592G");
	/* BAR2 has 32 bits only */
	refused("ivshmem,shm=x,size=4G", -ERANGE, "at most 2048 MiB");
}

/* Checklist 39. */
TEST(where_the_memory_comes_from)
{
	struct ivshmem_device_config config = accepted("ivshmem,chardev=unix:/s,shm=x");

	CHECK(config.server);
	CHECK(warning && strstr(warning, "both chardev and shm"));
	refused("ivshmem", -EINVAL, "must give chardev or shm");
	refused("", -EINVAL, "must give chardev or memdev");
	refused("ivshmem,shm=", -EINVAL, "shm must name");
	refused("ivshmem,chardev=", -EINVAL, "names no socket");
	refused("ivshmem,chardev=unix:", -EINVAL, "names no socket");
	refused("ivshmem,chardev=tcp:localhost:1", -EINVAL, "must be a UNIX socket");
	refused("ivshmem,chardev=pty:", -EINVAL, "must be a UNIX socket");
	CHECK(accepted("ivshmem,chardev=/run/a:b").server);
	refused("chardev=s,shm=x", -EINVAL, "one place");
	refused("chardev=s,memdev=x", -EINVAL, "one place");
	refused("shm=s,memdev=x", -EINVAL, "one place");
}

/* Checklist 40. */
TEST(ioeventfd_needs_msi)
{
	refused("ivshmem,chardev=s,ioeventfd=on,msi=off", -EINVAL, "ioeventfd/irqfd needs MSI");
	CHECK(!accepted("ivshmem,chardev=s,ioeventfd=off,msi=off").msi);
	CHECK(accepted("ivshmem,chardev=s,ioeventfd=on,msi=on").ioeventfd);
	refused("ivshmem-doorbell,chardev=s,msi=off", -EINVAL, "no INTx");
}

/* Checklist 40, 84. */
TEST(roles)
{
	CHECK_EQ(accepted("ivshmem,shm=x,role=peer").master, IVSHMEM_DEVICE_MASTER_OFF);
	CHECK_EQ(accepted("ivshmem,shm=x,role=master").master, IVSHMEM_DEVICE_MASTER_ON);
	REFUSED_EACH("ivshmem,shm=x,role=", -EINVAL, "role must be peer or master, not '", "peerx",
		"mast", "pee", "masterx", "", "Peer", "peer ");
}

/* Checklist 85. */
TEST(masters)
{
	CHECK_EQ(accepted("chardev=s,master=on").master, IVSHMEM_DEVICE_MASTER_ON);
	CHECK_EQ(accepted("chardev=s,master=off").master, IVSHMEM_DEVICE_MASTER_OFF);
	CHECK_EQ(accepted("chardev=s,master=auto").master, IVSHMEM_DEVICE_MASTER_AUTO);
	refused("chardev=s,master=maybe", -EINVAL, "master must be on, off or auto");
	refused("chardev=s,master", -EINVAL, "needs a value");
}

/* Checklist 8, 9. */
TEST(vectors)
{
	CHECK_EQ(accepted("chardev=s,vectors=1").vectors, 1);
	CHECK_EQ(accepted("chardev=s,vectors=2048").vectors, 2048);
	CHECK_EQ(accepted("chardev=s,vectors=0x10").vectors, 16);
	REFUSED_EACH("chardev=s,vectors=", -ERANGE,
		"vectors must be a number from 1 to 2048, not '", "0", "2049", "4294967295",
		"4294967296", "4294967297", "18446744073709551617");
	REFUSED_EACH("ivshmem,chardev=s,vectors=", -EINVAL,
		"vectors must be a number from 1 to 2048, not '", "", "-1", "1x", "x", " 1", "1.0",
		"+1");
}

TEST(switches)
{
	static const char *const texts[] = {
		"", "=on", "=yes", "=true", "=y", "=off", "=no", "=false", "=n"};
	char line[64];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(line, sizeof(line), "ivshmem,chardev=s,ioeventfd%s", texts[i]);
		CHECK_EQ(accepted(line).ioeventfd, i < 5);
		snprintf(line, sizeof(line), "chardev=s,ioeventfd%s", texts[i]);
		CHECK_EQ(accepted(line).ioeventfd, i < 5);
	}
	CHECK(!accepted("chardev=s,noioeventfd").ioeventfd);
	CHECK(accepted("ivshmem-doorbell,chardev=s,doorbell-bar=on").doorbell_bar);
	CHECK(accepted("chardev=s,doorbell-bar").doorbell_bar);
	CHECK(!accepted("chardev=s,doorbell-bar=off").doorbell_bar);
	CHECK(!accepted("chardev=s,nodoorbell-bar").doorbell_bar);
	CHECK(!accepted("chardev=s").doorbell_bar);
	refused("chardev=s,doorbell-bar=2", -EINVAL, "doorbell-bar must be on or off");
	/* There must be somebody to ring. */
	refused("memdev=m,doorbell-bar=on", -EINVAL, "doorbell-bar needs a server");
	CHECK(!accepted("memdev=m,doorbell-bar=off").doorbell_bar);
	CHECK(!accepted("ivshmem,nomsi,chardev=s").msi);
	REFUSED_EACH("chardev=s,ioeventfd", -EINVAL, "ioeventfd must be on or off", "=", "=1", "=0",
		"=On", "=onn", "=o");
	REFUSED_EACH("ivshmem,chardev=s,msi", -EINVAL, "msi must be on or off", "=", "=1", "=0",
		"=On", "=onn", "=o");
}

TEST(properties_of_another_device)
{
	refused("ivshmem,memdev=m", -EINVAL, "no property 'memdev'");
	refused("ivshmem,chardev=s,master=on", -EINVAL, "no property 'master'");
	refused("ivshmem-plain,chardev=s", -EINVAL, "no property 'chardev'");
	refused("ivshmem-plain,memdev=m,vectors=1", -EINVAL, "no property 'vectors'");
	refused("ivshmem-doorbell,memdev=m", -EINVAL, "no property 'memdev'");
	refused("ivshmem-doorbell,chardev=s,role=peer", -EINVAL, "no property 'role'");
	refused("ivshmem,chardev=s,doorbell-bar=off", -EINVAL, "no property 'doorbell-bar'");
	refused("ivshmem-plain,memdev=m,doorbell-bar=off", -EINVAL, "no property 'doorbell-bar'");
	/* without a name, the revision decides */
	refused("chardev=s,role=peer", -EINVAL, "use master=on, off or auto");
	CHECK_EQ(accepted("ivshmem,shm=s").revision, 0);
}

/* Properties that did not come from a line. */
TEST(properties_by_themselves)
{
	static const struct {
		struct ivshmem_device_properties properties;
		unsigned revision;
		const char *reason;
	} rows[] = {
		{{.struct_size = sizeof(rows[0].properties), .memdev = "m"}, 0, "no memdev"},
		{{.struct_size = sizeof(rows[0].properties), .shm = "x", .master = "on"}, 0,
			"role=master"},
		{{.struct_size = sizeof(rows[0].properties), .shm = "x", .doorbell_bar = "off"}, 0,
			"use revision 1"},
		{{.struct_size = sizeof(rows[0].properties), .shm = "x"}, 2, "revision"},
		{{.struct_size = 1, .shm = "x"}, 1, "struct_size"},
	};
	struct ivshmem_device_config config = {.struct_size = sizeof(config)};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct ivshmem_error error;

		CHECK_EQ(ivshmem_device_configure(
				 &rows[i].properties, rows[i].revision, &config, NULL, &error),
			-EINVAL);
		CHECK_HAS(error.message, rows[i].reason);
	}
}

TEST(the_line)
{
	char text[] = "ivshmem,shm=a,,b=c,,,,d,size=1,size=2,role=peer";
	char empty[] = "", comma[] = ",", last[] = "shm=x,";
	struct ivshmem_device_properties properties = {.struct_size = sizeof(properties)};
	unsigned revision = 7;

	CHECK_EQ(ivshmem_device_properties_parse(text, &revision, &properties, NULL), 0);
	CHECK_EQ(revision, 0);
	CHECK_STR(properties.shm, "a,b=c,,d");
	CHECK_STR(properties.size, "2");
	CHECK_STR(properties.role, "peer");
	CHECK_STR(properties.chardev, NULL);
	CHECK_EQ(properties.struct_size, sizeof(properties));
	revision = 7;
	CHECK_EQ(ivshmem_device_properties_parse(empty, &revision, &properties, NULL), 0);
	CHECK_EQ(revision, 7);
	CHECK_STR(properties.shm, NULL);
	CHECK_EQ(ivshmem_device_properties_parse(comma, &revision, &properties, NULL), -EINVAL);
	CHECK_EQ(ivshmem_device_properties_parse(last, &revision, &properties, NULL), -EINVAL);
	refused("virtio-net,shm=x", -EINVAL, "no property 'virtio-net'");
	refused("shm=x,ivshmem", -EINVAL, "no property 'ivshmem'");
	refused("shm=x,colour=red", -EINVAL, "no property 'colour'");
	refused("shm=x,noshm", -EINVAL, "needs a value");
	refused("shm", -EINVAL, "needs a value");
	refused("=x", -EINVAL, "no property ''");
	refused("nomsi=on,shm=x", -EINVAL, "no property 'nomsi'");
}
