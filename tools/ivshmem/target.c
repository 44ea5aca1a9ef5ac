/* SPDX-License-Identifier: BSD-2-Clause */
#include "target.h"

#include "output.h"

#include <ivshmem/abi.h>

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/tmp/ivshmem_socket"
#define PCI_DEVICES    "/sys/bus/pci/devices"

static bool
attribute_is(const char *address, const char *attribute, unsigned value)
{
	char path[PATH_MAX], text[32];
	FILE *file;
	bool is = false;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", address, attribute);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fgets(text, sizeof(text), file))
		is = strtoul(text, NULL, 16) == value;
	fclose(file);
	return is;
}

/* Count the ivshmem devices of this machine, and store the address of the first. */
static unsigned
pci_count(char ret_first[16])
{
	DIR *directory = opendir(PCI_DEVICES);
	struct dirent *entry;
	unsigned count = 0;

	if (!directory)
		return 0;
	while ((entry = readdir(directory))) {
		const char *address = entry->d_name;

		if (address[0] == '.' || strlen(address) >= 16 ||
			!attribute_is(address, "vendor", IVSHMEM_PCI_VENDOR) ||
			!attribute_is(address, "device", IVSHMEM_PCI_DEVICE))
			continue;
		if (count++ == 0)
			snprintf(ret_first, 16, "%s", address);
	}
	closedir(directory);
	return count;
}

/* The last component of what a link points to, in `link`; NULL if it is no link. */
static const char *
link_name(const char *path, char link[PATH_MAX])
{
	ssize_t length = readlink(path, link, PATH_MAX - 1);

	if (length <= 0)
		return NULL;
	link[length] = '\0';
	return strrchr(link, '/') ? strrchr(link, '/') + 1 : link;
}

/* The address of the device that a node of our driver stands for. */
static const char *
node_address(const char *node, char link[PATH_MAX])
{
	char path[PATH_MAX];
	struct stat info;

	if (stat(node, &info) < 0 || !S_ISCHR(info.st_mode))
		return NULL;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/device", major(info.st_rdev),
		minor(info.st_rdev));
	return link_name(path, link);
}

bool
target_is_pci(const char *target)
{
	return strncmp(target, "pci:", 4) == 0 || strncmp(target, "dev:", 4) == 0;
}

int
target_find_pci(const char *target, struct target_pci *ret_pci)
{
	struct target_pci pci = {.address = ""};
	char path[PATH_MAX], link[PATH_MAX];
	const char *name;

	if (!target_is_pci(target))
		return -ENOENT;
	name = target[0] == 'd' ? node_address(target + 4, link) : target + 4;
	if (!name)
		return -ENOENT;
	if (strcmp(name, "auto") == 0) {
		if (pci_count(pci.address) != 1)
			return -ENOENT;
	} else {
		/* The user may have left out the domain. */
		bool short_form = strchr(name, ':') == strrchr(name, ':');
		int printed = snprintf(
			pci.address, sizeof(pci.address), "%s%s", short_form ? "0000:" : "", name);
		if (printed < 0 || (size_t)printed >= sizeof(pci.address))
			return -ENOENT;
	}

	snprintf(path, sizeof(path), PCI_DEVICES "/%s", pci.address);
	if (access(path, F_OK) < 0)
		return -ENOENT;
	snprintf(path, sizeof(path), PCI_DEVICES "/%s/driver", pci.address);
	name = link_name(path, link);
	/* The struct was zeroed, so there is a NUL. */
	if (name && strlen(name) < sizeof(pci.driver))
		memcpy(pci.driver, name, strlen(name));
	*ret_pci = pci;
	return 0;
}

/* Bring a target into its long form. `origin` says where it was given. */
static enum status
target_parse(const char *text, const char *origin, char ret_target[TARGET_MAX])
{
	const char *scheme = "";
	int length;

	if (text[0] == '/' || strncmp(text, "./", 2) == 0 || strncmp(text, "../", 3) == 0) {
		scheme = "unix:";
	} else if ((strncmp(text, "unix:", 5) != 0 || !text[5]) &&
		   (strncmp(text, "observe:", 8) != 0 || !text[8]) &&
		   (strncmp(text, "pci:", 4) != 0 || !text[4]) &&
		   (strncmp(text, "dev:", 4) != 0 || !text[4]) &&
		   (strncmp(text, "shm:", 4) != 0 || !text[4]) &&
		   (strncmp(text, "file:", 5) != 0 || !text[5])) {
		fail("%s '%s' is not a target: give unix:PATH for a server's socket, observe:PATH "
		     "for its socket for observers, pci:auto, pci:ADDRESS or dev:NODE for a PCI "
		     "device, or shm:NAME or file:PATH for memory without a server",
			origin, text);
		return STATUS_USAGE;
	}
	length = snprintf(ret_target, TARGET_MAX, "%s%s", scheme, text);
	if (length < 0 || length >= TARGET_MAX) {
		fail("%s: the path is too long", origin);
		return STATUS_USAGE;
	}
	return STATUS_OK;
}

bool
target_is_memory(const char *target)
{
	return strncmp(target, "shm:", 4) == 0 || strncmp(target, "file:", 5) == 0;
}

enum status
target_choose(const struct cli *cli, char ret_target[TARGET_MAX])
{
	const char *environment = getenv("IVSHMEM_TARGET");
	enum status status;
	struct stat info;
	char address[16];

	if (cli->target) {
		status = target_parse(cli->target, "--target", ret_target);
	} else if (environment && *environment) {
		status = target_parse(environment, "IVSHMEM_TARGET", ret_target);
	} else if (stat(DEFAULT_SOCKET, &info) == 0 && S_ISSOCK(info.st_mode)) {
		status = target_parse(DEFAULT_SOCKET, "default", ret_target);
	} else if (pci_count(address) > 0) {
		status = target_parse("pci:auto", "default", ret_target);
	} else {
		return fail(
			"nothing to attach to: there is no server's socket " DEFAULT_SOCKET
			" and this machine has no ivshmem PCI device; on a host, start ivshmem-server or "
			"name its socket with --target unix:PATH; in a guest, --target pci:auto needs a "
			"virtual machine with an ivshmem-doorbell or ivshmem-plain device");
	}
	if (status != STATUS_OK)
		return status;
	if (cli->backend && strncmp(ret_target, "pci:", 4) != 0) {
		fail("--backend is for pci targets only, and the target is %s", ret_target);
		return STATUS_USAGE;
	}
	return STATUS_OK;
}
