/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration file. See config.h. */
#include "runtime/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "runtime/nettap.h"
#include "vmm/machine.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

enum kind {
	KIND_PATH,   /* const char *: absolute */
	KIND_PARAMS, /* const char *: config_check_params() */
	KIND_SIZE,   /* uint64_t bytes */
	KIND_NUMBER, /* uint64_t */
	KIND_WORD,   /* uint64_t: index into words */
	KIND_FLAG,   /* bool */
	KIND_NAMES,  /* struct json_object *: array of strings, each one of words */
	KIND_PATHS,  /* struct json_object *: array of absolute paths or patterns */
};

struct config_key {
	const char *name;
	enum kind kind;
	size_t off;
	uint64_t min, max; /* inclusive */
	const char *const *words;
};

static const char *const levels[] = {[LOG_LVL_ERROR] = "error",
				     [LOG_LVL_WARN] = "warn",
				     [LOG_LVL_INFO] = "info",
				     [LOG_LVL_DEBUG] = "debug",
				     NULL};
static const char *const models[] = {
    [NET_TC] = "tc", [NET_BRIDGE] = "bridge", [NET_MACVTAP] = "macvtap", [NET_NONE] = "none", NULL};
/* Those that runtime/annot.c knows. */
static const char *const annotations[] = {
    "memory", "vcpus", "kernel", "kernel_params", "network_rx_rate", "network_tx_rate", NULL};

#define F(field) offsetof(struct config, field)
static const struct config_key keys[] = {
    {"kernel", KIND_PATH, F(kernel), 0, 0, NULL},
    {"image", KIND_PATH, F(image), 0, 0, NULL},
    {"kernel_params", KIND_PARAMS, F(kernel_params), 0, 0, NULL},
    {"memory.default", KIND_SIZE, F(memory.standard), 64 * MIB, 16384 * GIB, NULL},
    {"memory.min", KIND_SIZE, F(memory.min), 64 * MIB, 16384 * GIB, NULL},
    {"memory.max", KIND_SIZE, F(memory.max), 0, 16384 * GIB, NULL},
    {"memory.guest_overhead", KIND_SIZE, F(memory.guest), 0, 16 * GIB, NULL},
    {"memory.host_overhead", KIND_SIZE, F(memory.host), 16 * MIB, 16 * GIB, NULL},
    {"memory.balloon", KIND_FLAG, F(memory.balloon), 0, 0, NULL},
    {"vcpus.default", KIND_NUMBER, F(vcpus.standard), 1, MACHINE_CPUS_MAX, NULL},
    {"vcpus.max", KIND_NUMBER, F(vcpus.max), 0, MACHINE_CPUS_MAX, NULL},
    {"network.model", KIND_WORD, F(net.model), 0, 0, models},
    {"network.rx_rate", KIND_SIZE, F(net.rx_rate), 0, 1024 * GIB, NULL},
    {"network.tx_rate", KIND_SIZE, F(net.tx_rate), 0, 1024 * GIB, NULL},
    {"network.rx_packets", KIND_NUMBER, F(net.rx_packets), 0, 1000000000, NULL},
    {"network.tx_packets", KIND_NUMBER, F(net.tx_packets), 0, 1000000000, NULL},
    {"network.burst_ms", KIND_NUMBER, F(net.burst_ms), 1, 10000, NULL},
    {"enable_annotations", KIND_NAMES, F(annotations), 0, 0, annotations},
    {"annotation_paths", KIND_PATHS, F(annotation_paths), 0, 0, NULL},
    {"log_level", KIND_WORD, F(log_level), 0, 0, levels},
    {"debug", KIND_FLAG, F(debug), 0, 0, NULL},
};

void config_defaults(struct config *c)
{
	*c = (struct config){
	    .kernel_params = "",
	    .memory = {.standard = 256 * MIB,
		       .min = 128 * MIB,
		       .guest = 64 * MIB,
		       .host = 64 * MIB,
		       .balloon = true},
	    .vcpus = {.standard = 1},
	    .net = {.burst_ms = 100},
	    .log_level = LOG_LVL_INFO,
	};
}

void config_free(struct config *c)
{
	json_put_ptr(&c->doc);
	free(c->path);
	memset(c, 0, sizeof(*c));
}

const char *config_key_name(size_t i)
{
	return i < ARRAY_LEN(keys) ? keys[i].name : NULL;
}

int config_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	uint64_t v = 0;
	size_t n = strspn(text, "0123456789");
	const char *unit = text[n] ? strchr(units, text[n]) : NULL;

	if (!n || !unit || text[n + 1])
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
		    __builtin_add_overflow(v, (uint64_t)(text[i] - '0'), &v))
			return -ERANGE;
	for (; unit >= units; unit--)
		if (__builtin_mul_overflow(v, UINT64_C(1024), &v))
			return -ERANGE;
	*ret = v;
	return 0;
}

static void size_text(uint64_t v, char *buf, size_t len)
{
	static const char units[] = "KMGT";
	unsigned u = 0;

	v >>= 10;
	while (v && v % 1024 == 0 && u + 2 < sizeof(units)) {
		v >>= 10;
		u++;
	}
	(void)snprintf(buf, len, "%llu%c", (unsigned long long)v, units[u]);
}

int config_check_params(const char *text, struct err *e)
{
	if (strlen(text) > CONFIG_PARAMS_MAX)
		return err_set(e, -EINVAL, "longer than %u characters", CONFIG_PARAMS_MAX);
	for (const char *p = text; *p; p++)
		if (*p < ' ' || *p > '~' || *p == '"')
			return err_set(e, -EINVAL,
				       "character %zu is not printable ASCII or is a quote",
				       (size_t)(p - text) + 1);
	return 0;
}

bool config_lists(struct json_object *list, const char *name)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		if (!strcmp(json_object_get_string(json_object_array_get_idx(list, i)), name))
			return true;
	return false;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* // and C comments become blanks, so that lines keep their numbers; strings stay as they are. */
static int blank_comments(char *s, size_t len, const char *what, struct err *e)
{
	for (size_t i = 0; i < len; i++) {
		size_t begin = i;

		if (s[i] == '"') {
			for (i++; i < len && s[i] != '"'; i++)
				i += s[i] == '\\';
		} else if (s[i] == '/' && i + 1 < len && s[i + 1] == '/') {
			while (i < len && s[i] != '\n')
				s[i++] = ' ';
		} else if (s[i] == '/' && i + 1 < len && s[i + 1] == '*') {
			for (i += 2; i + 1 < len && (s[i] != '*' || s[i + 1] != '/'); i++)
				;
			if (i + 1 >= len)
				return err_set(e, -EINVAL, "%s: a comment has no end", what);
			i++;
			for (size_t k = begin; k <= i; k++)
				if (s[k] != '\n')
					s[k] = ' ';
		}
	}
	return 0;
}

struct reading {
	struct config *c;
	const char *what;
	struct err *e;
};

static const char *string_of(struct json_object *v)
{
	const char *s = json_object_get_string(v);

	return json_object_is_type(v, json_type_string) &&
		       strlen(s) == (size_t)json_object_get_string_len(v)
		   ? s
		   : NULL;
}

static int wrong(const struct reading *r, const char *name, const char *want)
{
	return err_set(r->e, -EINVAL, "%s: %s: expected %s", r->what, name, want);
}

static size_t word_index(const char *const *words, const char *s)
{
	size_t i = 0;

	while (words[i] && (!s || strcmp(words[i], s) != 0))
		i++;
	return i;
}

static const char *join_words(const char *const *words, char *buf, size_t len)
{
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; words[i] && n < len; i++)
		n += (size_t)snprintf(buf + n, len - n, "%s%s", i ? ", " : "", words[i]);
	return buf;
}

static int set_range(const struct reading *r, const struct config_key *k, struct json_object *v,
		     uint64_t *to)
{
	char want[96], low[24], high[24];
	bool good, size = k->kind == KIND_SIZE;

	if (size) {
		const char *s = string_of(v);

		size_text(k->min, low, sizeof(low));
		size_text(k->max, high, sizeof(high));
		(void)snprintf(want, sizeof(want), "a size such as \"256M\", from %s to %s", low,
			       high);
		good = s && config_size(s, to) == 0;
	} else {
		(void)snprintf(want, sizeof(want), "a whole number from %llu to %llu",
			       (unsigned long long)k->min, (unsigned long long)k->max);
		good = json_object_is_type(v, json_type_int) && json_object_get_int64(v) >= 0;
		*to = good ? json_object_get_uint64(v) : 0;
	}
	return good && *to >= k->min && *to <= k->max ? 0 : wrong(r, k->name, want);
}

static int set_list(const struct reading *r, const struct config_key *k, struct json_object *v,
		    struct json_object **to)
{
	char buf[256];

	if (!json_object_is_type(v, json_type_array))
		return wrong(r, k->name, "an array of strings");
	for (size_t i = 0; i < json_object_array_length(v); i++) {
		const char *s = string_of(json_object_array_get_idx(v, i));

		if (!s)
			return wrong(r, k->name, "an array of strings");
		if (k->kind == KIND_NAMES && !k->words[word_index(k->words, s)])
			return err_set(r->e, -EINVAL, "%s: %s: '%.64s' is none of %s", r->what,
				       k->name, s, join_words(k->words, buf, sizeof(buf)));
		if (k->kind == KIND_PATHS && s[0] != '/')
			return err_set(r->e, -EINVAL, "%s: %s: '%.200s' is not an absolute path",
				       r->what, k->name, s);
	}
	*to = v;
	return 0;
}

static int set_key(const struct reading *r, const struct config_key *k, struct json_object *v)
{
	void *to = (char *)r->c + k->off;
	const char *s = string_of(v);
	struct err sub = {0};
	char buf[256];
	size_t i;

	switch (k->kind) {
	case KIND_PATH:
		if (!s || s[0] != '/')
			return wrong(r, k->name, "an absolute path");
		*(const char **)to = s;
		return 0;
	case KIND_PARAMS:
		if (!s)
			return wrong(r, k->name, "a string");
		if (config_check_params(s, &sub) < 0)
			return err_set(r->e, -EINVAL, "%s: %s: %s", r->what, k->name, sub.msg);
		*(const char **)to = s;
		return 0;
	case KIND_SIZE:
	case KIND_NUMBER:
		return set_range(r, k, v, to);
	case KIND_WORD:
		i = word_index(k->words, s);
		if (!k->words[i]) {
			char want[300];

			(void)snprintf(want, sizeof(want), "one of %s",
				       join_words(k->words, buf, sizeof(buf)));
			return wrong(r, k->name, want);
		}
		*(uint64_t *)to = i;
		return 0;
	case KIND_FLAG:
		if (!json_object_is_type(v, json_type_boolean))
			return wrong(r, k->name, "true or false");
		*(bool *)to = json_object_get_boolean(v);
		return 0;
	case KIND_NAMES:
	case KIND_PATHS:
		return set_list(r, k, v, to);
	}
	return -EINVAL;
}

static const struct config_key *find_key(const char *name, bool *ret_parent)
{
	size_t n = strlen(name);

	*ret_parent = false;
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		if (!strcmp(keys[i].name, name))
			return &keys[i];
		*ret_parent |= !strncmp(keys[i].name, name, n) && keys[i].name[n] == '.';
	}
	return NULL;
}

static int read_object(const struct reading *r, struct json_object *o, const char *prefix)
{
	json_object_object_foreach(o, key, v)
	{
		char name[128];
		bool parent;
		const struct config_key *k;
		int rc;

		/* What does not fit is no key of ours, and its beginning with dots could be. */
		if (strchr(key, '.') ||
		    (size_t)snprintf(name, sizeof(name), "%s%s", prefix, key) >= sizeof(name) - 1)
			return err_set(r->e, -EINVAL, "%s: unknown key '%s%.64s'", r->what, prefix,
				       key);
		k = find_key(name, &parent);
		if (!k && !parent)
			return err_set(r->e, -EINVAL, "%s: unknown key '%s'", r->what, name);
		if (k) {
			rc = set_key(r, k, v);
		} else if (json_object_is_type(v, json_type_object)) {
			(void)strcat(name, ".");
			rc = read_object(r, v, name);
		} else {
			rc = wrong(r, name, "an object");
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Rules that two keys make together. */
static int check_whole(const struct reading *r)
{
	const struct config *c = r->c;

	if (c->memory.standard < c->memory.min)
		return err_set(r->e, -EINVAL, "%s: memory.default is below memory.min", r->what);
	if (c->memory.max && c->memory.max < c->memory.standard)
		return err_set(r->e, -EINVAL, "%s: memory.max is below memory.default", r->what);
	if (c->vcpus.max && c->vcpus.max < c->vcpus.standard)
		return err_set(r->e, -EINVAL, "%s: vcpus.max is below vcpus.default", r->what);
	return 0;
}

int config_parse(struct config *ret, const char *what, const char *text, size_t len, struct err *e)
{
	const struct reading r = {.c = ret, .what = what, .e = e};
	auto_free char *copy = malloc(len + 1);
	int rc;

	config_defaults(ret);
	if (!copy)
		return err_set(e, -ENOMEM, "%s: out of memory", what);
	memcpy(copy, text, len);
	copy[len] = '\0';
	rc = blank_comments(copy, len, what, e);
	if (rc == 0)
		rc = json_parse(copy, len, what, &ret->doc, e);
	if (rc == 0)
		rc = read_object(&r, ret->doc, "");
	if (rc == 0)
		rc = check_whole(&r);
	if (rc < 0)
		config_free(ret);
	return rc;
}

int config_load(struct config *ret, const char *path, struct err *e)
{
	const char *file = path ? path : CONFIG_PATH;
	auto_free char *text = NULL;
	char what[300];
	size_t len = 0;
	int rc;

	config_defaults(ret);
	(void)snprintf(what, sizeof(what), "configuration '%.250s'", file);
	rc = fd_read_file(AT_FDCWD, file, CONFIG_SIZE_MAX, &text, &len);
	if (rc == -ENOENT && !path)
		return 0;
	if (rc < 0)
		return err_sys(e, rc, "%s", what);
	rc = config_parse(ret, what, text, len, e);
	if (rc < 0)
		return rc;
	ret->path = strdup(file);
	if (!ret->path) {
		config_free(ret);
		return err_set(e, -ENOMEM, "%s: out of memory", what);
	}
	return 0;
}

/* ---- showing --------------------------------------------------------------------------------- */

static struct json_object *value_of(const struct config *c, const struct config_key *k)
{
	const void *at = (const char *)c + k->off;
	const char *s;
	char buf[32];

	switch (k->kind) {
	case KIND_PATH:
	case KIND_PARAMS:
		s = *(const char *const *)at;
		return s ? json_object_new_string(s) : NULL;
	case KIND_SIZE:
		size_text(*(const uint64_t *)at, buf, sizeof(buf));
		return json_object_new_string(buf);
	case KIND_NUMBER:
		return json_object_new_uint64(*(const uint64_t *)at);
	case KIND_WORD:
		return json_object_new_string(k->words[*(const uint64_t *)at]);
	case KIND_FLAG:
		return json_object_new_boolean(*(const bool *)at);
	case KIND_NAMES:
	case KIND_PATHS:
		if (*(struct json_object *const *)at)
			return json_object_get(*(struct json_object *const *)at);
		return json_object_new_array();
	}
	return NULL;
}

struct json_object *config_to_json(const struct config *c)
{
	struct json_object *all = json_object_new_object();

	for (size_t i = 0; all && i < ARRAY_LEN(keys); i++) {
		const char *dot = strchr(keys[i].name, '.'), *leaf = keys[i].name;
		struct json_object *o = all;
		char parent[64];

		if (dot) {
			(void)snprintf(parent, sizeof(parent), "%.*s", (int)(dot - leaf), leaf);
			leaf = dot + 1;
			if (!json_object_object_get_ex(all, parent, &o)) {
				o = json_object_new_object();
				(void)json_object_object_add(all, parent, o);
			}
		}
		(void)json_object_object_add(o, leaf, value_of(c, &keys[i]));
	}
	return all;
}
