/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of a sandbox process on the host. See cglimits.h. */
#include "runtime/cglimits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "runtime/res_rules.h"

#define WHAT "linux.resources"

static const struct json_rule rules[] = {
    RES_RULES_MEMORY,
    RES_RULES_CPU,
    RES_RULES_PIDS,
    {"blockIO", JSON_OBJ, false},
    {"blockIO.weight", JSON_U32, false},
    {"blockIO.leafWeight", JSON_U32, false},
    {"blockIO.weightDevice", JSON_OBJS, false},
    {"blockIO.weightDevice[].major", JSON_U32, true},
    {"blockIO.weightDevice[].minor", JSON_U32, true},
    {"blockIO.weightDevice[].weight", JSON_U32, false},
    {"blockIO.weightDevice[].leafWeight", JSON_U32, false},
    {"blockIO.throttleReadBpsDevice", JSON_OBJS, false},
    {"blockIO.throttleReadBpsDevice[].major", JSON_U32, true},
    {"blockIO.throttleReadBpsDevice[].minor", JSON_U32, true},
    {"blockIO.throttleReadBpsDevice[].rate", JSON_U64, true},
    {"blockIO.throttleWriteBpsDevice", JSON_OBJS, false},
    {"blockIO.throttleWriteBpsDevice[].major", JSON_U32, true},
    {"blockIO.throttleWriteBpsDevice[].minor", JSON_U32, true},
    {"blockIO.throttleWriteBpsDevice[].rate", JSON_U64, true},
    {"blockIO.throttleReadIOPSDevice", JSON_OBJS, false},
    {"blockIO.throttleReadIOPSDevice[].major", JSON_U32, true},
    {"blockIO.throttleReadIOPSDevice[].minor", JSON_U32, true},
    {"blockIO.throttleReadIOPSDevice[].rate", JSON_U64, true},
    {"blockIO.throttleWriteIOPSDevice", JSON_OBJS, false},
    {"blockIO.throttleWriteIOPSDevice[].major", JSON_U32, true},
    {"blockIO.throttleWriteIOPSDevice[].minor", JSON_U32, true},
    {"blockIO.throttleWriteIOPSDevice[].rate", JSON_U64, true},
    {"network", JSON_OBJ, false},
    {"network.classID", JSON_U32, false},
    {"network.priorities", JSON_OBJS, false},
    {"network.priorities[].name", JSON_STR, true},
    {"network.priorities[].priority", JSON_U32, true},
    {"unified", JSON_MAP, false},
};

uint64_t cglimits_weight_of_shares(uint64_t shares)
{
	shares = MIN(MAX(shares, 2), 262144);
	return 1 + (shares - 2) * 9999 / 262142;
}

uint64_t cglimits_weight_of_blkio(uint64_t weight)
{
	weight = MIN(MAX(weight, 10), 1000);
	return 1 + (weight - 10) * 9999 / 990;
}

/* A sum that stays what it means: beyond the type is no limit. Both not negative. */
static int64_t plus(int64_t v, uint64_t add)
{
	int64_t sum;

	if (v == CGLIMITS_NONE || add > INT64_MAX || __builtin_add_overflow(v, (int64_t)add, &sum))
		return CGLIMITS_NONE;
	return sum;
}

/* What a guest of @memory bytes needs on the host. */
static int64_t with_overhead(int64_t memory, const struct sizing *size)
{
	if (memory == CGLIMITS_NONE)
		return memory;
	return plus(plus(memory, (uint64_t)CGLIMITS_TABLES(memory)), size->host);
}

/* 0 = not given, negative = without a limit. */
static int64_t limit_at(struct json_object *o, const char *path)
{
	int64_t v = json_i64(o, path, 0);

	return v < 0 ? CGLIMITS_NONE : v;
}

static int memory_of(struct cglimits *l, struct json_object *res, const struct sizing *size,
		     struct err *e)
{
	int64_t limit = limit_at(res, "memory.limit"), swap = limit_at(res, "memory.swap");

	if (limit == CGLIMITS_NONE)
		l->memory = CGLIMITS_NONE;
	else if (limit)
		l->memory = with_overhead((int64_t)MIN(size->memory, (uint64_t)INT64_MAX), size);
	l->low = limit_at(res, "memory.reservation");
	if (!swap)
		return 0;
	/* In the spec it is memory and swap together. */
	if (swap != CGLIMITS_NONE && (!limit || limit == CGLIMITS_NONE))
		return err_set(e, -EINVAL, WHAT ".memory.swap: needs a memory.limit");
	if (swap < limit)
		return err_set(e, -EINVAL, WHAT ".memory.swap: below memory.limit");
	l->has_swap = true;
	l->swap = swap == CGLIMITS_NONE ? swap : swap - limit;
	return 0;
}

static int cpu_of(struct cglimits *l, struct json_object *res, struct err *e)
{
	l->shares = (uint64_t)MAX(json_i64(res, "cpu.shares", 0), 0);
	if (l->shares) {
		l->shares = MIN(MAX(l->shares, 2), 262144);
		l->weight = cglimits_weight_of_shares(l->shares);
	}
	l->quota = limit_at(res, "cpu.quota");
	l->period = (uint64_t)json_i64(res, "cpu.period", 0);
	if (l->period > 1000000)
		return err_set(e, -EINVAL, WHAT ".cpu.period: more than 1000000 microseconds");
	l->burst = (uint64_t)MIN(json_i64(res, "cpu.burst", 0), INT64_MAX - 1);
	l->idle = json_i64(res, "cpu.idle", -1);
	if (l->idle < -1 || l->idle > 1)
		return err_set(e, -EINVAL, WHAT ".cpu.idle: neither 0 nor 1");
	l->cpus = json_str(res, "cpu.cpus", "");
	l->mems = json_str(res, "cpu.mems", "");
	if (!*l->cpus)
		l->cpus = NULL;
	if (!*l->mems)
		l->mems = NULL;
	return 0;
}

static int list_of(const char *list, const char *name, struct err *e)
{
	unsigned n;

	if (!list || sizing_cpu_list(list, &n) == 0)
		return 0;
	return err_set(e, -EINVAL, WHAT ".cpu.%s: '%.64s' is no list of numbers", name, list);
}

/* "max" or a number, as the files of v2 take it. */
static int unified_number(const char *text, int64_t *ret)
{
	int64_t v = 0;

	if (!strcmp(text, "max")) {
		*ret = CGLIMITS_NONE;
		return 0;
	}
	if (!*text)
		return -EINVAL;
	for (; *text; text++)
		if (*text < '0' || *text > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, *text - '0', &v))
			return -EINVAL;
	*ret = v;
	return 0;
}

/* Keys that the VMM's own needs change; the others of the host are written as they are. */
static int unified_of(struct cglimits *l, struct json_object *res, const struct sizing *size,
		      struct err *e)
{
	struct json_object *u = json_at(res, "unified");
	int64_t v;

	if (!u)
		return 0;
	l->unified = u;
	json_object_object_foreach(u, key, val)
	{
		const char *text = json_object_get_string(val);
		bool memory = !strncmp(key, "memory.", 7), pids = !strcmp(key, "pids.max");

		if (!*key || strchr(key, '/') || !strncmp(key, "cgroup.", 7) || !strchr(key, '.'))
			return err_set(e, -EINVAL, WHAT ".unified: '%.64s' is no limit's name",
				       key);
		if (!memory && !pids)
			continue;
		if (unified_number(text, &v) < 0)
			return err_set(e, -EINVAL, WHAT ".unified.%.32s: '%.32s' is no number", key,
				       text);
		if (pids)
			l->pids = plus(v, CGLIMITS_VMM_TASKS + size->cpus);
		else if (!strcmp(key, "memory.max"))
			l->memory = with_overhead(plus(v, size->guest), size);
		else if (!strcmp(key, "memory.high"))
			l->high = with_overhead(plus(v, size->guest), size);
		else if (!strcmp(key, "memory.low"))
			l->low = v;
		else if (!strcmp(key, "memory.swap.max")) {
			l->swap = v;
			l->has_swap = true;
		}
	}
	return 0;
}

static int blkio_of(struct cglimits *l, struct json_object *res, struct err *e)
{
	struct json_object *devices = json_at(res, "blockIO.weightDevice");
	int64_t leaf = json_i64(res, "blockIO.leafWeight", 0);

	for (size_t i = 0; devices && i < json_object_array_length(devices); i++)
		leaf |= json_i64(json_object_array_get_idx(devices, i), "leafWeight", 0);
	if (leaf)
		return err_set(e, -ENOTSUP, WHAT ".blockIO: leafWeight: Linux has none since 5.0");
	l->blkio = json_at(res, "blockIO");
	l->blkio_weight = (uint64_t)json_i64(res, "blockIO.weight", 0);
	if (l->blkio_weight && (l->blkio_weight < 10 || l->blkio_weight > 1000))
		return err_set(e, -EINVAL, WHAT ".blockIO.weight: not from 10 to 1000");
	if (l->blkio_weight)
		l->io_weight = cglimits_weight_of_blkio(l->blkio_weight);
	return 0;
}

int cglimits_of(struct cglimits *ret, struct json_object *res, const struct sizing *size,
		struct err *e)
{
	int64_t pids;
	int rc;

	*ret = (struct cglimits){.idle = -1};
	if (!res)
		return 0;
	rc = json_check(res, WHAT, rules, ARRAY_LEN(rules), e);
	if (rc == 0)
		rc = memory_of(ret, res, size, e);
	if (rc == 0)
		rc = cpu_of(ret, res, e);
	if (rc == 0)
		rc = list_of(ret->cpus, "cpus", e);
	if (rc == 0)
		rc = list_of(ret->mems, "mems", e);
	if (rc == 0)
		rc = blkio_of(ret, res, e);
	if (rc < 0)
		return rc;
	pids = limit_at(res, "pids.limit");
	if (pids)
		ret->pids = plus(pids, CGLIMITS_VMM_TASKS + size->cpus);
	ret->network = json_at(res, "network");
	ret->classid = (uint64_t)json_i64(res, "network.classID", 0);
	return unified_of(ret, res, size, e);
}

/* ---- files ----------------------------------------------------------------------------------- */

struct out {
	cglimits_put put;
	void *ctx;
	int rc; /* the first failure: nothing follows it */
};

static void text_out(struct out *o, const char *file, const char *text)
{
	if (o->rc == 0)
		o->rc = o->put(o->ctx, file, text);
}

static void number_out(struct out *o, const char *file, int64_t v, const char *none)
{
	char text[32];

	if (v == CGLIMITS_NONE)
		(void)snprintf(text, sizeof(text), "%s", none);
	else
		(void)snprintf(text, sizeof(text), "%lld", (long long)v);
	text_out(o, file, text);
}

/* A limit of one block device: v2 has all kinds in one file. */
static void throttles_out(struct out *o, const struct cglimits *l, const char *list,
			  const char *v1_file, const char *v2_word)
{
	struct json_object *a = json_at(l->blkio, list);

	for (size_t i = 0; a && i < json_object_array_length(a); i++) {
		struct json_object *d = json_object_array_get_idx(a, i);
		unsigned long long rate = json_object_get_uint64(json_object_object_get(d, "rate"));
		char text[96], value[32] = "max";
		unsigned major = (unsigned)json_i64(d, "major", 0),
			 minor = (unsigned)json_i64(d, "minor", 0);

		if (v2_word) {
			if (rate)
				(void)snprintf(value, sizeof(value), "%llu", rate);
			(void)snprintf(text, sizeof(text), "%u:%u %s=%s", major, minor, v2_word,
				       value);
			text_out(o, "io.max", text);
		} else {
			(void)snprintf(text, sizeof(text), "%u:%u %llu", major, minor, rate);
			text_out(o, v1_file, text);
		}
	}
}

static void blkio_out(struct out *o, const struct cglimits *l, bool v2)
{
	struct json_object *a = json_at(l->blkio, "weightDevice");

	for (size_t i = 0; a && i < json_object_array_length(a); i++) {
		struct json_object *d = json_object_array_get_idx(a, i);
		unsigned long long w = (unsigned long long)json_i64(d, "weight", 0);
		char text[64];

		if (!w)
			continue;
		(void)snprintf(text, sizeof(text), "%u:%u %llu", (unsigned)json_i64(d, "major", 0),
			       (unsigned)json_i64(d, "minor", 0),
			       v2 ? (unsigned long long)cglimits_weight_of_blkio(w) : w);
		text_out(o, v2 ? "io.weight" : "blkio.weight_device", text);
	}
	throttles_out(o, l, "throttleReadBpsDevice", "blkio.throttle.read_bps_device",
		      v2 ? "rbps" : NULL);
	throttles_out(o, l, "throttleWriteBpsDevice", "blkio.throttle.write_bps_device",
		      v2 ? "wbps" : NULL);
	throttles_out(o, l, "throttleReadIOPSDevice", "blkio.throttle.read_iops_device",
		      v2 ? "riops" : NULL);
	throttles_out(o, l, "throttleWriteIOPSDevice", "blkio.throttle.write_iops_device",
		      v2 ? "wiops" : NULL);
}

static void files_v2(struct out *o, const struct cglimits *l)
{
	char text[64], quota[32] = "max";

	if (l->cpus)
		text_out(o, "cpuset.cpus", l->cpus);
	if (l->mems)
		text_out(o, "cpuset.mems", l->mems);
	if (l->low)
		number_out(o, "memory.low", l->low, "max");
	if (l->high)
		number_out(o, "memory.high", l->high, "max");
	if (l->memory)
		number_out(o, "memory.max", l->memory, "max");
	if (l->has_swap)
		number_out(o, "memory.swap.max", l->swap, "max");
	if (l->weight)
		number_out(o, "cpu.weight", (int64_t)l->weight, "");
	if (l->idle >= 0)
		number_out(o, "cpu.idle", l->idle, "");
	if (l->quota || l->period) {
		if (l->quota && l->quota != CGLIMITS_NONE)
			(void)snprintf(quota, sizeof(quota), "%lld", (long long)l->quota);
		(void)snprintf(text, sizeof(text), "%s %llu", quota,
			       (unsigned long long)(l->period ? l->period : 100000));
		text_out(o, "cpu.max", text);
	}
	if (l->burst)
		number_out(o, "cpu.max.burst", (int64_t)l->burst, "");
	if (l->pids)
		number_out(o, "pids.max", l->pids, "max");
	if (l->io_weight)
		number_out(o, "io.weight", (int64_t)l->io_weight, "");
	blkio_out(o, l, true);
	if (!l->unified)
		return;
	json_object_object_foreach(l->unified, key, val)
	{
		/* Huge pages are the guest's own; memory and pids came above. */
		if (!strncmp(key, "cpu.", 4) || !strncmp(key, "cpuset.", 7) ||
		    !strncmp(key, "io.", 3))
			text_out(o, key, json_object_get_string(val));
	}
}

static void files_v1(struct out *o, const struct cglimits *l)
{
	struct json_object *prios = json_at(l->network, "priorities");

	if (l->cpus)
		text_out(o, "cpuset.cpus", l->cpus);
	if (l->mems)
		text_out(o, "cpuset.mems", l->mems);
	/* Memory may not be above memory and swap: raised, the sum goes first (cgroup.c tries). */
	if (l->memory)
		number_out(o, "memory.limit_in_bytes", l->memory, "-1");
	if (l->has_swap)
		number_out(o, "memory.memsw.limit_in_bytes",
			   l->swap == CGLIMITS_NONE ? l->swap : plus(l->memory, (uint64_t)l->swap),
			   "-1");
	if (l->low)
		number_out(o, "memory.soft_limit_in_bytes", l->low, "-1");
	if (l->shares)
		number_out(o, "cpu.shares", (int64_t)l->shares, "");
	if (l->idle >= 0)
		number_out(o, "cpu.idle", l->idle, "");
	if (l->period)
		number_out(o, "cpu.cfs_period_us", (int64_t)l->period, "");
	if (l->quota)
		number_out(o, "cpu.cfs_quota_us", l->quota, "-1");
	if (l->burst)
		number_out(o, "cpu.cfs_burst_us", (int64_t)l->burst, "");
	if (l->pids)
		number_out(o, "pids.max", l->pids, "max");
	if (l->blkio_weight)
		number_out(o, "blkio.weight", (int64_t)l->blkio_weight, "");
	blkio_out(o, l, false);
	if (l->classid)
		number_out(o, "net_cls.classid", (int64_t)l->classid, "");
	for (size_t i = 0; prios && i < json_object_array_length(prios); i++) {
		struct json_object *p = json_object_array_get_idx(prios, i);
		char text[64];

		(void)snprintf(text, sizeof(text), "%.15s %u", json_str(p, "name", ""),
			       (unsigned)json_i64(p, "priority", 0));
		text_out(o, "net_prio.ifpriomap", text);
	}
}

int cglimits_files(const struct cglimits *l, unsigned version, cglimits_put put, void *ctx)
{
	struct out o = {.put = put, .ctx = ctx};

	if (version == 1)
		files_v1(&o, l);
	else
		files_v2(&o, l);
	return o.rc;
}
