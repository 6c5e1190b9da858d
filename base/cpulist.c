/* SPDX-License-Identifier: Apache-2.0 */
/* See cpulist.h. */
#include "base/cpulist.h"

#include <errno.h>

/* Reads one number at *p. */
static int number(const char **p, unsigned *ret)
{
	unsigned v = 0;

	if (**p < '0' || **p > '9')
		return -EINVAL;
	for (; **p >= '0' && **p <= '9'; (*p)++) {
		v = v * 10 + (unsigned)(**p - '0');
		if (v > CPULIST_MAX)
			return -EINVAL;
	}
	*ret = v;
	return 0;
}

int cpulist_parse(const char *list, void (*each)(void *arg, unsigned first, unsigned last),
		  void *arg)
{
	unsigned cnt = 0;

	for (const char *p = list;; p++) {
		unsigned first, last;

		if (number(&p, &first) < 0)
			return -EINVAL;
		last = first;
		if (*p == '-') {
			p++;
			if (number(&p, &last) < 0 || last < first)
				return -EINVAL;
		}
		cnt += last - first + 1;
		if (cnt > CPULIST_MAX)
			return -EINVAL;
		each(arg, first, last);
		if (!*p || (*p == '\n' && !p[1]))
			return 0;
		if (*p != ',')
			return -EINVAL;
	}
}
