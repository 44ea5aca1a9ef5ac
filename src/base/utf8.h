/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>

/*
 * The length of the UTF-8 sequence at the start of `bytes`, or 0 if there is none. Overlong forms,
 * surrogates and numbers beyond U+10FFFF are not UTF-8.
 */
size_t utf8_length(const unsigned char *bytes, size_t length);

#endif
