/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

/*
 * Copying to and from memory that may be uncached, such as a guest's mapping of BAR2: in aligned
 * words of 8 bytes where that is possible, else in bytes. There, no compiler may make vector
 * instructions of it.
 */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline void
words_load(void *private_memory, const volatile void *shared, size_t length)
{
	const volatile uint8_t *from = shared;
	uint8_t *to = private_memory;

	while (length > 0) {
		if ((uintptr_t)from % 8 == 0 && length >= 8) {
			uint64_t word = *(const volatile uint64_t *)(const volatile void *)from;

			memcpy(to, &word, 8);
			from += 8;
			to += 8;
			length -= 8;
		} else {
			*to++ = *from++;
			length--;
		}
	}
}

static inline void
words_store(volatile void *shared, const void *private_memory, size_t length)
{
	const uint8_t *from = private_memory;
	volatile uint8_t *to = shared;

	while (length > 0) {
		if ((uintptr_t)to % 8 == 0 && length >= 8) {
			uint64_t word;

			memcpy(&word, from, 8);
			*(volatile uint64_t *)(volatile void *)to = word;
			from += 8;
			to += 8;
			length -= 8;
		} else {
			uint8_t byte;

			memcpy(&byte, from++, 1);
			*to++ = byte;
			length--;
		}
	}
}

#endif
