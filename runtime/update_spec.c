/* SPDX-License-Identifier: Apache-2.0 */
/* See update_spec.h. */
#include "runtime/update_spec.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"
#include "runtime/res_rules.h"

static const struct json_rule rules[] = {
    RES_RULES_MEMORY,
    {"memory.kernel", JSON_I64, false},
    {"memory.kernelTCP", JSON_I64, false},
    {"memory.checkBeforeUpdate", JSON_BOOL, false},
    RES_RULES_CPU,
    RES_RULES_PIDS,
    {"hugepageLimits", JSON_OBJS, false},
    {"hugepageLimits[].pageSize", JSON_STR, true},
    {"hugepageLimits[].limit", JSON_U64, true},
    {"blockIO", JSON_OBJ, false},
    {"blockIO.weight", JSON_U32, false},
    {"unified", JSON_MAP, false},
};

/* ---- from flags ------------------------------------------------------------------------------ */

int update_bytes(const char *text, int64_t *ret)
{
	static const char units[] = "kmgt";
	unsigned long long v;
	const char *unit;
	char *end;

	if (!strcmp(text, "-1")) {
		*ret = -1;
		return 0;
	}
	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	/* "64m", "64mb", "64MiB" are the same. */
	unit = *end ? strchr(units, *end | 0x20) : NULL;
	if (unit) {
		for (const char *u = units; u <= unit; u++)
			if (__builtin_mul_overflow(v, 1024ull, &v))
				return -ERANGE;
		end++;
		if (*end == 'i' || *end == 'I')
			end++;
	}
	if (*end == 'b' || *end == 'B')
		end++;
	if (*end)
		return -EINVAL;
	if (v > INT64_MAX)
		return -ERANGE;
	*ret = (int64_t)v;
	return 0;
}

static struct json_object *section(struct json_object *o, const char *name)
{
	struct json_object *s = NULL;

	if (name && !json_object_object_get_ex(o, name, &s)) {
		s = json_object_new_object();
		(void)json_object_object_add(o, name, s);
	}
	return name ? s : o;
}

static int add_bytes(struct json_object *o, const char *key, const char *flag, const char *text,
		     struct err *e)
{
	int64_t v = 0;
	int rc = text ? update_bytes(text, &v) : 0;

	if (rc < 0)
		return err_set(e, rc, "update: option --%s: '%s' is not a size", flag, text);
	if (text)
		json_add_i64(section(o, "memory"), key, v);
	return 0;
}

static int add_number(struct json_object *o, const char *sect, const char *key, const char *flag,
		      const char *text, int64_t min, struct err *e)
{
	long long v;
	char *end;

	if (!text)
		return 0;
	errno = 0;
	v = strtoll(text, &end, 10);
	if (!*text || *end || errno || v < min)
		return err_set(e, -EINVAL, "update: option --%s: '%s' is not a number from %lld on",
			       flag, text, (long long)min);
	json_add_i64(section(o, sect), key, v);
	return 0;
}

/* What cgroup v2 does not have: runc says so for some and ignores the others by name. */
static int check_flags(const struct update_flags *f, struct err *e)
{
	if (f->l3_cache_schema && *f->l3_cache_schema)
		return err_set(e, -ENOTSUP,
			       "update: --l3-cache-schema: the guest has no Intel RDT");
	if (f->mem_bw_schema && *f->mem_bw_schema)
		return err_set(e, -ENOTSUP, "update: --mem-bw-schema: the guest has no Intel RDT");
	if ((f->cpu_rt_period && strcmp(f->cpu_rt_period, "0") != 0) ||
	    (f->cpu_rt_runtime && strcmp(f->cpu_rt_runtime, "0") != 0))
		return err_set(e, -ENOTSUP,
			       "update: --cpu-rt-period, --cpu-rt-runtime: cgroup v2 has no such "
			       "limits");
	if (f->kernel_memory || f->kernel_memory_tcp)
		log_warn(
		    "update: --kernel-memory and --kernel-memory-tcp change nothing: cgroup v2 "
		    "has no such limits");
	return 0;
}

int update_from_flags(const struct update_flags *f, struct json_object **ret, struct err *e)
{
	auto_json o = json_object_new_object();
	int rc = check_flags(f, e);

	rc = rc ? rc : add_bytes(o, "limit", "memory", f->memory, e);
	rc = rc ? rc : add_bytes(o, "reservation", "memory-reservation", f->memory_reservation, e);
	rc = rc ? rc : add_bytes(o, "swap", "memory-swap", f->memory_swap, e);
	rc = rc ? rc : add_number(o, "cpu", "period", "cpu-period", f->cpu_period, 0, e);
	rc = rc ? rc : add_number(o, "cpu", "quota", "cpu-quota", f->cpu_quota, -1, e);
	rc = rc ? rc : add_number(o, "cpu", "shares", "cpu-share", f->cpu_share, 0, e);
	rc = rc ? rc : add_number(o, "cpu", "burst", "cpu-burst", f->cpu_burst, 0, e);
	rc = rc ? rc : add_number(o, "cpu", "idle", "cpu-idle", f->cpu_idle, 0, e);
	rc = rc ? rc : add_number(o, "blockIO", "weight", "blkio-weight", f->blkio_weight, 0, e);
	rc = rc ? rc : add_number(o, "pids", "limit", "pids-limit", f->pids_limit, -1, e);
	if (rc < 0)
		return rc;
	if (f->cpuset_cpus && *f->cpuset_cpus)
		json_add_str(section(o, "cpu"), "cpus", f->cpuset_cpus);
	if (f->cpuset_mems && *f->cpuset_mems)
		json_add_str(section(o, "cpu"), "mems", f->cpuset_mems);
	rc = json_check(o, "update", rules, ARRAY_LEN(rules), e);
	if (rc == 0)
		*ret = json_object_get(o);
	return rc;
}

int update_from_text(const char *text, size_t len, struct json_object **ret, struct err *e)
{
	auto_json o = NULL;
	int rc = json_parse(text, len, "resources", &o, e);

	if (rc == 0)
		rc = json_check(o, "resources", rules, ARRAY_LEN(rules), e);
	if (rc < 0)
		return rc;
	if (json_i64(o, "cpu.realtimeRuntime", 0) || json_i64(o, "cpu.realtimePeriod", 0))
		return err_set(
		    e, -ENOTSUP,
		    "resources: cpu.realtimeRuntime, cpu.realtimePeriod: cgroup v2 has no "
		    "such limits");
	*ret = json_object_get(o);
	return 0;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* Is it there, and does it say anything? cpu.idle and cpu.burst may be taken back with 0. */
static bool says_something(const char *key, struct json_object *v)
{
	if (!v)
		return false;
	if (json_object_is_type(v, json_type_int))
		return json_object_get_int64(v) != 0 || !strcmp(key, "idle") ||
		       !strcmp(key, "burst");
	if (json_object_is_type(v, json_type_string))
		return *json_object_get_string(v) != '\0';
	return true;
}

/* What @from says goes into @to. */
static void take_over(struct json_object *to, struct json_object *from)
{
	json_object_object_foreach(from, key, v)
	{
		if (says_something(key, v))
			(void)json_object_object_add(to, key, json_object_get(v));
	}
}

static void add_half(struct json_object *changed, struct json_object *all, const char *key,
		     const char *half)
{
	struct json_object *v;

	if (!json_at(changed, key) || json_at(changed, half))
		return;
	v = json_at(all, half);
	if (v)
		(void)json_object_object_add(changed, half, json_object_get(v));
}

static const char *const sections[] = {"memory", "cpu", "pids", "blockIO", "unified"};

/* Limits of huge pages are a list: one of the same size takes the other's place. */
static void merge_hugepages(struct json_object *all, struct json_object *change)
{
	struct json_object *list = json_at(all, "hugepageLimits"), *to = json_object_new_array();
	size_t n = json_len(change, "hugepageLimits");
	struct json_object *more = json_at(change, "hugepageLimits");

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *old = json_object_array_get_idx(list, i);
		bool replaced = false;

		for (size_t k = 0; k < n; k++)
			replaced |=
			    !strcmp(json_str(old, "pageSize", ""),
				    json_str(json_object_array_get_idx(more, k), "pageSize", ""));
		if (!replaced)
			(void)json_object_array_add(to, json_object_get(old));
	}
	for (size_t k = 0; k < n; k++)
		(void)json_object_array_add(to,
					    json_object_get(json_object_array_get_idx(more, k)));
	(void)json_object_object_add(all, "hugepageLimits", to);
}

int update_merge(struct json_object *now, struct json_object *change, struct json_object **ret_all,
		 struct json_object **ret_changed, struct err *e)
{
	auto_json changed = json_object_new_object();
	auto_json all = NULL;

	if (!now)
		all = json_object_new_object();
	else if (json_object_deep_copy(now, &all, NULL) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
		struct json_object *from = json_at(change, sections[i]), *to;

		if (!from)
			continue;
		to = json_object_new_object();
		take_over(to, from);
		if (json_object_object_length(to)) {
			(void)json_object_object_add(changed, sections[i], to);
			take_over(section(all, sections[i]), to);
		} else {
			(void)json_object_put(to);
		}
	}
	if (json_len(change, "hugepageLimits")) {
		(void)json_object_object_add(changed, "hugepageLimits",
					     json_object_get(json_at(change, "hugepageLimits")));
		merge_hugepages(all, change);
	}
	add_half(json_at(changed, "cpu"), json_at(all, "cpu"), "quota", "period");
	add_half(json_at(changed, "cpu"), json_at(all, "cpu"), "period", "quota");
	add_half(json_at(changed, "memory"), json_at(all, "memory"), "swap", "limit");
	*ret_all = json_object_get(all);
	*ret_changed = json_object_get(changed);
	return 0;
}
