/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef GUEST_CAPABILITY_H
#define GUEST_CAPABILITY_H

/* The list of capabilities in a device's config space, which we do not trust. */

#include <stddef.h>
#include <stdint.h>

/* No list is longer: the header takes 64 of the 256 bytes, and a capability at least 4. */
#define CAPABILITIES_MAX 48

/*
 * Find the next capability `id` after the one at offset `after`, or the first one if `after` is 0.
 * `length` bytes of config space are known, and must contain `size` bytes of the capability. Returns
 * its offset, or 0 if there is none. The list may be a circle, so a caller that goes on asking must
 * stop after CAPABILITIES_MAX.
 */
size_t capability_next(const uint8_t *config, size_t length, size_t after, uint8_t id, size_t size);

#endif
