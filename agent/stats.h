/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container uses: files of its cgroup (v2) and the network interfaces' counters, as the JSON
 * of STATSCONTAINER. The parsers are pure; what they do not understand they leave out.
 */
#ifndef HUSK_AGENT_STATS_H
#define HUSK_AGENT_STATS_H

#include <json-c/json.h>
#include <stdint.h>

#include "base/err.h"

/* Lines "key number": cpu.stat, memory.stat, memory.events. Adds to @to. */
void stats_flat(const char *text, struct json_object *to);
/* The number after @key in such lines; 0 when there is none. */
uint64_t stats_value(const char *text, const char *key);
/* Lines "8:0 rbytes=1 wbytes=2": io.stat. Appends to the array @to. */
void stats_io(const char *text, struct json_object *to);
/* /proc/net/dev. Appends to the array @to. */
void stats_net(const char *text, struct json_object *to);
/* "123\n" becomes @key; "max" and everything else does not. */
void stats_number(const char *text, const char *key, struct json_object *to);

/* A job (container.h): @arg is the struct container. */
int stats_job(void *arg, struct json_object *reply, struct err *e) MUST_CHECK;

#endif
