/* SPDX-License-Identifier: Apache-2.0 */
/* Typed access to JSON: see js.h. Pure. */
#include "agent/js.h"

#include <errno.h>
#include <json-c/json_tokener.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/b64.h"
#include "base/fd.h"

#define DEPTH_MAX 64

int js_parse(const char *s, size_t len, struct json_object **ret, struct err *e)
{
	struct json_tokener *tok = json_tokener_new_ex(DEPTH_MAX);
	struct json_object *o;
	int rc = 0;

	if (!tok)
		return err_set(e, -ENOMEM, "out of memory");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT);
	o = len > INT_MAX ? NULL : json_tokener_parse_ex(tok, s, (int)len);
	if (!o)
		rc = err_set(e, -EINVAL, "JSON: %s at byte %zu",
			     json_tokener_error_desc(json_tokener_get_error(tok)),
			     json_tokener_get_parse_end(tok));
	else if (!json_object_is_type(o, json_type_object))
		rc = err_set(e, -EINVAL, "JSON: not an object");
	json_tokener_free(tok);
	if (rc < 0) {
		json_object_put(o);
		return rc;
	}
	*ret = o;
	return 0;
}

static struct json_object *get(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	return json_object_object_get_ex(o, key, &v) ? v : NULL;
}

bool js_has(struct json_object *o, const char *key)
{
	return get(o, key) != NULL;
}

static int as_str(struct json_object *v, const char *what, const char **ret, struct err *e)
{
	if (!json_object_is_type(v, json_type_string))
		return err_set(e, -EINVAL, "%s: not a string", what);
	if (strlen(json_object_get_string(v)) != (size_t)json_object_get_string_len(v))
		return err_set(e, -EINVAL, "%s: contains a NUL byte", what);
	*ret = json_object_get_string(v);
	return 0;
}

int js_str(struct json_object *o, const char *key, const char **ret, struct err *e)
{
	struct json_object *v = get(o, key);

	return v ? as_str(v, key, ret, e) : 0;
}

int js_int(struct json_object *o, const char *key, int64_t min, int64_t max, int64_t *ret,
	   struct err *e)
{
	struct json_object *v = get(o, key);
	int64_t n;

	if (!v)
		return 0;
	if (!json_object_is_type(v, json_type_int))
		return err_set(e, -EINVAL, "%s: not an integer", key);
	n = json_object_get_int64(v);
	/* A number beyond int64 reads as INT64_MAX. */
	if (n < min || n > max || (n == INT64_MAX && json_object_get_uint64(v) > INT64_MAX))
		return err_set(e, -ERANGE, "%s: %s is out of range", key,
			       json_object_get_string(v));
	*ret = n;
	return 0;
}

int js_u64(struct json_object *o, const char *key, uint64_t *ret, struct err *e)
{
	struct json_object *v = get(o, key);

	if (!v)
		return 0;
	if (!json_object_is_type(v, json_type_int))
		return err_set(e, -EINVAL, "%s: not an integer", key);
	if (json_object_get_int64(v) < 0)
		return err_set(e, -ERANGE, "%s: %s is out of range", key,
			       json_object_get_string(v));
	*ret = json_object_get_uint64(v);
	return 0;
}

int js_bool(struct json_object *o, const char *key, bool *ret, struct err *e)
{
	struct json_object *v = get(o, key);

	if (!v)
		return 0;
	if (!json_object_is_type(v, json_type_boolean))
		return err_set(e, -EINVAL, "%s: neither true nor false", key);
	*ret = json_object_get_boolean(v);
	return 0;
}

int js_obj(struct json_object *o, const char *key, struct json_object **ret, struct err *e)
{
	struct json_object *v = get(o, key);

	if (!v)
		return 0;
	if (!json_object_is_type(v, json_type_object))
		return err_set(e, -EINVAL, "%s: not an object", key);
	*ret = v;
	return 0;
}

int js_arr(struct json_object *o, const char *key, struct json_object **ret, struct err *e)
{
	struct json_object *v = get(o, key);

	if (!v)
		return 0;
	if (!json_object_is_type(v, json_type_array))
		return err_set(e, -EINVAL, "%s: not an array", key);
	*ret = v;
	return 0;
}

size_t js_len(struct json_object *arr)
{
	return arr ? json_object_array_length(arr) : 0;
}

int js_at_str(struct json_object *arr, size_t i, const char *what, const char **ret, struct err *e)
{
	return as_str(json_object_array_get_idx(arr, i), what, ret, e);
}

int js_at_obj(struct json_object *arr, size_t i, const char *what, struct json_object **ret,
	      struct err *e)
{
	struct json_object *v = json_object_array_get_idx(arr, i);

	if (!json_object_is_type(v, json_type_object))
		return err_set(e, -EINVAL, "%s: element %zu is not an object", what, i);
	*ret = v;
	return 0;
}

int js_strv(struct json_object *o, const char *key, const char ***ret, size_t *ret_cnt,
	    bool *ret_present, struct err *e)
{
	struct json_object *arr = NULL;
	auto_free const char **v = NULL;
	int rc = js_arr(o, key, &arr, e);
	size_t n = js_len(arr);

	if (rc < 0)
		return rc;
	v = calloc(n + 1, sizeof(*v));
	if (!v)
		return err_set(e, -ENOMEM, "%s: out of memory", key);
	for (size_t i = 0; i < n; i++) {
		rc = js_at_str(arr, i, key, &v[i], e);
		if (rc < 0)
			return rc;
	}
	*ret = ptr_take(v);
	if (ret_cnt)
		*ret_cnt = n;
	if (ret_present)
		*ret_present = arr != NULL;
	return 0;
}

int js_base64(const char *s, unsigned char **ret, size_t *ret_len)
{
	void *out = NULL;
	int rc = b64_decode(s, &out, ret_len);

	if (rc == 0)
		*ret = out;
	return rc;
}
