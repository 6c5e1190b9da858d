/* SPDX-License-Identifier: Apache-2.0 */
/* Strict reading of JSON. See json.h. */
#include "runtime/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

static const char *const kind_text[] = {
    [JSON_STR] = "a string",
    [JSON_BOOL] = "true or false",
    [JSON_U32] = "a number from 0 to 4294967295",
    [JSON_U64] = "a number of 0 or more",
    [JSON_I64] = "a whole number",
    [JSON_OBJ] = "an object",
    [JSON_OBJS] = "an array of objects",
    [JSON_STRS] = "an array of strings",
    [JSON_U32S] = "an array of numbers from 0 to 4294967295",
    [JSON_MAP] = "an object whose values are strings",
};

static void tokener_free(struct json_tokener **t)
{
	if (*t)
		json_tokener_free(*t);
}

static unsigned line_of(const char *text, size_t off)
{
	unsigned n = 1;

	for (size_t i = 0; i < off; i++)
		n += text[i] == '\n';
	return n;
}

int json_parse(const char *text, size_t len, const char *what, struct json_object **ret,
	       struct err *e)
{
	CLEANUP(tokener_free) struct json_tokener *t = json_tokener_new_ex(JSON_DEPTH_MAX);
	auto_json o = NULL;
	size_t end;

	if (!t)
		return err_set(e, -ENOMEM, "%s: out of memory", what);
	if (len >= INT32_MAX)
		return err_set(e, -EFBIG, "%s: too large", what);
	json_tokener_set_flags(t, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	o = json_tokener_parse_ex(t, text, (int)len);
	end = MIN(json_tokener_get_parse_end(t), len);
	if (json_tokener_get_error(t) == json_tokener_continue)
		return err_set(e, -EINVAL, "%s: not JSON: it ends too early", what);
	if (json_tokener_get_error(t) != json_tokener_success)
		return err_set(e, -EINVAL, "%s: not JSON: line %u: %s", what, line_of(text, end),
			       json_tokener_error_desc(json_tokener_get_error(t)));
	while (end < len && strchr(" \t\r\n", text[end]) && text[end])
		end++;
	if (end < len)
		return err_set(e, -EINVAL, "%s: not JSON: line %u: text after the end", what,
			       line_of(text, end));
	if (!json_object_is_type(o, json_type_object))
		return err_set(e, -EINVAL, "%s: expected an object", what);
	*ret = o;
	o = NULL;
	return 0;
}

static bool is_string(struct json_object *o)
{
	return json_object_is_type(o, json_type_string) &&
	       strlen(json_object_get_string(o)) == (size_t)json_object_get_string_len(o);
}

static bool is_number(struct json_object *o, uint64_t max)
{
	/* json-c gives a negative number as 0 here: ask for the signed one first. */
	return json_object_is_type(o, json_type_int) && json_object_get_int64(o) >= 0 &&
	       json_object_get_uint64(o) <= max;
}

static bool is_kind(struct json_object *o, enum json_kind kind);

static bool all_are(struct json_object *o, enum json_kind kind)
{
	if (!json_object_is_type(o, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(o); i++)
		if (!is_kind(json_object_array_get_idx(o, i), kind))
			return false;
	return true;
}

static bool is_map(struct json_object *o)
{
	if (!json_object_is_type(o, json_type_object))
		return false;
	json_object_object_foreach(o, key, val)
	{
		(void)key;
		if (!is_string(val))
			return false;
	}
	return true;
}

static bool is_kind(struct json_object *o, enum json_kind kind)
{
	switch (kind) {
	case JSON_STR:
		return is_string(o);
	case JSON_BOOL:
		return json_object_is_type(o, json_type_boolean);
	case JSON_U32:
		return is_number(o, UINT32_MAX);
	case JSON_U64:
		return is_number(o, UINT64_MAX);
	case JSON_I64:
		return json_object_is_type(o, json_type_int);
	case JSON_OBJ:
		return json_object_is_type(o, json_type_object);
	case JSON_OBJS:
		return all_are(o, JSON_OBJ);
	case JSON_STRS:
		return all_are(o, JSON_STR);
	case JSON_U32S:
		return all_are(o, JSON_U32);
	case JSON_MAP:
		return is_map(o);
	}
	return false;
}

struct walk {
	const char *what;
	const struct json_rule *rule;
	char place[256]; /* "mounts[2].type": where we are */
	struct err *e;
};

/* @rest: what of the rule's path is still below @o, an object. */
static int walk(struct walk *w, struct json_object *o, const char *rest, size_t place_len)
{
	size_t n = strcspn(rest, ".["), len = place_len;
	bool each = rest[n] == '[', last = rest[n] == '\0';
	struct json_object *v = NULL;
	char key[64];

	if (n >= sizeof(key) || n + len + 32 > sizeof(w->place))
		return err_set(w->e, -EINVAL, "%s: rule '%s' is too long", w->what, w->rule->path);
	memcpy(key, rest, n);
	key[n] = '\0';
	len +=
	    (size_t)snprintf(w->place + len, sizeof(w->place) - len, "%s%s", len ? "." : "", key);
	if (!json_object_object_get_ex(o, key, &v) || !v) {
		if (last && w->rule->required)
			return err_set(w->e, -EINVAL, "%s: %s: missing", w->what, w->place);
		return 0;
	}
	if (last) {
		if (is_kind(v, w->rule->kind))
			return 0;
		return err_set(w->e, -EINVAL, "%s: %s: expected %s", w->what, w->place,
			       kind_text[w->rule->kind]);
	}
	/* A parent of the wrong type has a rule of its own, earlier in the table. */
	if (!each)
		return json_object_is_type(v, json_type_object) ? walk(w, v, rest + n + 1, len) : 0;
	if (!json_object_is_type(v, json_type_array))
		return 0;
	for (size_t i = 0; i < json_object_array_length(v); i++) {
		struct json_object *item = json_object_array_get_idx(v, i);
		int add = snprintf(w->place + len, sizeof(w->place) - len, "[%zu]", i);
		int rc = json_object_is_type(item, json_type_object)
			     ? walk(w, item, rest + n + 3, len + (size_t)add)
			     : 0;

		if (rc < 0)
			return rc;
	}
	return 0;
}

int json_check(struct json_object *o, const char *what, const struct json_rule *rules, size_t cnt,
	       struct err *e)
{
	for (size_t i = 0; i < cnt; i++) {
		struct walk w = {.what = what, .rule = &rules[i], .e = e};
		int rc = walk(&w, o, rules[i].path, 0);

		if (rc < 0)
			return rc;
	}
	return 0;
}

struct json_object *json_at(struct json_object *o, const char *path)
{
	char key[64];

	while (o && *path) {
		size_t n = strcspn(path, ".");
		struct json_object *v = NULL;

		if (n >= sizeof(key) || !json_object_is_type(o, json_type_object))
			return NULL;
		memcpy(key, path, n);
		key[n] = '\0';
		if (!json_object_object_get_ex(o, key, &v))
			return NULL;
		o = v;
		path += n + (path[n] == '.');
	}
	return o;
}

const char *json_str(struct json_object *o, const char *path, const char *def)
{
	struct json_object *v = json_at(o, path);

	return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : def;
}

bool json_flag(struct json_object *o, const char *path, bool def)
{
	struct json_object *v = json_at(o, path);

	return json_object_is_type(v, json_type_boolean) ? json_object_get_boolean(v) : def;
}

int64_t json_i64(struct json_object *o, const char *path, int64_t def)
{
	struct json_object *v = json_at(o, path);

	return json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : def;
}

size_t json_len(struct json_object *o, const char *path)
{
	struct json_object *v = json_at(o, path);

	return json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
}

void json_print(struct json_object *o)
{
	(void)printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY |
								   JSON_C_TO_STRING_SPACED |
								   JSON_C_TO_STRING_NOSLASHESCAPE));
}

void json_add_str(struct json_object *o, const char *key, const char *v)
{
	if (v)
		(void)json_object_object_add(o, key, json_object_new_string(v));
}

void json_add_i64(struct json_object *o, const char *key, int64_t v)
{
	(void)json_object_object_add(o, key, json_object_new_int64(v));
}

void json_add_bool(struct json_object *o, const char *key, bool v)
{
	(void)json_object_object_add(o, key, json_object_new_boolean(v));
}
