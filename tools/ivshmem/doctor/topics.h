/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DOCTOR_TOPICS_H
#define DOCTOR_TOPICS_H

/* What each topic looks at. A topic is a file with a table of small checks. */

#include "context.h"

struct vmm;
struct ivshmem_client;

/* A server's socket, "unix:PATH" or "observe:PATH", and what is behind it. */
void socket_check(struct doctor *doctor, const char *target);
/* The socket of an ivshmem-device. It is looked at, and not connected to. */
void socket_check_device(struct doctor *doctor, const char *path);
/* The process that serves a socket. */
void server_check(struct doctor *doctor, const struct known_server *server);
/* Memory without a server, "shm:NAME" or "file:PATH". */
void memory_check(struct doctor *doctor, const char *target);
/* Memory that a server gave us. */
void memory_check_attached(struct doctor *doctor, const struct ivshmem_client *client);
/* What is in the memory. */
void channels_check(struct doctor *doctor, const struct ivshmem_client *client);
/* Security modules, and what they refused; for a VMM that runs, how they confine it. */
void labels_check(struct doctor *doctor, bool vmms_were_told);
void labels_check_vmm(struct doctor *doctor, const struct vmm *vmm);
/* PCI devices of this machine: "pci:ADDRESS", "pci:auto" or "dev:NODE". */
void guest_check(struct doctor *doctor, const char *target);

#endif
