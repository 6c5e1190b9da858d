/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one clock of every phase table and timer: CLOCK_MONOTONIC in nanoseconds. And the time of day as text.
 */
#ifndef HUSK_BASE_CLOCK_H
#define HUSK_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define NS_PER_SEC 1000000000ull
#define NS_PER_MS  1000000ull
#define NS_PER_US  1000ull

static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/*
 * The time of day as RFC 3339 in UTC with @digits (1 to 9) of a second's fraction, for logs and state
 * files: "2026-11-22T08:52:01.934156Z". @cap of CLOCK_TEXT is enough.
 */
#define CLOCK_TEXT 64u
void clock_rfc3339(char *out, size_t cap, unsigned digits);

#endif
