/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `husk events` prints, in the shape that runc's has (engines and go-runc read it): cgroup v1's
 * names, nanoseconds, and UINT64_MAX for "no limit". Pure; the figures come from the guest, and what
 * is not a number there counts as 0.
 */
#ifndef HUSK_RUNTIME_EVENTS_JSON_H
#define HUSK_RUNTIME_EVENTS_JSON_H

#include <stdint.h>
#include "base/err.h"
#include "runtime/json.h"

/* {"type":"stats","id":…,"data":…} of STATSCONTAINER's answer. A new reference. */
struct json_object *events_stats(const char *id, struct json_object *figures);
/* {"type":"oom","id":…} */
struct json_object *events_oom(const char *id);
/* "5s", "500ms", "1m30s", as Go writes times; more than 0. */
int events_interval(const char *text, uint64_t *ret_ns, struct err *e) MUST_CHECK;

#endif
