/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/*
 * A `struct log` is a level and a function: the owner of a module decides where its messages go.
 * Messages are whole sentences without a newline. A log that is NULL, or has no function, is
 * silent.
 */

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log {
	enum log_level level; /* messages above it are dropped before they are formatted */
	void (*write)(void *data, enum log_level level, const char *message);
	void *data;
};

/* Preserves errno. */
void log_printf(const struct log *log, enum log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static inline bool
log_enabled(const struct log *log, enum log_level level)
{
	return log && log->write && level <= log->level;
}

#define log_error(log, ...)   log_printf(log, LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(log, ...) log_printf(log, LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(log, ...)    log_printf(log, LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(log, ...)   log_printf(log, LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
