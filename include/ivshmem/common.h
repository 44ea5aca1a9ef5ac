/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef IVSHMEM_COMMON_H
#define IVSHMEM_COMMON_H

/* What the libraries' headers have in common. */

#ifdef __cplusplus
extern "C" {
#endif

/* Why something failed: the negative errno, and one sentence for a human, which names the
 * remedy. */
struct ivshmem_error {
	int code;
	char message[512];
};

enum ivshmem_log_level {
	IVSHMEM_LOG_WARNING, /* something is wrong, but the library goes on */
	IVSHMEM_LOG_DEBUG
};

#ifdef __cplusplus
}
#endif

#endif
