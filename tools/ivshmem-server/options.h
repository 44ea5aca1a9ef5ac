/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef OPTIONS_H
#define OPTIONS_H

/* The command line of ivshmem-server: the options of QEMU's program of the same name, and more. */

#include <common/sandbox.h>
#include <region/region.h>
#include <server/policy.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ivshmem_error;

enum action { ACTION_SERVE, ACTION_HELP, ACTION_VERSION };

/* So many --member options may be given. */
#define MEMBERS_MAX 256

/* A member's id and the socket where it gets it; NULL if a supervisor has made the socket. */
struct member_option {
	uint16_t id;
	const char *socket;
};

struct options {
	enum action action;
	bool verbose;
	bool foreground;
	bool keep_clients;
	bool supervise;
	const char *regions;     /* be the manager of the files in this directory */
	const char *runtime_dir; /* where its regions have their sockets */
	bool check;              /* and only check the files */
	const char *name;        /* of the region that this server is; NULL: it has none */
	const char *pid_file;
	const char *socket;
	bool socket_given;           /* it is not the default */
	const char *observer_socket; /* NULL: next to `socket`, "" for none */
	const char *control_socket;  /* the same */
	struct member_option members[MEMBERS_MAX];
	unsigned n_members;
	mode_t socket_mode;
	uid_t socket_owner; /* (uid_t)-1: leave */
	gid_t socket_group; /* (gid_t)-1: leave */
	struct region_config memory;
	unsigned n_vectors;
	unsigned max_peers;     /* 0: as many as there are ids */
	unsigned max_observers; /* 0: a default, see capacity.c */
	uint64_t stall_limit_ns;
	struct policy policy;
	const char *trace_file; /* NULL: stderr */
	struct sandbox_user user;
	enum sandbox_mode sandbox;
	const char *ignored; /* the first operand, or NULL: QEMU's program takes operands and
				ignores them */
};

/*
 * Returns 0, or -EINVAL and the sentence. Then `*ret_usage` tells whether to show the usage,
 * because the command line as a whole was not understood.
 */
int options_parse(int argc, char **argv, struct options *ret_options, bool *ret_usage,
	struct ivshmem_error *reterr);

/* The name, whether it takes a value, and whether it may be given several times. */
struct option_kind {
	const char *name;
	bool takes_value;
	bool repeats;
};

/* All options. Returns how many; `ret_kinds` has room for ARGUMENTS_MAX. */
unsigned options_list(struct option_kind *ret_kinds);

extern const char options_usage[];

#endif
