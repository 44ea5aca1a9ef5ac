/* SPDX-License-Identifier: BSD-2-Clause */

/* The tables of system calls become a filter of the kernel, by libseccomp. */
#include <common/sandbox.h>

#include <base/error.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_SECCOMP
#include <seccomp.h>

bool
sandbox_can_filter(void)
{
	return true;
}

static bool
is_in(const struct sandbox_call *table, const char *name)
{
	while (table->name && strcmp(table->name, name) != 0)
		table++;
	return table->name;
}

static int
add_call(scmp_filter_ctx filter, const struct sandbox_call *call)
{
	int number = seccomp_syscall_resolve_name(call->name);
	struct scmp_arg_cmp condition = {.arg = call->argument, .op = SCMP_CMP_MASKED_EQ};

	if (number == __NR_SCMP_ERROR)
		return 0;
	switch (call->when) {
	case SANDBOX_REFUSE:
		return seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number, 0);
	case SANDBOX_IF:
		condition.datum_a = call->mask;
		condition.datum_b = call->value;
		return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &condition);
	case SANDBOX_SELF:
		condition.datum_a = UINT32_MAX;
		condition.datum_b = (uint64_t)getpid();
		return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &condition);
	case SANDBOX_ALWAYS:
	default:
		return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
	}
}

static int
add_table(scmp_filter_ctx filter, const struct sandbox_call *table)
{
	int r = 0;

	for (; table->name && r == 0; table++) {
		/* There it is allowed without a condition. */
		if (table != sandbox_sanitizers && is_in(sandbox_sanitizers, table->name))
			continue;
		r = add_call(filter, table);
		/* A call that this processor cannot tell apart, such as socket() on i386, is left out. */
		if (r == -EDOM || r == -EEXIST)
			r = 0;
	}
	return r;
}

static int
add_tables(scmp_filter_ctx filter, const struct sandbox *sandbox)
{
	int r = add_table(filter, sandbox_common);

	for (unsigned i = 0; i < SANDBOX_TABLES_MAX && sandbox->tables[i] && r == 0; i++)
		r = add_table(filter, sandbox->tables[i]);
	for (const struct sandbox_call *call = sandbox_sanitizers; call->name && r == 0; call++)
		r = add_call(filter, call);
	return r;
}

int
sandbox_filter(const struct sandbox *sandbox, struct ivshmem_error *reterr)
{
	uint32_t otherwise = sandbox->mode == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS;
	scmp_filter_ctx filter = seccomp_init(otherwise);
	int r = filter ? 0 : -ENOMEM;

	/* Calls of another kind of program, such as one of 32 bits. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, otherwise);
	/* A tree of comparisons: the last name in a table is found as quickly as the first. */
	if (r == 0)
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = add_tables(filter, sandbox);
	if (r == 0)
		r = seccomp_load(filter);
	if (filter)
		seccomp_release(filter);
	return r < 0 ? error_set(reterr, r, "cannot restrict the system calls (--sandbox): %s",
			       strerror(-r))
		     : 0;
}

#else

bool
sandbox_can_filter(void)
{
	return false;
}

int
sandbox_filter(const struct sandbox *sandbox, struct ivshmem_error *reterr)
{
	(void)sandbox;
	return error_set(reterr, -ENOTSUP, "this program was built without libseccomp");
}

#endif
