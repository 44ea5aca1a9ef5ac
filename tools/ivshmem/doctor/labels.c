/* SPDX-License-Identifier: BSD-2-Clause */

/* Security modules: which one rules, and what it refused, as far as logs can be read. */

#include "look.h"
#include "topics.h"
#include "vmm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of a log, so much of its end is looked at. */
#define LOG_MAX ((size_t)32 << 20)

static bool
selinux_enforces(const struct doctor *doctor)
{
	char text[16];

	return look_text(doctor, "/sys/fs/selinux/enforce", text, sizeof(text)) > 0 &&
	       text[0] == '1';
}

/* `context` of a process, or "". */
static void
tell_selinux(struct doctor *doctor, const char *context)
{
	mend(doctor, "ls -Z SOCKET-OR-FILE; ausearch -m avc -ts recent; audit2allow -a");
	found(doctor, "labels.selinux", "SELinux is enforcing%s%s",
		context[0] ? ", and the context is " : "", context);
}

/* The name behind the last slash of a target. */
static const char *
short_name(const char *target)
{
	const char *slash = strrchr(target, '/');
	const char *colon = strchr(target, ':');

	return slash ? slash + 1 : colon ? colon + 1 : target;
}

static bool
concerns_us(const struct doctor *doctor, const char *line)
{
	if (strstr(line, "ivshmem"))
		return true;
	for (size_t i = 0; i < doctor->n_targets; i++) {
		const char *name = short_name(doctor->targets[i]);

		if (strlen(name) > 3 && strstr(line, name))
			return true;
	}
	return false;
}

static bool
is_refusal(const char *line)
{
	return strstr(line, "apparmor=\"DENIED\"") || strstr(line, "avc:  denied");
}

static void
check_log(struct doctor *doctor, const char *path)
{
	char *text = NULL, *rest, *line;
	ssize_t n = look_bytes(doctor, path, LOG_MAX, &text);
	const char *last = NULL;
	unsigned count = 0;

	rest = n > 0 ? text : NULL;
	while ((line = strsep(&rest, "\n"))) {
		if (is_refusal(line) && concerns_us(doctor, line)) {
			last = line;
			count++;
		}
	}
	if (last) {
		mend(doctor,
			strstr(last, "apparmor=")
				? "allow the path in /etc/apparmor.d/local/abstractions/libvirt-qemu, and reload: systemctl reload apparmor"
				: "ausearch -m avc -ts recent | audit2allow -M ivshmem && semodule -i ivshmem.pp");
		found(doctor, "labels.denied", "%s has %u refusal%s, the last: %.600s", path, count,
			plural(count), last);
	}
	free(text);
}

void
labels_check(struct doctor *doctor, bool vmms_were_told)
{
	static const char *const logs[] = {
		"/var/log/audit/audit.log", "/var/log/kern.log", "/dev/kmsg"};

	doctor->subject = "security modules";
	if (!vmms_were_told && selinux_enforces(doctor))
		tell_selinux(doctor, "");
	for (size_t i = 0; i < sizeof(logs) / sizeof(logs[0]); i++)
		check_log(doctor, logs[i]);
}

void
labels_check_vmm(struct doctor *doctor, const struct vmm *vmm)
{
	char path[64], profile[256];

	snprintf(path, sizeof(path), "/proc/%d/attr/current", (int)vmm->pid);
	if (look_text(doctor, path, profile, sizeof(profile)) <= 0)
		return;
	if (selinux_enforces(doctor))
		tell_selinux(doctor, profile);
	if (!strstr(profile, "(enforce)"))
		return;
	mend(doctor,
		"echo '  SOCKET-OR-FILE rw,' >> /etc/apparmor.d/local/abstractions/libvirt-qemu, and reload: systemctl reload apparmor");
	found(doctor, "labels.apparmor", "AppArmor confines it: %s", profile);
}
