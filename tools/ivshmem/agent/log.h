/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_AGENT_LOG_H
#define IVSHMEM_AGENT_LOG_H

/* What an agent says of its jobs: notes for people, or JSON. */

#include "service.h"

/* Its service has begun. */
void log_begun(const struct job *job);

/* It has ended, as job->status says, or because of `why`. */
void log_ended(const struct job *job, const char *why);

/* It was refused, or could not go on. */
void log_failed(const struct job *job, const char *why);

#endif
