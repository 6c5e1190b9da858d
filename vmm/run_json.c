/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `vmm run --config`: a JSON object with the long options as keys. See run_args.h.
 *
 *   {"kernel":"vmlinux", "cpus":2, "memory":"128M", "disk":[{"file":"a.img","ro":true}],
 *    "share":[{"dir":"/srv","tag":"srv"}], "pmem":[{"file":"root.erofs","ro":true,"root":true}],
 *    "net":[{"tap":"tap0","mac":"02:00:00:00:00:01","mtu":1400,"queues":2}, {"passt":true}],
 *    "serial":true, "boot-report":"json"}
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "vmm/run_args.h"

#define CONFIG_MAX (1u << 20)

struct key {
	const char *name;
	json_type type; /* of a list: of each of its objects' members */
	enum run_opt opt;
	bool list;
};

static const struct key keys[] = {
    {"kernel", json_type_string, RUN_OPT_KERNEL, false},
    {"initrd", json_type_string, RUN_OPT_INITRD, false},
    {"append", json_type_string, RUN_OPT_APPEND, false},
    {"restore", json_type_string, RUN_OPT_RESTORE, false},
    {"cpus", json_type_int, RUN_OPT_CPUS, false},
    {"memory", json_type_string, RUN_OPT_MEMORY, false},
    {"memory-max", json_type_string, RUN_OPT_MEMORY_MAX, false},
    {"balloon", json_type_boolean, RUN_OPT_BALLOON, false},
    {"spare-disk", json_type_int, RUN_OPT_SPARE_DISK, false},
    {"control", json_type_string, RUN_OPT_CONTROL, false},
    {"hw", json_type_string, RUN_OPT_HW, false},
    {"disk", json_type_object, RUN_OPT_DISK, true},
    {"share", json_type_object, RUN_OPT_SHARE, true},
    {"pmem", json_type_object, RUN_OPT_PMEM, true},
    {"net", json_type_object, RUN_OPT_NET, true},
    {"console", json_type_string, RUN_OPT_CONSOLE, false},
    {"serial", json_type_boolean, RUN_OPT_SERIAL, false},
    {"boot-report", json_type_string, RUN_OPT_REPORT, false},
    {"name", json_type_string, RUN_OPT_NAME, false},
};

static const char *type_text(json_type t)
{
	switch (t) {
	case json_type_string:
		return "a string";
	case json_type_int:
		return "a whole number";
	case json_type_boolean:
		return "true or false";
	case json_type_object:
		return "an object";
	case json_type_array:
		return "an array";
	case json_type_double:
		return "a number";
	case json_type_null:
		break;
	}
	return "null";
}

static int wrong_type(struct json_object *v, json_type want, const char *key, struct err *e)
{
	return err_set(e, -EINVAL, "%s: expected %s, got %s", key, type_text(want),
		       type_text(json_object_get_type(v)));
}

/* A path or word with a NUL in it would silently be a shorter one. */
static int check_string(struct json_object *v, const char *key, struct err *e)
{
	if (strlen(json_object_get_string(v)) == (size_t)json_object_get_string_len(v))
		return 0;
	return err_set(e, -EINVAL, "%s: a NUL character in the string", key);
}

/*
 * The members of one list item: what each may be is what it has a place for. A NULL name ends a table.
 */
struct member {
	const char *name;
	const char **str;
	bool *flag;
	bool required;
	unsigned *num, min, max;
};

static int read_member(const struct member *m, struct json_object *v, const char *path,
		       struct err *e)
{
	json_type t = json_object_get_type(v);
	int64_t n;

	if (m->flag && t == json_type_boolean) {
		*m->flag = json_object_get_boolean(v);
		return 0;
	}
	if (m->str && t == json_type_string) {
		*m->str = json_object_get_string(v);
		return check_string(v, path, e);
	}
	if (!m->num || t != json_type_int)
		return wrong_type(v,
				  m->num   ? json_type_int
				  : m->str ? json_type_string
					   : json_type_boolean,
				  path, e);
	n = json_object_get_int64(v);
	if (n < m->min || n > m->max)
		return err_set(e, -EINVAL, "%s: %lld is not from %u to %u", path, (long long)n,
			       m->min, m->max);
	*m->num = (unsigned)n;
	return 0;
}

static int read_item(struct json_object *o, const struct member *m, const char *what, struct err *e)
{
	struct json_object *v;
	char path[96];

	if (!json_object_is_type(o, json_type_object))
		return wrong_type(o, json_type_object, what, e);
	json_object_object_foreach(o, name, val)
	{
		unsigned i = 0;

		while (m[i].name && strcmp(m[i].name, name) != 0)
			i++;
		if (!m[i].name)
			return err_set(e, -EINVAL, "%s: unknown key '%.64s'", what, name);
		(void)snprintf(path, sizeof(path), "%s.%s", what, name);
		if (read_member(&m[i], val, path, e) < 0)
			return -EINVAL;
	}
	for (; m->name; m++)
		if (m->required && (!json_object_object_get_ex(o, m->name, &v) || !**m->str))
			return err_set(e, -EINVAL, "%s: '%s' is missing", what, m->name);
	return 0;
}

static int check_net(const struct run_net *n, const char *what, struct err *e)
{
	if ((n->tap && n->tap[0]) == (n->passt != NULL))
		return err_set(e, -EINVAL, "%s: it takes either 'tap' or 'passt'", what);
	if (n->passt && n->queues > 1)
		return err_set(e, -EINVAL, "%s: passt has one queue", what);
	return 0;
}

static int add_item(struct run_config *cfg, enum run_opt opt, struct json_object *o,
		    const char *what, struct err *e)
{
	struct run_disk d = {0};
	struct run_share s = {0};
	struct run_pmem p = {0};
	struct run_net n = {0};
	const char *part = NULL;
	bool passt = false;
	const struct member disk[] = {{.name = "file", .str = &d.path, .required = true},
				      {.name = "ro", .flag = &d.readonly},
				      {.name = "direct", .flag = &d.direct},
				      {.name = "spare", .flag = &d.spare},
				      {.name = "serial", .str = &d.serial},
				      {0}};
	const struct member share[] = {{.name = "dir", .str = &s.path, .required = true},
				       {.name = "tag", .str = &s.tag, .required = true},
				       {.name = "ro", .flag = &s.readonly},
				       {0}};
	const struct member pmem[] = {{.name = "file", .str = &p.path, .required = true},
				      {.name = "ro", .flag = &p.readonly},
				      {.name = "root", .str = &part, .flag = &p.root},
				      {0}};
	const char *mac = NULL;
	const struct member net[] = {
	    {.name = "tap", .str = &n.tap},
	    {.name = "passt", .str = &n.passt, .flag = &passt},
	    {.name = "mac", .str = &mac},
	    {.name = "mtu", .num = &n.mtu, .min = RUN_MTU_MIN, .max = UINT16_MAX},
	    {.name = "queues", .num = &n.queues, .min = 1, .max = RUN_NET_QUEUES_MAX},
	    {0}};
	int rc;

	switch (opt) {
	case RUN_OPT_DISK:
		rc = read_item(o, disk, what, e);
		if (rc == 0)
			cfg->disk[cfg->disk_cnt++] = d;
		return rc;
	case RUN_OPT_SHARE:
		rc = read_item(o, share, what, e);
		if (rc == 0)
			cfg->share[cfg->share_cnt++] = s;
		return rc;
	case RUN_OPT_PMEM:
		rc = read_item(o, pmem, what, e);
		if (rc == 0 && part && run_parse_part(part, &p.part) < 0)
			return err_set(e, -EINVAL, "%s.root: '%s' is not p1 to p%u", what, part,
				       RUN_PARTS_MAX);
		p.root = p.root || part;
		if (rc == 0)
			cfg->pmem[cfg->pmem_cnt++] = p;
		return rc;
	default:
		rc = read_item(o, net, what, e);
		if (rc == 0 && mac && run_parse_mac(mac, n.mac) < 0)
			return err_set(e, -EINVAL, "%s.mac: '%s' is not a unicast MAC address",
				       what, mac);
		n.has_mac = mac != NULL;
		if (rc == 0 && passt && !n.passt)
			n.passt = "";
		if (rc == 0)
			rc = check_net(&n, what, e);
		if (rc == 0)
			cfg->net[cfg->net_cnt++] = n;
		return rc;
	}
}

static int add_list(struct run_config *cfg, const struct key *k, struct json_object *v,
		    struct err *e)
{
	size_t n;

	if (!json_object_is_type(v, json_type_array))
		return wrong_type(v, json_type_array, k->name, e);
	n = json_object_array_length(v);
	if (n > RUN_DEVS_MAX)
		return err_set(e, -ENOSPC, "%s: more than %u", k->name, RUN_DEVS_MAX);
	for (size_t i = 0; i < n; i++) {
		char what[48];
		int rc;

		(void)snprintf(what, sizeof(what), "%s[%zu]", k->name, i);
		rc = add_item(cfg, k->opt, json_object_array_get_idx(v, i), what, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int set_scalar(struct run_config *cfg, const struct key *k, struct json_object *v,
		      struct err *e)
{
	char number[32];

	/* true, false or "json" */
	if (k->opt == RUN_OPT_REPORT && json_object_is_type(v, json_type_boolean))
		return json_object_get_boolean(v) ? run_set(cfg, k->opt, NULL, e) : 0;
	if (!json_object_is_type(v, k->type))
		return wrong_type(v, k->type, k->name, e);
	if (k->type == json_type_boolean)
		return json_object_get_boolean(v) ? run_set(cfg, k->opt, NULL, e) : 0;
	if (k->type == json_type_int) {
		(void)snprintf(number, sizeof(number), "%lld", (long long)json_object_get_int64(v));
		return run_set(cfg, k->opt, number, e);
	}
	if (check_string(v, k->name, e) < 0)
		return -EINVAL;
	/* run_set() keeps it, and changes only the arguments of lists. */
	return run_set(cfg, k->opt, (char *)(uintptr_t)json_object_get_string(v), e);
}

static int read_object(struct run_config *cfg, struct json_object *o, struct err *e)
{
	if (!json_object_is_type(o, json_type_object))
		return err_set(e, -EINVAL, "expected an object, got %s",
			       type_text(json_object_get_type(o)));
	json_object_object_foreach(o, name, val)
	{
		unsigned i = 0;
		int rc;

		while (i < ARRAY_LEN(keys) && strcmp(keys[i].name, name) != 0)
			i++;
		if (i == ARRAY_LEN(keys))
			return err_set(e, -EINVAL, "unknown key '%.64s'", name);
		rc = keys[i].list ? add_list(cfg, &keys[i], val, e)
				  : set_scalar(cfg, &keys[i], val, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int parse_text(const char *text, size_t len, struct json_object **ret, struct err *e)
{
	struct json_tokener *t = json_tokener_new();
	struct json_object *o;
	enum json_tokener_error rc;
	size_t at;

	if (!t)
		return err_set(e, -ENOMEM, "out of memory");
	json_tokener_set_flags(t, JSON_TOKENER_STRICT);
	o = json_tokener_parse_ex(t, text, (int)len + 1); /* with the NUL: a number may end there */
	rc = json_tokener_get_error(t);
	at = json_tokener_get_parse_end(t);
	json_tokener_free(t);
	if (rc == json_tokener_success && strlen(text) == len) {
		*ret = o;
		return 0;
	}
	json_object_put(o);
	if (rc == json_tokener_success || rc == json_tokener_continue ||
	    rc == json_tokener_error_parse_eof)
		return err_set(e, -EINVAL, "not JSON: it ends too early");
	return err_set(e, -EINVAL, "not JSON: %s at byte %zu", json_tokener_error_desc(rc), at);
}

int run_parse_config(struct run_config *cfg, const char *text, size_t len, struct err *e)
{
	struct json_object *o = NULL;
	int rc;

	if (cfg->kept)
		return err_set(e, -EINVAL, "there can be only one");
	rc = parse_text(text, len, &o, e);
	cfg->kept = o; /* what was set so far points into it, on failure too */
	return rc < 0 ? rc : read_object(cfg, o, e);
}

int run_read_config(struct run_config *cfg, const char *path, struct err *e)
{
	auto_free char *text = NULL;
	size_t len;
	int rc = fd_read_file(AT_FDCWD, path, CONFIG_MAX, &text, &len);

	if (rc < 0)
		return err_sys(e, rc, "config '%s'", path);
	rc = run_parse_config(cfg, text, len, e);
	return rc < 0 ? err_wrap(e, "config '%s'", path) : 0;
}

void run_forget_config(struct run_config *cfg)
{
	json_object_put(cfg->kept);
	cfg->kept = NULL;
}
