/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <stdio.h>

void clock_rfc3339(char *out, size_t cap, unsigned digits)
{
	struct timespec ts;
	struct tm tm;
	char day[32], frac[16];

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	(void)gmtime_r(&ts.tv_sec, &tm);
	(void)strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(frac, sizeof(frac), "%09ld", ts.tv_nsec);
	(void)snprintf(out, cap, "%s.%.*sZ", day, (int)digits, frac);
}
