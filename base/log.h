/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines: to a file in the format that container engines read (--log, --log-format), and to
 * stderr. One line is one write(2). Safe from any thread; not from signal handlers.
 */
#ifndef HUSK_BASE_LOG_H
#define HUSK_BASE_LOG_H

#include <stdbool.h>
#include "base/compiler.h"

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

struct log_config {
	const char *program; /* "husk": prefix of stderr lines; kept, not copied */
	const char *id;	     /* VM or container; may be NULL; kept, not copied */
	int file_fd;	     /* -1 = none; stays the caller's */
	bool json; /* {"level":…,"msg":…,"time":RFC 3339} lines in the file, else text */
	enum log_level level; /* for the file */
	int stderr_level;     /* -1 = silent, else what also goes to stderr */
};

/* Before any thread is made. */
void log_setup(const struct log_config *cfg);
/* The sandbox process switches its sinks after the fork. */
const struct log_config *log_current(void);

void log_line(enum log_level lvl, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_err(...)  log_line(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LVL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LVL_INFO, __VA_ARGS__)
#define log_dbg(...)  log_line(LOG_LVL_DEBUG, __VA_ARGS__)

/*
 * A token bucket for lines that a guest or another untrusted peer can cause: at most LOG_LIMIT_BURST
 * lines, refilled with one each LOG_LIMIT_REFILL_NS; a count of what was swallowed goes with the next
 * line. Zero-initialised is full. Its owner serialises access.
 */
#define LOG_LIMIT_BURST	    10u
#define LOG_LIMIT_REFILL_NS 500000000ull
struct log_limit {
	uint64_t last_ns;
	unsigned used, dropped;
};
void log_limited(struct log_limit *lim, enum log_level lvl, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
