/* SPDX-License-Identifier: Apache-2.0 */
/* See events_json.h. */
#include "runtime/events_json.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/compiler.h"

static uint64_t number(struct json_object *o, const char *path, uint64_t def)
{
	struct json_object *v = json_at(o, path);

	if (!json_object_is_type(v, json_type_int))
		return def;
	return json_object_get_int64(v) < 0 ? 0 : json_object_get_uint64(v);
}

static void put(struct json_object *to, const char *key, uint64_t v)
{
	(void)json_object_object_add(to, key, json_object_new_uint64(v));
}

static void put_ns(struct json_object *to, const char *key, uint64_t us)
{
	uint64_t ns;

	put(to, key, __builtin_mul_overflow(us, NS_PER_US, &ns) ? UINT64_MAX : ns);
}

static struct json_object *member(struct json_object *to, const char *key, struct json_object *v)
{
	(void)json_object_object_add(to, key, v);
	return v;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	uint64_t v;

	return __builtin_add_overflow(a, b, &v) ? UINT64_MAX : v;
}

static void add_cpu(struct json_object *data, struct json_object *f)
{
	struct json_object *cpu = member(data, "cpu", json_object_new_object()), *o;

	o = member(cpu, "usage", json_object_new_object());
	put_ns(o, "total", number(f, "cpu.usage_usec", 0));
	put_ns(o, "kernel", number(f, "cpu.system_usec", 0));
	put_ns(o, "user", number(f, "cpu.user_usec", 0));
	o = member(cpu, "throttling", json_object_new_object());
	put(o, "periods", number(f, "cpu.nr_periods", 0));
	put(o, "throttledPeriods", number(f, "cpu.nr_throttled", 0));
	put_ns(o, "throttledTime", number(f, "cpu.throttled_usec", 0));
}

static void add_entry(struct json_object *mem, const char *key, uint64_t limit, uint64_t usage,
		      uint64_t max, uint64_t failed)
{
	struct json_object *o = member(mem, key, json_object_new_object());

	put(o, "limit", limit);
	put(o, "usage", usage);
	if (max)
		put(o, "max", max);
	put(o, "failcnt", failed);
}

static void add_memory(struct json_object *data, struct json_object *f)
{
	struct json_object *mem = member(data, "memory", json_object_new_object());
	struct json_object *raw = json_at(f, "memory.stat");
	uint64_t usage = number(f, "memory.current", 0);
	uint64_t limit = number(f, "memory.max", UINT64_MAX);

	put(mem, "cache", number(f, "memory.stat.file", 0));
	add_entry(mem, "usage", limit, usage, number(f, "memory.peak", 0),
		  number(f, "memory.events.max", 0));
	/* As cgroup v1 counts: memory and swap together. */
	add_entry(mem, "swap", sum(limit, number(f, "memory.swap_max", UINT64_MAX)),
		  sum(usage, number(f, "memory.swap_current", 0)), 0, 0);
	if (json_object_is_type(raw, json_type_object))
		(void)member(mem, "raw", json_object_get(raw));
}

static void add_io(struct json_object *to, struct json_object *one, const char *key, const char *op)
{
	struct json_object *o = json_object_new_object();

	put(o, "major", number(one, "major", 0));
	put(o, "minor", number(one, "minor", 0));
	json_add_str(o, "op", op);
	put(o, "value", number(one, key, 0));
	(void)json_object_array_add(to, o);
}

static void add_blkio(struct json_object *data, struct json_object *f)
{
	struct json_object *io = member(data, "blkio", json_object_new_object()), *bytes, *ops;
	struct json_object *all = json_at(f, "io");
	size_t cnt = json_len(f, "io");

	if (!cnt)
		return;
	bytes = member(io, "ioServiceBytesRecursive", json_object_new_array());
	ops = member(io, "ioServicedRecursive", json_object_new_array());
	for (size_t i = 0; i < cnt; i++) {
		struct json_object *one = json_object_array_get_idx(all, i);

		add_io(bytes, one, "rbytes", "Read");
		add_io(bytes, one, "wbytes", "Write");
		add_io(ops, one, "rios", "Read");
		add_io(ops, one, "wios", "Write");
	}
}

static void add_hugetlb(struct json_object *data, struct json_object *f)
{
	struct json_object *to = member(data, "hugetlb", json_object_new_object());
	struct json_object *from = json_at(f, "hugetlb");

	if (!json_object_is_type(from, json_type_object))
		return;
	json_object_object_foreach(from, size, v)
	{
		struct json_object *o = member(to, size, json_object_new_object());

		put(o, "usage", number(v, "current", 0));
		if (json_at(v, "max"))
			put(o, "max", number(v, "max", 0));
		put(o, "failcnt", number(v, "failed", 0));
	}
}

static void add_networks(struct json_object *data, struct json_object *f)
{
	static const struct {
		const char *ours, *theirs;
	} keys[] = {{"rx_bytes", "RxBytes"},   {"rx_packets", "RxPackets"},
		    {"rx_errors", "RxErrors"}, {"rx_dropped", "RxDropped"},
		    {"tx_bytes", "TxBytes"},   {"tx_packets", "TxPackets"},
		    {"tx_errors", "TxErrors"}, {"tx_dropped", "TxDropped"}};
	struct json_object *to = member(data, "network_interfaces", json_object_new_array());
	struct json_object *all = json_at(f, "network");

	for (size_t i = 0; i < json_len(f, "network"); i++) {
		struct json_object *one = json_object_array_get_idx(all, i);
		struct json_object *o = json_object_new_object();

		json_add_str(o, "Name", json_str(one, "name", ""));
		for (size_t k = 0; k < ARRAY_LEN(keys); k++)
			put(o, keys[k].theirs, number(one, keys[k].ours, 0));
		(void)json_object_array_add(to, o);
	}
}

struct json_object *events_stats(const char *id, struct json_object *f)
{
	struct json_object *o = json_object_new_object(), *data, *pids;

	json_add_str(o, "type", "stats");
	json_add_str(o, "id", id);
	data = member(o, "data", json_object_new_object());
	add_cpu(data, f);
	add_memory(data, f);
	pids = member(data, "pids", json_object_new_object());
	put(pids, "current", number(f, "pids.current", 0));
	put(pids, "limit", number(f, "pids.max", 0));
	add_blkio(data, f);
	add_hugetlb(data, f);
	add_networks(data, f);
	return o;
}

struct json_object *events_oom(const char *id)
{
	struct json_object *o = json_object_new_object();

	json_add_str(o, "type", "oom");
	json_add_str(o, "id", id);
	return o;
}

/* ---- times ----------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	uint64_t ns;
} units[] = {{"ns", 1},		{"us", NS_PER_US},	{"ms", NS_PER_MS},
	     {"s", NS_PER_SEC}, {"m", 60 * NS_PER_SEC}, {"h", 3600 * NS_PER_SEC}};

/* "1.5s": the fraction of a unit counts up to its ninth digit. */
static int one_time(const char **p, uint64_t *sum_ns)
{
	uint64_t v = 0, frac = 0, scale = 1, part;
	const char *begin = *p;
	size_t n;

	for (; **p >= '0' && **p <= '9'; (*p)++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
			return -ERANGE;
	if (*p == begin)
		return -EINVAL;
	if (**p == '.')
		for ((*p)++; **p >= '0' && **p <= '9'; (*p)++)
			if (scale < NS_PER_SEC) {
				frac = frac * 10 + (uint64_t)(**p - '0');
				scale *= 10;
			}
	n = strcspn(*p, "0123456789.");
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		if (strlen(units[i].name) != n || strncmp(units[i].name, *p, n) != 0)
			continue;
		*p += n;
		part = (uint64_t)((double)frac / (double)scale * (double)units[i].ns);
		if (__builtin_mul_overflow(v, units[i].ns, &v) ||
		    __builtin_add_overflow(v, part, &v) ||
		    __builtin_add_overflow(*sum_ns, v, sum_ns))
			return -ERANGE;
		return 0;
	}
	return -EINVAL;
}

int events_interval(const char *text, uint64_t *ret_ns, struct err *e)
{
	const char *p = text;
	uint64_t ns = 0;
	int rc;

	do
		rc = one_time(&p, &ns);
	while (rc == 0 && *p);
	if (rc < 0 || ns == 0 || ns > INT64_MAX)
		return err_set(e, -EINVAL,
			       "events: option --interval: '%.40s' is not a time above 0, such as "
			       "500ms, 5s or 1m30s",
			       text);
	*ret_ns = ns;
	return 0;
}
