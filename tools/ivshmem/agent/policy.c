/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy.h"
#include "service.h"

#include <base/error.h>
#include <base/fd.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PARAMETER "ivshmem.agent="

/* The words of a list, one after the other: "exec,copy-in". NULL at the end. */
static const char *
next_word(const char **list, size_t *ret_length)
{
	const char *word;

	*list += strspn(*list, ", \t\n");
	word = *list;
	*ret_length = strcspn(word, ", \t\n");
	*list += *ret_length;
	return *ret_length > 0 ? word : NULL;
}

static bool
is_service(const char *word, size_t length)
{
	for (unsigned i = 0; services[i]; i++)
		if (strlen(services[i]->name) == length &&
			strncmp(services[i]->name, word, length) == 0)
			return true;
	return false;
}

const char *
policy_unknown(const struct policy *policy, char *buffer, size_t size)
{
	const char *list = policy->list, *word;
	size_t length;

	buffer[0] = '\0';
	while ((word = next_word(&list, &length)))
		if (!is_service(word, length))
			snprintf(buffer + strlen(buffer), size - strlen(buffer), "%s%.*s",
				buffer[0] ? ", " : "", (int)length, word);
	return buffer;
}

/* The beginning of a file, as text. Returns false if there is none. */
static bool
read_file(const char *path, char *buffer, size_t size)
{
	_fd_cleanup_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buffer, size - 1);

	if (n < 0)
		return false;
	buffer[n] = '\0';
	return true;
}

/* The value of the parameter on the kernel command line. The last one counts. */
static bool
read_cmdline(char *buffer, size_t size)
{
	char text[8192];
	const char *at = text, *value = NULL;

	if (!read_file(POLICY_CMDLINE, text, sizeof(text)))
		return false;
	while ((at = strstr(at, PARAMETER))) {
		if (at == text || at[-1] == ' ')
			value = at + strlen(PARAMETER);
		at += strlen(PARAMETER);
	}
	if (value)
		snprintf(buffer, size, "%.*s", (int)strcspn(value, " \n"), value);
	return value != NULL;
}

int
policy_read(struct policy *ret_policy, const char *allow, struct ivshmem_error *reterr)
{
	struct policy policy = {.list = ""};
	char unknown[300];

	if (allow) {
		if (strlen(allow) >= sizeof(policy.list))
			return error_set(reterr, -EINVAL, "--allow: the list is too long");
		strcpy(policy.list, allow);
		policy.source = "--allow";
		if (policy_unknown(&policy, unknown, sizeof(unknown))[0])
			return error_set(
				reterr, -EINVAL, "--allow: there is no service '%.100s'", unknown);
	} else if (read_file(POLICY_FW_CFG, policy.list, sizeof(policy.list))) {
		policy.source = "the host, by fw_cfg";
	} else if (read_cmdline(policy.list, sizeof(policy.list))) {
		policy.source = "the kernel command line";
	}
	*ret_policy = policy;
	return 0;
}

bool
policy_allows(const struct policy *policy, const char *service, char *ret_why, size_t size)
{
	const char *list = policy->list, *word;
	size_t length;

	while ((word = next_word(&list, &length)))
		if (strlen(service) == length && strncmp(service, word, length) == 0)
			return true;
	if (policy->source)
		snprintf(ret_why, size, "the agent does not allow %s: %s allows %s", service,
			policy->source, policy->list[0] ? policy->list : "nothing");
	else
		snprintf(ret_why, size,
			"the agent does not allow %s: start it with --allow %s, or the VM with -fw_cfg "
			"name=opt/org.ivshmem/agent,string=%s, or its kernel with ivshmem.agent=%s",
			service, service, service, service);
	return false;
}
