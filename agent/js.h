/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Typed access to JSON. Every getter treats an absent member (or null) as "keep what *ret has" and
 * a member of another type, a number out of range or a string with a NUL inside as an error that
 * names the member. Strings stay the object's.
 */
#ifndef HUSK_AGENT_JS_H
#define HUSK_AGENT_JS_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

static inline void js_put_ptr(struct json_object **o)
{
	if (*o)
		json_object_put(*o);
}
#define auto_json CLEANUP(js_put_ptr) struct json_object *

/* Parses @len bytes that are one JSON object and nothing else. */
int js_parse(const char *s, size_t len, struct json_object **ret, struct err *e) MUST_CHECK;

int js_str(struct json_object *o, const char *key, const char **ret, struct err *e) MUST_CHECK;
int js_int(struct json_object *o, const char *key, int64_t min, int64_t max, int64_t *ret,
	   struct err *e) MUST_CHECK;
int js_u64(struct json_object *o, const char *key, uint64_t *ret, struct err *e) MUST_CHECK;
int js_bool(struct json_object *o, const char *key, bool *ret, struct err *e) MUST_CHECK;
int js_obj(struct json_object *o, const char *key, struct json_object **ret,
	   struct err *e) MUST_CHECK;
int js_arr(struct json_object *o, const char *key, struct json_object **ret,
	   struct err *e) MUST_CHECK;
bool js_has(struct json_object *o, const char *key); /* present and not null */

/*
 * An array of strings as a NULL-terminated vector; the caller frees the vector, not the strings.
 * Absent: *ret becomes an empty vector and *ret_present false. Either may be NULL.
 */
int js_strv(struct json_object *o, const char *key, const char ***ret, size_t *ret_cnt,
	    bool *ret_present, struct err *e) MUST_CHECK;
/* Element @i of @arr as a string or an object. */
int js_at_str(struct json_object *arr, size_t i, const char *what, const char **ret,
	      struct err *e) MUST_CHECK;
int js_at_obj(struct json_object *arr, size_t i, const char *what, struct json_object **ret,
	      struct err *e) MUST_CHECK;
size_t js_len(struct json_object *arr); /* NULL: 0 */

/* Strict base64 with padding. The caller frees *ret. -EINVAL for anything else. */
int js_base64(const char *s, unsigned char **ret, size_t *ret_len) MUST_CHECK;

#endif
