/* SPDX-License-Identifier: Apache-2.0 */
/* What `husk update`, `events` and `ps` make of words, documents and the guest's answers. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "runtime/events_json.h"
#include "runtime/pstable.h"
#include "runtime/update_spec.h"

static struct err e;

static struct json_object *parse(const char *text)
{
	struct json_object *o = NULL;

	e = (struct err){0};
	cr_assert_eq(json_parse(text, strlen(text), "test", &o, &e), 0, "%s: %s", text, e.msg);
	return o;
}

static void expect(struct json_object *o, const char *want)
{
	cr_expect_str_eq(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), want);
}

/* ---- update ------------------------------------------------------------------------------------ */

Test(update, bytes)
{
	static const struct {
		const char *text;
		int64_t want;
	} good[] = {{"0", 0},
		    {"1", 1},
		    {"-1", -1},
		    {"64m", 64 << 20},
		    {"64M", 64 << 20},
		    {"64mb", 64 << 20},
		    {"64MiB", 64 << 20},
		    {"1k", 1024},
		    {"2g", 2ll << 30},
		    {"3t", 3ll << 40},
		    {"7b", 7},
		    {"9223372036854775807", INT64_MAX}};
	static const char *const bad[] = {"",	"m",	"-2",	"-1m", "1x", "1mm", "1 m",
					  " 1", "0x10", "1.5g", "1e3", "+1", "1mbx"};
	static const char *const large[] = {"9223372036854775808", "18446744073709551616",
					    "8388608t", "99999999999g", "17179869184g"};
	int64_t v;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		v = 42;
		cr_expect_eq(update_bytes(good[i].text, &v), 0, "%s", good[i].text);
		cr_expect_eq(v, good[i].want, "%s: %lld", good[i].text, (long long)v);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_expect_eq(update_bytes(bad[i], &v), -EINVAL, "%s", bad[i]);
	for (size_t i = 0; i < ARRAY_LEN(large); i++)
		cr_expect_eq(update_bytes(large[i], &v), -ERANGE, "%s", large[i]);
}

Test(update, flags)
{
	const struct update_flags f = {.memory = "64m",
				       .memory_swap = "-1",
				       .cpu_period = "20000",
				       .cpu_quota = "-1",
				       .cpu_share = "512",
				       .cpu_idle = "0",
				       .cpuset_cpus = "0-1",
				       .cpuset_mems = "",
				       .blkio_weight = "300",
				       .pids_limit = "7"};
	auto_json o = NULL;

	cr_assert_eq(update_from_flags(&f, &o, &e), 0, "%s", e.msg);
	expect(
	    o,
	    "{\"memory\":{\"limit\":67108864,\"swap\":-1},\"cpu\":{\"period\":20000,\"quota\":-1,"
	    "\"shares\":512,\"idle\":0,\"cpus\":\"0-1\"},\"blockIO\":{\"weight\":300},"
	    "\"pids\":{\"limit\":7}}");
}

Test(update, flag_refusals)
{
	static const struct {
		struct update_flags f;
		const char *why;
	} bad[] = {{{.memory = "x"}, "--memory: 'x'"},
		   {{.memory_swap = "-5"}, "--memory-swap"},
		   {{.cpu_period = "-1"}, "--cpu-period"},
		   {{.cpu_quota = "-2"}, "--cpu-quota"},
		   {{.cpu_quota = "5k"}, "--cpu-quota"},
		   {{.cpu_share = ""}, "--cpu-share"},
		   {{.pids_limit = "99999999999999999999"}, "--pids-limit"},
		   {{.blkio_weight = "4294967296"}, "blockIO.weight"},
		   {{.cpu_rt_runtime = "5"}, "cgroup v2"},
		   {{.l3_cache_schema = "x"}, "RDT"},
		   {{.mem_bw_schema = "x"}, "RDT"}};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct json_object *o = NULL;

		e = (struct err){0};
		cr_expect_lt(update_from_flags(&bad[i].f, &o, &e), 0, "%s", bad[i].why);
		cr_expect(strstr(e.msg, bad[i].why), "'%s' says nothing of '%s'", e.msg,
			  bad[i].why);
	}
}

Test(update, text_refusals)
{
	static const struct {
		const char *text, *why;
	} bad[] = {{"", "JSON"},
		   {"[]", "object"},
		   {"{\"memory\":5}", "memory"},
		   {"{\"memory\":{\"limit\":\"64m\"}}", "memory.limit"},
		   {"{\"memory\":{\"limit\":1.5}}", "memory.limit"},
		   {"{\"cpu\":{\"shares\":-1}}", "cpu.shares"},
		   {"{\"cpu\":{\"cpus\":3}}", "cpu.cpus"},
		   {"{\"pids\":[]}", "pids"},
		   {"{\"hugepageLimits\":[{\"limit\":5}]}", "pageSize"},
		   {"{\"unified\":{\"memory.high\":5}}", "unified"},
		   {"{\"cpu\":{\"realtimeRuntime\":5}}", "realtimeRuntime"}};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct json_object *o = NULL;

		e = (struct err){0};
		cr_expect_lt(update_from_text(bad[i].text, strlen(bad[i].text), &o, &e), 0, "%s",
			     bad[i].text);
		cr_expect(strstr(e.msg, bad[i].why), "%s: '%s'", bad[i].text, e.msg);
	}
}

static void merge(const char *now, const char *change, const char *all, const char *changed)
{
	auto_json n = now ? parse(now) : NULL;
	auto_json c = parse(change);
	auto_json ret_all = NULL;
	auto_json ret_changed = NULL;

	cr_assert_eq(update_merge(n, c, &ret_all, &ret_changed, &e), 0, "%s", e.msg);
	expect(ret_all, all);
	expect(ret_changed, changed);
	if (now)
		expect(n, now); /* untouched */
}

Test(update, merge)
{
	merge(NULL, "{\"pids\":{\"limit\":5}}", "{\"pids\":{\"limit\":5}}",
	      "{\"pids\":{\"limit\":5}}");
	/* 0 says nothing, as engines send it, but where it takes something back. */
	merge("{\"memory\":{\"limit\":7}}",
	      "{\"memory\":{\"limit\":0,\"swap\":0},\"cpu\":{\"shares\":0,\"cpus\":\"\",\"idle\":0,"
	      "\"burst\":0},\"pids\":{\"limit\":0}}",
	      "{\"memory\":{\"limit\":7},\"cpu\":{\"idle\":0,\"burst\":0}}",
	      "{\"cpu\":{\"idle\":0,\"burst\":0}}");
	/* Halves of pairs. */
	merge("{\"cpu\":{\"quota\":50000,\"period\":80000}}", "{\"cpu\":{\"quota\":20000}}",
	      "{\"cpu\":{\"quota\":20000,\"period\":80000}}",
	      "{\"cpu\":{\"quota\":20000,\"period\":80000}}");
	merge("{\"cpu\":{\"quota\":50000}}", "{\"cpu\":{\"period\":20000}}",
	      "{\"cpu\":{\"quota\":50000,\"period\":20000}}",
	      "{\"cpu\":{\"period\":20000,\"quota\":50000}}");
	merge("{\"memory\":{\"limit\":7,\"swap\":9}}", "{\"memory\":{\"swap\":20}}",
	      "{\"memory\":{\"limit\":7,\"swap\":20}}", "{\"memory\":{\"swap\":20,\"limit\":7}}");
	merge("{\"memory\":{\"limit\":7,\"swap\":9}}", "{\"memory\":{\"limit\":8}}",
	      "{\"memory\":{\"limit\":8,\"swap\":9}}", "{\"memory\":{\"limit\":8}}");
	/* Device rules and what is unknown stay. */
	merge("{\"devices\":[{\"allow\":false}]}",
	      "{\"devices\":[{\"allow\":true}],\"new\":1,\"unified\":{\"a.b\":\"1\"}}",
	      "{\"devices\":[{\"allow\":false}],\"unified\":{\"a.b\":\"1\"}}",
	      "{\"unified\":{\"a.b\":\"1\"}}");
	merge("{\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":1},{\"pageSize\":\"1GB\","
	      "\"limit\":"
	      "2}]}",
	      "{\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":3}]}",
	      "{\"hugepageLimits\":[{\"pageSize\":\"1GB\",\"limit\":2},{\"pageSize\":\"2MB\","
	      "\"limit\":"
	      "3}]}",
	      "{\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":3}]}");
	merge("{}", "{\"memory\":null,\"cpu\":{}}", "{}", "{}");
}

/* ---- events ------------------------------------------------------------------------------------ */

Test(events, interval)
{
	static const struct {
		const char *text;
		uint64_t want;
	} good[] = {{"5s", 5 * NS_PER_SEC},
		    {"500ms", 500 * NS_PER_MS},
		    {"1m30s", 90 * NS_PER_SEC},
		    {"1.5s", 1500 * NS_PER_MS},
		    {"2h", 7200 * NS_PER_SEC},
		    {"1ns", 1},
		    {"10us", 10000}};
	static const char *const bad[] = {"",
					  "5",
					  "s",
					  "-5s",
					  "0s",
					  "5 s",
					  "5sec",
					  "1.s.",
					  "9999999999999h",
					  "99999999999999999999s",
					  "5s5",
					  "0.0s"};
	uint64_t ns;

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		cr_expect_eq(events_interval(good[i].text, &ns, &e), 0, "%s", good[i].text);
		cr_expect_eq(ns, good[i].want, "%s: %llu", good[i].text, (unsigned long long)ns);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_expect_lt(events_interval(bad[i], &ns, &e), 0, "%s", bad[i]);
}

Test(events, stats)
{
	auto_json f = parse(
	    "{\"cpu\":{\"usage_usec\":30,\"user_usec\":20,\"system_usec\":10,\"nr_periods\":4,"
	    "\"nr_throttled\":3,\"throttled_usec\":2},\"memory\":{\"current\":100,\"max\":1000,"
	    "\"peak\":200,\"swap_current\":5,\"swap_max\":50,\"stat\":{\"anon\":60,\"file\":40},"
	    "\"events\":{\"max\":9,\"oom_kill\":1}},\"pids\":{\"current\":3,\"max\":10},\"io\":[{"
	    "\"major\":8,\"minor\":1,\"rbytes\":11,\"wbytes\":12,\"rios\":13,\"wios\":14}],"
	    "\"hugetlb\":{\"2MB\":{\"current\":2,\"max\":4,\"failed\":1},\"1GB\":{\"current\":0}},"
	    "\"network\":[{\"name\":\"eth0\",\"rx_bytes\":1,\"rx_packets\":2,\"rx_errors\":3,"
	    "\"rx_dropped\":4,\"tx_bytes\":5,\"tx_packets\":6,\"tx_errors\":7,\"tx_dropped\":8}]}");
	auto_json o = events_stats("c1", f);

	expect(
	    o,
	    "{\"type\":\"stats\",\"id\":\"c1\",\"data\":{\"cpu\":{\"usage\":{\"total\":30000,"
	    "\"kernel\":10000,\"user\":20000},\"throttling\":{\"periods\":4,\"throttledPeriods\":3,"
	    "\"throttledTime\":2000}},\"memory\":{\"cache\":40,\"usage\":{\"limit\":1000,\"usage\":"
	    "100,\"max\":200,\"failcnt\":9},\"swap\":{\"limit\":1050,\"usage\":105,\"failcnt\":0},"
	    "\"raw\":{\"anon\":60,\"file\":40}},\"pids\":{\"current\":3,\"limit\":10},\"blkio\":{"
	    "\"ioServiceBytesRecursive\":[{\"major\":8,\"minor\":1,\"op\":\"Read\",\"value\":11},{"
	    "\"major\":8,\"minor\":1,\"op\":\"Write\",\"value\":12}],\"ioServicedRecursive\":[{"
	    "\"major\":8,\"minor\":1,\"op\":\"Read\",\"value\":13},{\"major\":8,\"minor\":1,\"op\":"
	    "\"Write\",\"value\":14}]},\"hugetlb\":{\"2MB\":{\"usage\":2,\"max\":4,\"failcnt\":1},"
	    "\"1GB\":{\"usage\":0,\"failcnt\":0}},\"network_interfaces\":[{\"Name\":\"eth0\","
	    "\"RxBytes\":1,\"RxPackets\":2,\"RxErrors\":3,\"RxDropped\":4,\"TxBytes\":5,"
	    "\"TxPackets\":6,\"TxErrors\":7,\"TxDropped\":8}]}}");
}

/* The guest may say anything: no figure is wrong in the way of a crash or a wrap. */
Test(events, hostile_stats)
{
	auto_json f = parse(
	    "{\"cpu\":{\"usage_usec\":18446744073709551615,\"user_usec\":-5,\"system_usec\":\"x\"},"
	    "\"memory\":{\"current\":18446744073709551615,\"swap_current\":5,\"stat\":[1]},"
	    "\"pids\":7,\"io\":[5,{}],\"hugetlb\":[],\"network\":[{\"name\":5},null]}");
	auto_json o = events_stats("c1", f);
	auto_json oom = events_oom("c1");

	cr_expect_eq(json_object_get_uint64(json_at(o, "data.cpu.usage.total")), UINT64_MAX);
	cr_expect_eq(json_i64(o, "data.cpu.usage.user", 1), 0);
	cr_expect_eq(json_i64(o, "data.cpu.usage.kernel", 1), 0);
	cr_expect_eq(json_object_get_uint64(json_at(o, "data.memory.usage.limit")), UINT64_MAX);
	cr_expect_eq(json_object_get_uint64(json_at(o, "data.memory.swap.usage")), UINT64_MAX);
	cr_expect_eq(json_object_get_uint64(json_at(o, "data.memory.swap.limit")), UINT64_MAX);
	cr_expect_null(json_at(o, "data.memory.raw"));
	cr_expect_eq(json_i64(o, "data.pids.current", 1), 0);
	cr_expect_eq(json_len(o, "data.network_interfaces"), 2);
	expect(oom, "{\"type\":\"oom\",\"id\":\"c1\"}");
}

/* ---- ps ---------------------------------------------------------------------------------------- */

static const char processes[] =
    "{\"processes\":[{\"pid\":1,\"ppid\":0,\"uid\":0,\"gid\":0,\"state\":\"S\",\"tty\":\"pts/0\","
    "\"start\":1000000000,\"time_ms\":3723000,\"vsz_kb\":1000,\"rss_kb\":256,\"nice\":0,"
    "\"threads\":1,"
    "\"comm\":\"sh\",\"cmdline\":\"sh -c x\"},{\"pid\":1234567,\"ppid\":1,\"uid\":1000,\"gid\":100,"
    "\"state\":\"R\",\"tty\":\"?\",\"start\":1000086400,\"time_ms\":0,\"vsz_kb\":0,\"rss_kb\":0,"
    "\"nice\":-5,\"threads\":3,\"comm\":\"evil\\u001b[2J\",\"cmdline\":\"\"}],\"now\":1000090000,"
    "\"memory_kb\":1024}";

static int table(const char *const *words, const char *answer, char *out, size_t cap)
{
	auto_json o = parse(answer);
	struct pstable t = {0};
	char *argv[8];
	size_t n = 0;
	FILE *f;
	int rc;

	for (; words[n]; n++)
		argv[n] = (char *)(uintptr_t)words[n];
	e = (struct err){0};
	rc = pstable_parse(&t, argv, n, &e);
	if (rc < 0)
		return rc;
	memset(out, 0, cap);
	f = fmemopen(out, cap - 1, "w");
	cr_assert_not_null(f);
	rc = pstable_print(&t, o, f, &e);
	(void)fclose(f);
	return rc;
}

Test(ps, full)
{
	char out[1024];

	cr_assert_eq(table((const char *[]){NULL}, processes, out, sizeof(out)), 0, "%s", e.msg);
	cr_expect_str_eq(out, "UID      PID PPID C STIME TTY       TIME CMD\n"
			      "root       1    0 4 Sep09 pts/0 01:02:03 sh -c x\n"
			      "1000 1234567    1 0 01:46 ?     00:00:00 [evil?[2J]\n");
	cr_assert_eq(table((const char *[]){"-ef", NULL}, processes, out, sizeof(out)), 0);
	cr_expect(strstr(out, "UID      PID PPID"));
}

Test(ps, user)
{
	char out[1024];

	cr_assert_eq(table((const char *[]){"aux", NULL}, processes, out, sizeof(out)), 0, "%s",
		     e.msg);
	cr_expect_str_eq(out,
			 "USER     PID %CPU %MEM  VSZ RSS TTY   STAT START  TIME COMMAND\n"
			 "root       1  4.1 25.0 1000 256 pts/0 S    Sep09 62:03 sh -c x\n"
			 "1000 1234567  0.0  0.0    0   0 ?     R    01:46  0:00 [evil?[2J]\n");
}

Test(ps, columns)
{
	char out[1024];

	cr_assert_eq(table((const char *[]){"-eo", "pid,comm", "-o", "ni", NULL}, processes, out,
			   sizeof(out)),
		     0, "%s", e.msg);
	cr_expect_str_eq(out, "    PID COMMAND  NI\n      1 sh        0\n1234567 evil?[2J -5\n");
	cr_assert_eq(table((const char *[]){"-opid", NULL}, processes, out, sizeof(out)), 0);
	cr_expect_str_eq(out, "    PID\n      1\n1234567\n");
}

Test(ps, refusals)
{
	static const char *const bad[][3] = {
	    {"-Z", NULL},	   {"-o", NULL}, {"-o", "pid,", NULL}, {"-o", "nothing", NULL},
	    {"-o", "", NULL},	   {"-", NULL},	 {"1", NULL},	       {"-p", "1", NULL},
	    {"-o", " pid ", NULL}, {"", NULL}};
	static const char many[] = "pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,"
				   "pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid,pid";
	char out[1024];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_expect_lt(table(bad[i], processes, out, sizeof(out)), 0, "%s", bad[i][0]);
	cr_expect_lt(table((const char *[]){"-o", many, NULL}, processes, out, sizeof(out)), 0);
	cr_expect(strstr(e.msg, "more than"));
	cr_expect_lt(table((const char *[]){NULL}, "{}", out, sizeof(out)), 0);
	cr_expect_lt(table((const char *[]){NULL}, "{\"processes\":{}}", out, sizeof(out)), 0);
	/* What is no process is an empty row, and no crash. */
	cr_expect_eq(table((const char *[]){NULL}, "{\"processes\":[5,null,{\"pid\":\"x\"}]}", out,
			   sizeof(out)),
		     0);
}
