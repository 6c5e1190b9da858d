/* SPDX-License-Identifier: Apache-2.0 */
/* See signame.h. */
#include "runtime/signame.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/compiler.h"

#define SIGNO_MAX 64
/* The kernel's, which is what the guest has; the C library keeps two of them for itself. */
#define RT_MIN 34
#define RT_MAX 64

static const struct {
	const char *name;
	int signo;
} extra[] = {{"IOT", SIGABRT}, {"CLD", SIGCHLD},  {"IO", SIGIO},
	     {"POLL", SIGIO},  {"RTMIN", RT_MIN}, {"RTMAX", RT_MAX}};

static int number(const char *s, int min, int max)
{
	char *end;
	long v;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	errno = 0;
	v = strtol(s, &end, 10);
	return errno || *end || v < min || v > max ? -EINVAL : (int)v;
}

int signal_parse(const char *text)
{
	int n;

	if (*text >= '0' && *text <= '9')
		return number(text, 1, SIGNO_MAX);
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (int s = 1; s < 32; s++) {
		const char *name = sigabbrev_np(s);

		if (name && !strcasecmp(name, text))
			return s;
	}
	for (size_t i = 0; i < ARRAY_LEN(extra); i++)
		if (!strcasecmp(extra[i].name, text))
			return extra[i].signo;
	if (!strncasecmp(text, "RTMIN+", 6)) {
		n = number(text + 6, 0, RT_MAX - RT_MIN);
		return n < 0 ? n : RT_MIN + n;
	}
	if (!strncasecmp(text, "RTMAX-", 6)) {
		n = number(text + 6, 0, RT_MAX - RT_MIN);
		return n < 0 ? n : RT_MAX - n;
	}
	return -EINVAL;
}
