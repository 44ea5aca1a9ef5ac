/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef SERVER_REGIONS_H
#define SERVER_REGIONS_H

/* ivshmem-server --regions: a server for each file of a directory. */

struct log;
struct options;

/* Run them until a signal ends it. Returns the exit status. */
int regions_run(const struct options *options, const struct log *log);

/* Say what is wrong with the files. Returns the exit status. */
int regions_check(const struct options *options, const struct log *log);

#endif
