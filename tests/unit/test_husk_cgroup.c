/* SPDX-License-Identifier: Apache-2.0 */
/* Names of cgroups, the host's hierarchies, limits and the files they become. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "runtime/cgpath.h"
#include "runtime/cgroup.h"

#define MIB (UINT64_C(1) << 20)

/* ---- names ----------------------------------------------------------------------------------- */

static void path_is(const char *text, const char *want, bool relative)
{
	struct cgpath p;
	struct err e = {0};

	cr_assert(eq(int, cgpath_parse(&p, text, "id", false, &e), 0), "%s: %s", text, e.msg);
	cr_expect_str_eq(p.path, want);
	cr_expect(eq(int, p.relative, relative));
	cr_expect_str_eq(p.unit, "");
}

static void refused(const char *text, bool systemd, const char *why)
{
	struct cgpath p;
	struct err e = {0};

	cr_expect(lt(int, cgpath_parse(&p, text, "id", systemd, &e), 0), "%s", text);
	cr_expect(strncmp(e.msg, "linux.cgroupsPath: ", 19) == 0, "%s", e.msg);
	cr_expect(strstr(e.msg, why) != NULL, "%s: %s", text, e.msg);
}

Test(cgpath, cgroupfs)
{
	char longest[5000];

	path_is(NULL, "", false);
	path_is("/docker/abc", "/docker/abc", false);
	path_is("//a/./b//", "/a/b", false);
	path_is("a/b", "/a/b", true);
	path_is("/a:b/c", "/a:b/c", false);
	path_is("a..b/..c", "/a..b/..c", true);
	refused("/a/../b", false, "has '..' in it");
	refused("..", false, "has '..' in it");
	refused("/", false, "is the root cgroup");
	refused("/./", false, "is the root cgroup");
	refused("/a\nb", false, "not a path of cgroups");
	refused("system.slice:docker:abc", false, "has the form of systemd");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	refused(longest, false, "not a path of cgroups");
	for (size_t i = 0; i < sizeof(longest) - 1; i += 2)
		longest[i] = '/';
	refused(longest, false, "too long");
}

static void unit_is(const char *text, const char *slice, const char *unit, const char *path)
{
	struct cgpath p;
	struct err e = {0};

	cr_assert(eq(int, cgpath_parse(&p, text, "id.1", true, &e), 0), "%s", e.msg);
	cr_expect_str_eq(p.slice, slice);
	cr_expect_str_eq(p.unit, unit);
	cr_expect_str_eq(p.path, path);
	cr_expect(not(p.relative));
}

Test(cgpath, systemd)
{
	char text[700];

	unit_is(NULL, "system.slice", "husk-id.1.scope", "/system.slice/husk-id.1.scope");
	unit_is("system.slice:docker:abc", "system.slice", "docker-abc.scope",
		"/system.slice/docker-abc.scope");
	unit_is(":crio:abc", "system.slice", "crio-abc.scope", "/system.slice/crio-abc.scope");
	unit_is("machine.slice::abc", "machine.slice", "abc.scope", "/machine.slice/abc.scope");
	unit_is("-.slice:a:b", "-.slice", "a-b.scope", "/a-b.scope");
	unit_is("kubepods-besteffort-pod1.slice:cri-containerd:c", "kubepods-besteffort-pod1.slice",
		"cri-containerd-c.scope",
		"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/"
		"cri-containerd-c.scope");
	refused("/docker/abc", true, "has not the form slice:prefix:name");
	refused("a.slice:b", true, "has not the form");
	refused("a.slice:b/c:d", true, "has not the form");
	refused("a.slice:b:", true, "is not the name of a unit");
	refused("a.slice:b:c+d", true, "is not the name of a unit");
	refused("a.slice:b:c d", true, "is not the name of a unit");
	refused("a:b:c", true, "'a' is not the name of a slice");
	refused(".slice:b:c", true, "is not the name of a slice");
	refused("a-.slice:b:c", true, "is not the name of a slice");
	refused("-a.slice:b:c", true, "is not the name of a slice");
	refused("a--b.slice:b:c", true, "is not the name of a slice");
	(void)snprintf(text, sizeof(text), "a.slice:b:%0250d", 1);
	refused(text, true, "longer than 255");
	(void)snprintf(text, sizeof(text), "%0300d.slice:b:c", 1);
	refused(text, true, "slice's name is too long");
}

Test(cgpath, deep_slices_do_not_overflow)
{
	char name[256], dir[4096];
	struct err e = {0};
	size_t n = 0;

	while (n < 248) {
		name[n++] = 'a';
		name[n++] = '-';
	}
	(void)snprintf(name + n - 1, sizeof(name) - n + 1, ".slice");
	cr_expect(eq(int, cgpath_of_slice(name, dir, sizeof(dir), &e), -ENAMETOOLONG), "%s", e.msg);
}

static const char mounts_v1[] =
    "21 1 0:20 / /proc rw,nosuid - proc proc rw\n"
    "25 24 0:22 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
    "26 25 0:23 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw,nsdelegate\n"
    "27 25 0:24 / /sys/fs/cgroup/systemd rw shared:11 - cgroup cgroup rw,xattr,name=systemd\n"
    "30 25 0:27 /docker/me /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "31 25 0:28 / /sys/fs/cgroup/a\\040b rw - cgroup cgroup rw,memory\n"
    "32 25 0:28 / /elsewhere rw - cgroup cgroup rw,memory\n"
    "33 25 0:29 / /strange rw - cgroup cgroup rw,unheard\n"
    "junk\n"
    "34 25\n";
static const char own_v1[] = "9:memory:/m\n4:cpu,cpuacct:/docker/me/sub\n1:name=systemd:/init\n"
			     "0::/u/x\n";

Test(cgpath, hierarchies_of_v1)
{
	auto_free struct cgpath_host *h = malloc(sizeof(*h));
	struct cgpath p = {.path = "/c"};
	char dir[4096];

	cgpath_host_parse(h, mounts_v1, own_v1);
	cr_assert(eq(u32, h->version, 1));
	cr_assert(eq(u32, h->cnt, 4));
	cr_expect_str_eq(h->m[0].point, "/sys/fs/cgroup/unified");
	cr_expect_str_eq(h->m[0].controllers, "");
	cr_expect_str_eq(h->m[0].own, "/u/x");
	cr_expect_str_eq(h->m[1].controllers, "name=systemd");
	cr_expect_str_eq(h->m[1].own, "/init");
	cr_expect_str_eq(h->m[2].controllers, "cpu,cpuacct");
	cr_expect_str_eq(h->m[2].own, "/sub"); /* below what is mounted */
	cr_expect_str_eq(h->m[3].point, "/sys/fs/cgroup/a b");
	cr_expect_str_eq(h->m[3].own, "/m");
	cr_expect(eq(int, cgpath_dir(&p, &h->m[2], dir, sizeof(dir)), 0));
	cr_expect_str_eq(dir, "/sys/fs/cgroup/cpu,cpuacct/c");
	p.relative = true;
	cr_expect(eq(int, cgpath_dir(&p, &h->m[2], dir, sizeof(dir)), 0));
	cr_expect_str_eq(dir, "/sys/fs/cgroup/cpu,cpuacct/sub/c");
	/* v2: beside the caller, not below it. */
	cr_expect(eq(int, cgpath_dir(&p, &h->m[0], dir, sizeof(dir)), 0));
	cr_expect_str_eq(dir, "/sys/fs/cgroup/unified/u/c");
	cr_expect(eq(int, cgpath_dir(&p, &h->m[0], dir, 8), -ENAMETOOLONG));
}

Test(cgpath, hierarchy_of_v2)
{
	auto_free struct cgpath_host *h = malloc(sizeof(*h));
	struct cgpath p = {.path = "/c", .relative = true};
	char dir[4096];

	cgpath_host_parse(h, "", "");
	cr_expect(eq(u32, h->version, 0));
	cgpath_host_parse(h, "9 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "0::/");
	cr_assert(eq(u32, h->version, 2));
	cr_expect(eq(int, cgpath_dir(&p, &h->m[0], dir, sizeof(dir)), 0));
	cr_expect_str_eq(dir, "/sys/fs/cgroup/c");
	/* A named hierarchy of systemd alone does not make it v1. */
	cgpath_host_parse(h,
			  "9 1 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
			  "9 1 0:2 / /s rw - cgroup cgroup rw,name=x\n",
			  "0::/");
	cr_expect(eq(u32, h->version, 2));
}

/* ---- what is kept ---------------------------------------------------------------------------- */

static int load(struct cgroup *c, const char *text)
{
	struct json_object *o = json_tokener_parse(text);
	struct err e = {0};
	int rc = cgroup_from_json(c, o, &e);

	(void)json_object_put(o);
	return rc;
}

#define DIR(mount, path, keep)                                                                     \
	"{\"mount\":\"" mount "\",\"path\":\"" path "\",\"keep\":\"" keep "\",\"controllers\":"    \
	"\"\"}"

Test(cgroup, json_round_trip)
{
	struct json_object *o;
	struct cgroup c;

	cr_expect(eq(int, load(&c, "null"), 0));
	cr_expect(eq(u32, c.version, 0));
	cr_expect(cgroup_to_json(&c) == NULL);
	cr_assert(
	    eq(int,
	       load(&c, "{\"version\":2,\"unit\":\"u.scope\",\"slice\":\"s.slice\",\"dirs\":[" DIR(
			    "/c", "/c/a/b", "/c/a") "]}"),
	       0));
	cr_expect_str_eq(c.unit, "u.scope");
	cr_expect_str_eq(c.dir[0].path, "/c/a/b");
	o = cgroup_to_json(&c);
	cr_expect_str_eq(json_str(o, "slice", ""), "s.slice");
	cgroup_free(&c);
	cr_assert(eq(int, load(&c, json_object_to_json_string(o)), 0));
	cr_expect_str_eq(c.dir[0].keep, "/c/a");
	cgroup_free(&c);
	(void)json_object_put(o);
}

Test(cgroup, json_that_is_none_of_ours)
{
	struct cgroup c;

	cr_expect(eq(int, load(&c, "{}"), -EINVAL));
	cr_expect(
	    eq(int, load(&c, "{\"version\":3,\"dirs\":[" DIR("/c", "/c/a", "/c") "]}"), -EINVAL));
	cr_expect(eq(int, load(&c, "{\"version\":2,\"dirs\":[]}"), -EINVAL));
	/* Nothing outside of the hierarchy, and not the hierarchy itself. */
	cr_expect(
	    eq(int, load(&c, "{\"version\":2,\"dirs\":[" DIR("/c", "/d", "/c") "]}"), -EINVAL));
	cr_expect(
	    eq(int, load(&c, "{\"version\":2,\"dirs\":[" DIR("/c", "/c", "/c") "]}"), -EINVAL));
	cr_expect(
	    eq(int, load(&c, "{\"version\":2,\"dirs\":[" DIR("/c", "/cc/a", "/c") "]}"), -EINVAL));
	cr_expect(eq(int, load(&c, "{\"version\":2,\"dirs\":[" DIR("/c", "/c/../d", "/c") "]}"),
		     -EINVAL));
	cr_expect(
	    eq(int, load(&c, "{\"version\":2,\"dirs\":[" DIR("/c", "/c/a", "/") "]}"), -EINVAL));
	cr_expect(
	    eq(int, load(&c, "{\"version\":2,\"dirs\":[" DIR("c", "c/a", "c") "]}"), -EINVAL));
}

/* ---- limits ---------------------------------------------------------------------------------- */

static const struct sizing vm = {
    .memory = 128 * MIB, .guest = 64 * MIB, .host = 32 * MIB, .cpus = 2};

struct seen {
	char text[2048];
};

static int collect(void *ctx, const char *file, const char *text)
{
	struct seen *s = ctx;
	size_t n = strlen(s->text);

	(void)snprintf(s->text + n, sizeof(s->text) - n, "%s=%s;", file, text);
	return 0;
}

/* What the files of @version say for a text of linux.resources, or the error. */
static void files_are(unsigned version, const char *resources, const char *want)
{
	struct json_object *o = json_tokener_parse(resources);
	struct seen s = {""};
	struct cglimits l;
	struct err e = {0};

	cr_assert(o != NULL, "%s", resources);
	if (cglimits_of(&l, o, &vm, &e) == 0)
		cr_expect(eq(int, cglimits_files(&l, version, collect, &s), 0));
	else
		(void)snprintf(s.text, sizeof(s.text), "%s", e.msg);
	cr_expect_str_eq(s.text, want);
	(void)json_object_put(o);
}

Test(cglimits, memory)
{
	/* The VM's size and the overhead, not the container's limit. */
	files_are(2, "{\"memory\":{\"limit\":67108864}}", "memory.max=168820736;");
	files_are(1, "{\"memory\":{\"limit\":67108864}}", "memory.limit_in_bytes=168820736;");
	files_are(2, "{\"memory\":{\"limit\":-1}}", "memory.max=max;");
	files_are(1, "{\"memory\":{\"limit\":-1}}", "memory.limit_in_bytes=-1;");
	files_are(2, "{\"memory\":{\"limit\":0}}", "");
	files_are(2, "{}", "");
	files_are(2, "{\"memory\":{\"limit\":67108864,\"swap\":134217728,\"reservation\":1000}}",
		  "memory.low=1000;memory.max=168820736;memory.swap.max=67108864;");
	files_are(1, "{\"memory\":{\"limit\":67108864,\"swap\":134217728,\"reservation\":-1}}",
		  "memory.limit_in_bytes=168820736;memory.memsw.limit_in_bytes=235929600;"
		  "memory.soft_limit_in_bytes=-1;");
	files_are(2, "{\"memory\":{\"limit\":67108864,\"swap\":67108864}}",
		  "memory.max=168820736;memory.swap.max=0;");
	files_are(2, "{\"memory\":{\"limit\":67108864,\"swap\":-1}}",
		  "memory.max=168820736;memory.swap.max=max;");
	files_are(1, "{\"memory\":{\"limit\":67108864,\"swap\":-1}}",
		  "memory.limit_in_bytes=168820736;memory.memsw.limit_in_bytes=-1;");
	files_are(2, "{\"memory\":{\"swap\":1000}}",
		  "linux.resources.memory.swap: needs a memory.limit");
	files_are(2, "{\"memory\":{\"limit\":67108864,\"swap\":67108863}}",
		  "linux.resources.memory.swap: below memory.limit");
	files_are(2, "{\"memory\":{\"limit\":\"1\"}}",
		  "linux.resources: memory.limit: expected a whole number");
}

Test(cglimits, numbers_near_the_end)
{
	struct sizing huge = {.memory = UINT64_MAX, .host = UINT64_MAX, .cpus = 64};
	struct json_object *o = json_tokener_parse(
	    "{\"memory\":{\"limit\":9223372036854775807,\"swap\":9223372036854775807},"
	    "\"pids\":{\"limit\":9223372036854775807}}");
	struct cglimits l;
	struct err e = {0};

	cr_assert(eq(int, cglimits_of(&l, o, &huge, &e), 0), "%s", e.msg);
	cr_expect(eq(i64, l.memory, CGLIMITS_NONE));
	cr_expect(eq(i64, l.pids, CGLIMITS_NONE));
	(void)json_object_put(o);
	o = json_tokener_parse("{\"memory\":{\"limit\":9223372036854775806},\"pids\":{\"limit\":"
			       "9223372036854775806}}");
	cr_assert(eq(int, cglimits_of(&l, o, &huge, &e), 0), "%s", e.msg);
	cr_expect(eq(i64, l.memory, CGLIMITS_NONE));
	cr_expect(eq(i64, l.pids, CGLIMITS_NONE));
	(void)json_object_put(o);
	/* A guest of the largest size that has a number still has an overhead. */
	huge = (struct sizing){.memory = INT64_MAX / 2, .host = 9};
	o = json_tokener_parse("{\"memory\":{\"limit\":1}}");
	cr_assert(eq(int, cglimits_of(&l, o, &huge, &e), 0), "%s", e.msg);
	cr_expect(eq(i64, l.memory, INT64_MAX / 2 + INT64_MAX / 2 / 128 + 9));
	huge.memory = INT64_MAX - 10;
	cr_assert(eq(int, cglimits_of(&l, o, &huge, &e), 0), "%s", e.msg);
	cr_expect(eq(i64, l.memory, CGLIMITS_NONE));
	(void)json_object_put(o);
}

Test(cglimits, cpu_and_tasks)
{
	files_are(2, "{\"cpu\":{\"shares\":1024,\"quota\":50000,\"period\":100000}}",
		  "cpu.weight=39;cpu.max=50000 100000;");
	files_are(1, "{\"cpu\":{\"shares\":1024,\"quota\":50000,\"period\":100000}}",
		  "cpu.shares=1024;cpu.cfs_period_us=100000;cpu.cfs_quota_us=50000;");
	files_are(2, "{\"cpu\":{\"quota\":-1}}", "cpu.max=max 100000;");
	files_are(1, "{\"cpu\":{\"quota\":-1}}", "cpu.cfs_quota_us=-1;");
	files_are(2, "{\"cpu\":{\"quota\":20000}}", "cpu.max=20000 100000;");
	files_are(2, "{\"cpu\":{\"shares\":1}}", "cpu.weight=1;");
	files_are(2, "{\"cpu\":{\"shares\":18446744073709551615}}", "cpu.weight=10000;");
	files_are(1, "{\"cpu\":{\"shares\":18446744073709551615}}", "cpu.shares=262144;");
	files_are(2, "{\"cpu\":{\"cpus\":\"0-1\",\"mems\":\"0\",\"idle\":1}}",
		  "cpuset.cpus=0-1;cpuset.mems=0;cpu.idle=1;");
	files_are(2, "{\"cpu\":{\"cpus\":\"0-\"}}",
		  "linux.resources.cpu.cpus: '0-' is no list of numbers");
	files_are(2, "{\"cpu\":{\"mems\":\"x\"}}",
		  "linux.resources.cpu.mems: 'x' is no list of numbers");
	files_are(2, "{\"cpu\":{\"period\":1000001}}",
		  "linux.resources.cpu.period: more than 1000000 microseconds");
	files_are(2, "{\"cpu\":{\"idle\":2}}", "linux.resources.cpu.idle: neither 0 nor 1");
	/* The VMM's own tasks beside the container's. */
	files_are(2, "{\"pids\":{\"limit\":10}}", "pids.max=108;");
	files_are(1, "{\"pids\":{\"limit\":10}}", "pids.max=108;");
	files_are(2, "{\"pids\":{\"limit\":-1}}", "pids.max=max;");
	files_are(2, "{\"pids\":{\"limit\":0}}", "");
}

Test(cglimits, devices_and_network)
{
	const char *io = "{\"blockIO\":{\"weight\":500,\"weightDevice\":[{\"major\":8,\"minor\":0,"
			 "\"weight\":10}],\"throttleReadBpsDevice\":[{\"major\":8,\"minor\":1,"
			 "\"rate\":1000}],\"throttleWriteIOPSDevice\":[{\"major\":8,\"minor\":1,"
			 "\"rate\":0}]}}";

	files_are(2, io,
		  "io.weight=4950;io.weight=8:0 1;io.max=8:1 rbps=1000;io.max=8:1 wiops=max;");
	files_are(1, io,
		  "blkio.weight=500;blkio.weight_device=8:0 10;"
		  "blkio.throttle.read_bps_device=8:1 1000;"
		  "blkio.throttle.write_iops_device=8:1 0;");
	files_are(2, "{\"blockIO\":{\"weight\":9}}",
		  "linux.resources.blockIO.weight: not from 10 to 1000");
	files_are(1, "{\"blockIO\":{\"leafWeight\":9}}",
		  "linux.resources.blockIO: leafWeight: Linux has none since 5.0");
	files_are(1,
		  "{\"blockIO\":{\"weightDevice\":[{\"major\":8,\"minor\":0,\"leafWeight\":9}]}}",
		  "linux.resources.blockIO: leafWeight: Linux has none since 5.0");
	files_are(2, "{\"blockIO\":{\"throttleReadBpsDevice\":[{\"major\":8}]}}",
		  "linux.resources: blockIO.throttleReadBpsDevice[0].minor: missing");
	files_are(1,
		  "{\"network\":{\"classID\":1048577,\"priorities\":[{\"name\":\"eth0\","
		  "\"priority\":5}]}}",
		  "net_cls.classid=1048577;net_prio.ifpriomap=eth0 5;");
}

Test(cglimits, unified)
{
	files_are(2,
		  "{\"unified\":{\"memory.max\":\"67108864\",\"memory.high\":\"max\","
		  "\"pids.max\":\"5\",\"cpu.weight\":\"7\",\"hugetlb.2MB.max\":\"0\"}}",
		  "memory.high=max;memory.max=168820736;pids.max=103;cpu.weight=7;");
	files_are(2, "{\"unified\":{\"../x\":\"1\"}}",
		  "linux.resources.unified: '../x' is no limit's name");
	files_are(2, "{\"unified\":{\"cgroup.procs\":\"1\"}}",
		  "linux.resources.unified: 'cgroup.procs' is no limit's name");
	files_are(2, "{\"unified\":{\"memory.max\":\"64M\"}}",
		  "linux.resources.unified.memory.max: '64M' is no number");
	files_are(2, "{\"unified\":{\"pids.max\":\"99999999999999999999\"}}",
		  "linux.resources.unified.pids.max: '99999999999999999999' is no number");
}
