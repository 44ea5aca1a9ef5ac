/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_CAPABILITY_H
#define GUEST_CAPABILITY_H

/* The list of capabilities in a device's config space, which is not trusted. */

#include <stddef.h>
#include <stdint.h>

/* No list is longer, as no capability has less than 4 bytes and the header has 64. */
#define CAPABILITIES_MAX 48

/*
 * Where the next capability of the kind `id` is, behind the one at `after`, or from the beginning if
 * that is 0. `size` bytes of it are within the `length` bytes of config space that are known.
 * Returns 0 if there is none. A list may be a circle, so whoever goes on asking ends after
 * CAPABILITIES_MAX.
 */
size_t capability_next(const uint8_t *config, size_t length, size_t after, uint8_t id, size_t size);

#endif
