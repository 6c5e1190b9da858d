/* SPDX-License-Identifier: Apache-2.0 */
/* PSCONTAINER: the processes of a container, as numbered in its pid name space. In a job's child. */
#ifndef HUSK_AGENT_PS_H
#define HUSK_AGENT_PS_H

#include <json-c/json.h>
#include <stdint.h>

#include "base/err.h"

int ps_job(void *container, struct json_object *reply, struct err *e) MUST_CHECK;

/* What PSCONTAINER takes from /proc/PID/stat, in the kernel's units. */
struct ps_stat {
	char state;
	unsigned tty;
	uint64_t utime, stime, start; /* clock ticks */
	int nice;
	unsigned threads;
	uint64_t vsize, rss; /* bytes, pages */
};
/* 0 or -EINVAL. Pure. */
int ps_parse_stat(const char *text, struct ps_stat *st) MUST_CHECK;

#endif
