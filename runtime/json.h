/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Strict reading of JSON: a text is an object or it is refused, a value has the type that it should
 * have or the error names its place. Functions of no state, for any thread.
 */
#ifndef HUSK_RUNTIME_JSON_H
#define HUSK_RUNTIME_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

static inline void json_put_ptr(struct json_object **o)
{
	if (*o)
		(void)json_object_put(*o);
	*o = NULL;
}
/* A reference that ends with the scope. */
#define auto_json      CLEANUP(json_put_ptr) struct json_object *

#define JSON_DEPTH_MAX 64

/*
 * Parses @len bytes that have to be one JSON object and nothing else. @what begins the error's
 * sentence
 * ("config.json"). The caller owns *ret. 0, -EINVAL, -ENOMEM.
 */
int json_parse(const char *text, size_t len, const char *what, struct json_object **ret,
	       struct err *e) MUST_CHECK;

enum json_kind {
	JSON_STR, /* without NUL bytes inside */
	JSON_BOOL,
	JSON_U32,
	JSON_U64,
	JSON_I64,
	JSON_OBJ,
	JSON_OBJS, /* array of objects */
	JSON_STRS, /* array of strings */
	JSON_U32S,
	JSON_MAP, /* object whose values are strings */
};

/* One rule: "linux.devices[].type" is JSON_STR. Keys that are absent or null pass unless @required.
 */
struct json_rule {
	const char *path;
	enum json_kind kind;
	bool required; /* wherever its parent is there */
};

/* Checks @o against all rules. 0, or -EINVAL with "what: mounts[2].type: expected a string". */
int json_check(struct json_object *o, const char *what, const struct json_rule *rules, size_t cnt,
	       struct err *e) MUST_CHECK;

/*
 * Readers for a document that json_check() has passed; @path as in a rule, without []. They give
 * NULL,
 * @def, when a key on the way is absent or null. What they return belongs to @o.
 */
struct json_object *json_at(struct json_object *o, const char *path);
const char *json_str(struct json_object *o, const char *path, const char *def);
bool json_flag(struct json_object *o, const char *path, bool def);
int64_t json_i64(struct json_object *o, const char *path, int64_t def);
size_t json_len(struct json_object *o, const char *path); /* of an array; 0 */

/* Writes it to stdout, pretty, and a newline. */
void json_print(struct json_object *o);

/* Adds to an object; an absent value (NULL) adds nothing. */
void json_add_str(struct json_object *o, const char *key, const char *v);
void json_add_i64(struct json_object *o, const char *key, int64_t v);
void json_add_bool(struct json_object *o, const char *key, bool v);

#endif
