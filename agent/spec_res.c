/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json: linux.resources as files of cgroup v2 and their values, and device rules. The
 * numbers were made for cgroup v1; the translations are those that runc and crun use. See spec.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/spec.h"

#define SHARES_MIN 2
#define SHARES_MAX 262144

static int add_limit(struct spec *s, const char *file, int64_t v)
{
	return v < 0 ? gspec_writes_add(&s->cgroup, file, "max")
		     : gspec_writes_add(&s->cgroup, file, "%" PRId64, v);
}

static int parse_memory(struct json_object *o, struct spec *s, struct err *e)
{
	static const char *const refused[] = {"kernel", "kernelTCP", "swappiness"};
	int64_t limit = 0, swap = 0, low = 0;
	bool no_oom = false;
	int rc = js_int(o, "limit", -1, INT64_MAX, &limit, e);

	rc = rc ? rc : js_int(o, "swap", -1, INT64_MAX, &swap, e);
	rc = rc ? rc : js_int(o, "reservation", -1, INT64_MAX, &low, e);
	rc = rc ? rc : js_bool(o, "disableOOMKiller", &no_oom, e);
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(refused); i++) {
		int64_t v = 0;

		rc = js_int(o, refused[i], -1, INT64_MAX, &v, e);
		if (rc == 0 && v > 0)
			rc = err_set(e, -EOPNOTSUPP, "memory.%s: cgroup v2 has no such limit",
				     refused[i]);
	}
	if (rc < 0)
		return rc;
	if (no_oom)
		return err_set(e, -EOPNOTSUPP, "memory.disableOOMKiller: cgroup v2 cannot do it");
	/* swap is memory and swap together. */
	if (swap > 0 && limit <= 0)
		return err_set(e, -EINVAL, "memory.swap: needs memory.limit");
	if (swap > 0 && swap < limit)
		return err_set(e, -EINVAL, "memory.swap: below memory.limit");
	if (limit)
		rc = add_limit(s, "memory.max", limit);
	if (rc == 0 && swap)
		rc = add_limit(s, "memory.swap.max", swap < 0 ? -1 : swap - limit);
	if (rc == 0 && low)
		rc = add_limit(s, "memory.low", low);
	return rc < 0 ? err_sys(e, rc, "memory") : 0;
}

static int cpu_max(struct spec *s, int64_t quota, int64_t period)
{
	char p[24] = "";

	if (period)
		(void)snprintf(p, sizeof(p), " %" PRId64, period);
	return quota > 0 ? gspec_writes_add(&s->cgroup, "cpu.max", "%" PRId64 "%s", quota, p)
			 : gspec_writes_add(&s->cgroup, "cpu.max", "max%s", p);
}

static int parse_cpu(struct json_object *o, struct spec *s, struct err *e)
{
	int64_t shares = 0, quota = 0, period = 0, burst = 0, idle = 0, rt = 0;
	int rc = js_int(o, "shares", 0, INT64_MAX, &shares, e);

	rc = rc ? rc : js_int(o, "quota", -1, INT64_MAX, &quota, e);
	rc = rc ? rc : js_int(o, "period", 0, INT64_MAX, &period, e);
	rc = rc ? rc : js_int(o, "burst", 0, INT64_MAX, &burst, e);
	rc = rc ? rc : js_int(o, "idle", 0, 1, &idle, e);
	rc = rc ? rc : js_int(o, "realtimeRuntime", 0, INT64_MAX, &rt, e);
	if (rc == 0 && rt)
		rc = err_set(e, -EOPNOTSUPP, "cpu.realtimeRuntime: cgroup v2 has no such limit");
	if (rc < 0)
		return rc;
	if (shares) {
		shares = MAX(SHARES_MIN, MIN(SHARES_MAX, shares));
		rc = gspec_writes_add(&s->cgroup, "cpu.weight", "%" PRId64,
				      1 + (shares - SHARES_MIN) * 9999 / (SHARES_MAX - SHARES_MIN));
	}
	/* Without a period it stays what it is: 100 ms in a new cgroup. */
	if (rc == 0 && (quota || period))
		rc = cpu_max(s, quota, period);
	if (rc == 0 && js_has(o, "burst"))
		rc = add_limit(s, "cpu.max.burst", burst);
	if (rc == 0 && js_has(o, "idle"))
		rc = add_limit(s, "cpu.idle", idle);
	return rc < 0 ? err_sys(e, rc, "cpu") : 0;
}

static bool is_file_name(const char *s)
{
	return s[0] && s[0] != '.' && !strchr(s, '/');
}

static int parse_hugepages(struct json_object *arr, struct spec *s, struct err *e)
{
	for (size_t i = 0; i < js_len(arr); i++) {
		struct json_object *o = NULL;
		const char *size = "";
		uint64_t limit = 0;
		char file[64];
		int rc = js_at_obj(arr, i, "hugepageLimits", &o, e);

		rc = rc ? rc : js_str(o, "pageSize", &size, e);
		rc = rc ? rc : js_u64(o, "limit", &limit, e);
		if (rc < 0)
			return rc;
		if (!is_file_name(size) || strlen(size) > 16)
			return err_set(e, -EINVAL, "hugepageLimits: page size '%s'", size);
		(void)snprintf(file, sizeof(file), "hugetlb.%s.max", size);
		rc = gspec_writes_add(&s->cgroup, file, "%" PRIu64, limit);
		if (rc < 0)
			return err_sys(e, rc, "hugepageLimits");
	}
	return 0;
}

static int parse_unified(struct json_object *obj, struct spec *s, struct err *e)
{
	json_object_object_foreach(obj, key, v)
	{
		int rc;

		if (!json_object_is_type(v, json_type_string))
			return err_set(e, -EINVAL, "unified.%s: not a string", key);
		if (!is_file_name(key) || !strchr(key, '.') || strncmp(key, "cgroup.", 7) == 0)
			return err_set(e, -EINVAL, "unified: '%s' is not a controller's file", key);
		rc = gspec_writes_add(&s->cgroup, key, "%s", json_object_get_string(v));
		if (rc < 0)
			return err_sys(e, rc, "unified");
	}
	return 0;
}

int gspec_parse_access(const char *s, unsigned *ret, struct err *e)
{
	*ret = 0;
	for (const char *c = s; *c; c++) {
		if (*c == 'r')
			*ret |= BPF_DEVCG_ACC_READ;
		else if (*c == 'w')
			*ret |= BPF_DEVCG_ACC_WRITE;
		else if (*c == 'm')
			*ret |= BPF_DEVCG_ACC_MKNOD;
		else
			return err_set(e, -EINVAL, "devices: access '%s' is unknown", s);
	}
	return 0;
}

static int parse_devrule(struct json_object *o, struct spec_devrule *r, struct err *e)
{
	const char *type = "a", *access = "rwm";
	int rc = js_bool(o, "allow", &r->allow, e);

	r->major = r->minor = -1;
	rc = rc ? rc : js_str(o, "type", &type, e);
	rc = rc ? rc : js_str(o, "access", &access, e);
	rc = rc ? rc : js_int(o, "major", -1, 4095, &r->major, e);
	rc = rc ? rc : js_int(o, "minor", -1, 1048575, &r->minor, e);
	if (rc < 0)
		return rc;
	if (!type[0])
		type = "a";
	if (type[1] || !strchr("abc", type[0]))
		return err_set(e, -EINVAL, "devices: type '%s' is unknown", type);
	r->type = type[0];
	return gspec_parse_access(access[0] ? access : "rwm", &r->access, e);
}

static int parse_devrules(struct json_object *arr, struct spec *s, struct err *e)
{
	s->devrules_cnt = js_len(arr);
	s->devrules = calloc(s->devrules_cnt + 1, sizeof(*s->devrules));
	if (!s->devrules)
		return err_set(e, -ENOMEM, "devices: out of memory");
	for (size_t i = 0; i < s->devrules_cnt; i++) {
		struct json_object *o = NULL;
		int rc = js_at_obj(arr, i, "devices", &o, e);

		rc = rc ? rc : parse_devrule(o, &s->devrules[i], e);
		if (rc < 0)
			return rc;
	}
	return 0;
}

int gspec_parse_resources(struct json_object *res, struct spec *s, struct err *e)
{
	struct json_object *mem = NULL, *cpu = NULL, *pids = NULL, *huge = NULL, *uni = NULL,
			   *dev = NULL;
	int64_t limit = 0;
	int rc = js_obj(res, "memory", &mem, e);

	rc = rc ? rc : js_obj(res, "cpu", &cpu, e);
	rc = rc ? rc : js_obj(res, "pids", &pids, e);
	rc = rc ? rc : js_arr(res, "hugepageLimits", &huge, e);
	rc = rc ? rc : js_obj(res, "unified", &uni, e);
	rc = rc ? rc : js_arr(res, "devices", &dev, e);
	if (rc == 0 && mem)
		rc = parse_memory(mem, s, e);
	if (rc == 0 && cpu)
		rc = parse_cpu(cpu, s, e);
	if (rc == 0 && pids) {
		rc = js_int(pids, "limit", -1, INT64_MAX, &limit, e);
		if (rc == 0 && limit)
			rc = add_limit(s, "pids.max", limit);
	}
	rc = rc ? rc : parse_hugepages(huge, s, e);
	rc = rc ? rc : parse_devrules(dev, s, e);
	if (rc == 0 && uni)
		rc = parse_unified(uni, s, e);
	return rc < 0 ? err_wrap(e, "resources") : 0;
}
