/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Programs that were compiled with newer headers than the libraries, whose structs are larger. (What
 * is older than the first version there is not; tests/unit/sized.c has both.)
 */

#include "group_server.h"

#include <ivshmem/device.h>

#include <test.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NEWER(name)                                                                                \
	struct newer_##name {                                                                      \
		struct ivshmem_##name known;                                                       \
		uint64_t unknown;                                                                  \
	}

NEWER(options);
NEWER(ops);
NEWER(device_ops);
NEWER(device_config);
NEWER(device_properties);

static struct ivshmem_error error;

/* What a call gave: the code, in the error, too, and the struct that is wrong. */
static void
check_error(int r, int code, const char *name)
{
	CHECK_EQ(r, code);
	if (code < 0) {
		CHECK_EQ(error.code, code);
		CHECK_HAS(error.message, name);
	}
	error = (struct ivshmem_error){0};
}

/* ---- libivshmem ------------------------------------------------------------------------------ */

static char target[128];

static void
attach(const struct newer_options *options, int code, const char *name)
{
	struct ivshmem_client *client = NULL;

	check_error(ivshmem_attach(&client, target, &options->known, &error), code, name);
	CHECK_EQ(client != NULL, code == 0);
	ivshmem_detach(client);
}

TEST(options_and_callbacks_of_a_client)
{
	struct newer_ops ops = {.known = {.struct_size = sizeof(ops)}};
	struct newer_options options = {
		.known = {.struct_size = sizeof(options), .ops = &ops.known}};
	_test_close_ int fd = CHECK_SYS(memfd_create("test", MFD_CLOEXEC));

	CHECK_SYS(ftruncate(fd, 4096));
	snprintf(target, sizeof(target), "file:/proc/self/fd/%d", fd);
	attach(&options, 0, "");
	options.unknown = 1;
	attach(&options, -E2BIG, "struct ivshmem_options");
	options.unknown = 0;
	ops.unknown = 1;
	attach(&options, -E2BIG, "struct ivshmem_ops");
	ops.known.struct_size = 0;
	attach(&options, -EINVAL, "struct ivshmem_ops");
	ops.known.struct_size = sizeof(ops.known);
	attach(&options, 0, "");
	options.known.struct_size = 0;
	attach(&options, -EINVAL, "struct ivshmem_options");
}

static void
count(struct ivshmem_client *client, unsigned vector, uint64_t rings, void *data)
{
	uint64_t *counted = data;

	(void)client, (void)vector;
	*counted += rings;
}

/* The program may forget what it passed. */
TEST(callbacks_are_copied)
{
	uint64_t counted = 0;
	struct ivshmem_ops ops = {.struct_size = sizeof(ops), .interrupt = count};
	struct ivshmem_options options = {
		.struct_size = sizeof(options), .ops = &ops, .data = &counted};
	struct ivshmem_client *client;
	struct group group;

	group_open(&group, 1);
	snprintf(target, sizeof(target), "unix:%s", group.address.sun_path);
	CHECK_EQ(ivshmem_attach(&client, target, &options, NULL), 0);
	memset(&ops, 0x55, sizeof(ops));
	memset(&options, 0x55, sizeof(options));
	CHECK_EQ(ivshmem_ring(client, ivshmem_id(client), 0), 0);
	CHECK_EQ(ivshmem_wait(client, 0, 20000), 0);
	CHECK_EQ(counted, 1);
	ivshmem_detach(client);
	group_close(&group);
}

/* ---- libivshmem-device ------------------------------------------------------------------------ */

static void
make(const struct newer_device_config *config, int code, const char *name)
{
	struct ivshmem_device *device = NULL;

	check_error(ivshmem_device_new(&device, &config->known, &error), code, name);
	CHECK_EQ(device != NULL, code == 0);
	ivshmem_device_free(device);
}

TEST(configuration_and_callbacks_of_a_device)
{
	struct newer_device_ops ops = {.known = {.struct_size = sizeof(ops)}};
	struct newer_device_config config;

	/* The defaults of what the library does not know. */
	memset(&config, 0x55, sizeof(config));
	ivshmem_device_config_init(&config.known, sizeof(config), 1);
	CHECK_EQ(config.known.struct_size, sizeof(config));
	CHECK_EQ(config.unknown, 0);
	config.known.memory_size = 4096;
	config.known.ops = &ops.known;
	make(&config, 0, "");
	config.unknown = 1;
	make(&config, -E2BIG, "struct ivshmem_device_config");
	config.unknown = 0;
	ops.unknown = 1;
	make(&config, -E2BIG, "struct ivshmem_device_ops");
	ops.known.struct_size = 0;
	make(&config, -EINVAL, "struct ivshmem_device_ops");
}

/* It has no room for the last member, and is not written beyond what it has. */
TEST(the_defaults_for_less_than_we_know)
{
	struct ivshmem_device_config config, before;
	size_t room = offsetof(struct ivshmem_device_config, data);

	memset(&config, 0x55, sizeof(config));
	before = config;
	ivshmem_device_config_init(&config, room, 1);
	CHECK_EQ(config.struct_size, room);
	CHECK_EQ(config.vectors, 1);
	CHECK(config.ops == NULL);
	CHECK(config.data == before.data);
}

static unsigned revision = 1;

static void
parse(struct newer_device_properties *properties, int code, const char *name)
{
	/* The properties point into it. */
	static char text[32];

	strcpy(text, "ivshmem-plain,memdev=m");
	check_error(ivshmem_device_properties_parse(text, &revision, &properties->known, &error),
		code, name);
}

static void
configure(const struct newer_device_properties *properties, struct newer_device_config *config,
	int code, const char *name)
{
	check_error(ivshmem_device_configure(
			    &properties->known, revision, &config->known, NULL, &error),
		code, name);
}

TEST(properties_of_a_device)
{
	struct newer_device_properties properties = {.known = {.struct_size = sizeof(properties)}};
	struct newer_device_config config = {.known = {.struct_size = sizeof(config)}};

	properties.unknown = config.unknown = 7;
	parse(&properties, 0, "");
	CHECK_EQ(properties.known.struct_size, sizeof(properties));
	CHECK_STR(properties.known.memdev, "m");
	CHECK_EQ(properties.unknown, 0);
	configure(&properties, &config, 0, "");
	CHECK_EQ(config.known.struct_size, sizeof(config));
	CHECK_EQ(config.unknown, 0);
	properties.unknown = 1;
	configure(&properties, &config, -E2BIG, "struct ivshmem_device_properties");
	properties.unknown = 0;
	config.known.struct_size = 0;
	configure(&properties, &config, -EINVAL, "struct ivshmem_device_config");
	properties.known.struct_size = 0;
	parse(&properties, -EINVAL, "struct ivshmem_device_properties");
}
