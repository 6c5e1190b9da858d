/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's pure parts: JSON access, the spec, mount options, names, lookups, cgroup values. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/userns.h"
#include "agent/child.h"
#include "base/capname.h"
#include "base/fd.h"

static struct err e;

static struct json_object *parse(const char *s)
{
	struct json_object *o = NULL;

	e = (struct err){0};
	cr_assert_eq(js_parse(s, strlen(s), &o, &e), 0, "%s: %s", s, e.msg);
	return o;
}

/* A spec of @lin, with a process of @proc; 0 or the error. */
static int spec_of(struct spec *s, const char *proc, const char *lin, const char *more)
{
	char text[4096];
	struct json_object *o;
	int rc;

	(void)snprintf(text, sizeof(text),
		       "{\"process\":{\"args\":[\"a\"],\"cwd\":\"/\"%s},\"linux\":{%s}%s}", proc,
		       lin, more);
	o = parse(text);
	rc = gspec_parse(o, s, &e);
	json_object_put(o);
	return rc;
}

static void refused(const char *proc, const char *lin, const char *more, const char *why)
{
	struct spec s;

	cr_assert_lt(spec_of(&s, proc, lin, more), 0, "accepted: %s %s %s", proc, lin, more);
	cr_assert(strstr(e.msg, why), "'%s' says nothing about '%s'", e.msg, why);
	gspec_free(&s);
}

Test(js, refuses_what_is_not_one_object)
{
	static const char *const bad[] = {"", "[]", "1", "{", "{}x", "{\"a\":1 2}", "{\"a\":}"};
	struct json_object *o = NULL;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_expect_lt(js_parse(bad[i], strlen(bad[i]), &o, NULL), 0, "%s", bad[i]);
}

Test(js, depth_is_bounded)
{
	char deep[400] = "{\"a\":";
	struct json_object *o = NULL;

	memset(deep + 5, '[', 100);
	memset(deep + 105, ']', 100);
	deep[205] = '}';
	cr_assert_lt(js_parse(deep, 206, &o, NULL), 0);
}

Test(js, types_are_strict)
{
	auto_json o =
	    parse("{\"s\":\"x\",\"n\":5,\"b\":true,\"z\":null,\"nul\":\"a\\u0000b\",\"big\":"
		  "18446744073709551615,\"neg\":-1,\"f\":1.5,\"a\":[\"p\",\"q\"],\"m\":[\"p\",1]}");
	const char *s = "kept";
	const char **v = NULL;
	int64_t n = 42;
	uint64_t u = 0;
	bool b = false;
	size_t cnt = 0;

	cr_expect_eq(js_str(o, "none", &s, &e), 0);
	cr_expect_eq(js_str(o, "z", &s, &e), 0);
	cr_expect_str_eq(s, "kept");
	cr_expect_lt(js_str(o, "n", &s, NULL), 0);
	cr_expect_lt(js_str(o, "nul", &s, NULL), 0);
	cr_expect_lt(js_int(o, "s", 0, 9, &n, NULL), 0);
	cr_expect_lt(js_int(o, "n", 6, 9, &n, NULL), 0);
	cr_expect_lt(js_int(o, "n", 0, 4, &n, NULL), 0);
	cr_expect_lt(js_int(o, "f", 0, 9, &n, NULL), 0);
	cr_expect_lt(js_int(o, "big", 0, INT64_MAX, &n, NULL), 0);
	cr_expect_eq(n, 42);
	cr_expect_eq(js_u64(o, "big", &u, &e), 0);
	cr_expect_eq(u, UINT64_MAX);
	cr_expect_lt(js_u64(o, "neg", &u, NULL), 0);
	cr_expect_lt(js_bool(o, "n", &b, NULL), 0);
	cr_expect_lt(js_strv(o, "m", &v, &cnt, NULL, NULL), 0);
	cr_expect_eq(js_strv(o, "a", &v, &cnt, NULL, &e), 0);
	cr_expect_eq(cnt, 2);
	cr_expect_null(v[2]);
	free(v);
}

Test(js, base64)
{
	static const char *const bad[] = {
	    "A", "AA", "AAA", "A===", "AA=A", "AA-_", "====", "AAAA AAA"};
	unsigned char *p = NULL;
	size_t n;

	cr_assert_eq(js_base64("aHVzaw==", &p, &n), 0);
	cr_expect_eq(n, 4);
	cr_expect_eq(memcmp(p, "husk", 4), 0);
	free(p);
	cr_assert_eq(js_base64("", &p, &n), 0);
	cr_expect_eq(n, 0);
	free(p);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_expect_lt(js_base64(bad[i], &p, &n), 0, "%s", bad[i]);
}

static struct mountopt opts(const char *list)
{
	static char copy[512];
	struct mountopt m = {0};
	char *save = copy, *s;

	(void)snprintf(copy, sizeof(copy), "%s", list);
	while ((s = strsep(&save, ",")) != NULL)
		cr_assert_eq(mountopt_add(&m, s, &e), 0, "%s", s);
	return m;
}

Test(mountopt, attributes)
{
	struct mountopt m = opts("ro,nosuid,nodev,noexec,noatime,size=1m,mode=755,rprivate");

	cr_expect_eq(m.set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NOATIME);
	cr_expect_eq(m.clr, MOUNT_ATTR__ATIME);
	cr_expect_eq(m.propagation, MS_PRIVATE | MS_REC);
	cr_expect_eq(m.data_cnt, 2);
	m = opts("ro,rw,noexec,exec");
	cr_expect_eq(m.set, 0);
	cr_expect_eq(m.clr, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC);
	/* The last access time mode counts. */
	m = opts("noatime,strictatime");
	cr_expect_eq(m.set, MOUNT_ATTR_STRICTATIME);
	m = opts("relatime");
	cr_expect_eq(m.clr, MOUNT_ATTR__ATIME);
	cr_expect_eq(m.rec_set, 0);
}

Test(mountopt, recursive_and_refused)
{
	struct mountopt m = opts("rbind,rro,rnosuid,rshared");

	cr_expect(m.bind && m.rbind);
	cr_expect_eq(m.set, 0);
	cr_expect_eq(m.rec_set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID);
	cr_expect_eq(m.propagation, MS_SHARED | MS_REC);
	cr_expect_lt(mountopt_add(&m, "idmap", &e), 0);
	cr_expect_lt(mountopt_add(&m, "ridmap", NULL), 0);
	m = (struct mountopt){0};
	for (int i = 0; i < MOUNTOPT_DATA_MAX; i++)
		cr_assert_eq(mountopt_add(&m, "x=y", NULL), 0);
	cr_expect_lt(mountopt_add(&m, "x=y", NULL), 0);
}

Test(names, rlimits_and_caps)
{
	cr_expect_eq(rlimit_number("RLIMIT_NOFILE"), RLIMIT_NOFILE);
	cr_expect_eq(rlimit_number("NOFILE"), -1);
	cr_expect_eq(capname_number("CAP_CHOWN"), 0);
	cr_expect_eq(capname_number("CAP_SYS_ADMIN"), 21);
	cr_expect_eq(capname_number("CAP_CHECKPOINT_RESTORE"), 40);
	cr_expect_eq(capname_number("cap_chown"), -1);
}

Test(spec, process)
{
	struct spec s;

	cr_assert_eq(
	    spec_of(
		&s,
		",\"user\":{\"uid\":1,\"gid\":2,\"additionalGids\":[3,4294967294],\"umask\":18},"
		"\"env\":[\"A=b\"],\"noNewPrivileges\":true,\"oomScoreAdj\":-5,"
		"\"capabilities\":{\"bounding\":[\"CAP_KILL\"]},\"consoleSize\":{\"height\":2,"
		"\"width\":3},\"rlimits\":[{\"type\":\"RLIMIT_CPU\",\"soft\":1,\"hard\":"
		"18446744073709551615}],\"ioPriority\":{\"class\":\"IOPRIO_CLASS_BE\","
		"\"priority\":4}",
		"", ""),
	    0, "%s", e.msg);
	cr_expect_eq(s.process.uid, 1);
	cr_expect_eq(s.process.gid, 2);
	cr_expect_eq(s.process.groups_cnt, 2);
	cr_expect_eq(s.process.groups[1], 4294967294u);
	cr_expect_eq(s.process.umask, 022);
	cr_expect_eq(s.process.caps[CAPS_BOUNDING], 1u << 5);
	cr_expect_eq(s.process.rlimits[0].hard, RLIM_INFINITY);
	cr_expect_eq(s.process.ioprio, 2 << 13 | 4);
	cr_expect(s.process.no_new_privs && s.process.has_oom && s.process.rows == 2);
	cr_expect_eq(s.process.oom_score_adj, -5);
	gspec_free(&s);
}

Test(spec, process_refusals)
{
	refused(",\"user\":{\"uid\":4294967295}", "", "", "uid");
	refused(",\"user\":{\"additionalGids\":[-1]}", "", "", "additionalGids");
	refused(",\"user\":{\"additionalGids\":[\"x\"]}", "", "", "additionalGids");
	refused(",\"user\":{\"umask\":512}", "", "", "umask");
	refused(",\"user\":[]", "", "", "user");
	refused(",\"rlimits\":[{\"type\":\"RLIMIT_CPU\"},{\"type\":\"RLIMIT_CPU\"}]", "", "",
		"twice");
	refused(",\"rlimits\":[5]", "", "", "not an object");
	refused(",\"cwd\":\"rel\"", "", "", "cwd");
	refused(",\"execCPUAffinity\":{\"final\":\"1-\"}", "", "", "'1-' is no list of CPUs");
	refused(",\"execCPUAffinity\":{\"initial\":5}", "", "", "initial: not a string");
	refused(",\"scheduler\":{\"policy\":\"X\"}", "", "", "policy");
	refused("", "", ",\"hooks\":{\"startContainer\":[{}]}", "startContainer");
}

Test(spec, linux_section)
{
	struct spec s;

	cr_assert_eq(
	    spec_of(
		&s, "",
		"\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"ipc\",\"path\":\"container:x\"},"
		"{\"type\":\"uts\",\"path\":\"sandbox\"},{\"type\":\"network\",\"path\":\"/any\"}],"
		"\"sysctl\":{\"net.ipv4.conf.eth0/100.forwarding\":\"1\",\"kernel/msgmax\":\"2\"},"
		"\"rootfsPropagation\":\"rslave\",\"personality\":{\"domain\":\"LINUX32\"}",
		""),
	    0, "%s", e.msg);
	cr_expect_eq(s.clone_flags, CLONE_NEWPID | CLONE_NEWNS);
	cr_expect_str_eq(s.join_ipc, "x");
	cr_expect_null(s.join_uts);
	cr_expect_eq(s.sysctls.cnt, 2);
	cr_expect_str_eq(s.sysctls.v[0].file, "net/ipv4/conf/eth0.100/forwarding");
	cr_expect_str_eq(s.sysctls.v[1].file, "kernel/msgmax");
	cr_expect_eq(s.propagation, MS_SLAVE | MS_REC);
	gspec_free(&s);
}

Test(spec, ids_and_times)
{
	struct spec s;

	cr_assert_eq(spec_of(&s, "",
			     "\"namespaces\":[{\"type\":\"user\"},{\"type\":\"time\"}],"
			     "\"uidMappings\":[{\"containerID\":0,\"hostID\":100000,\"size\":10},"
			     "{\"containerID\":4294967290,\"hostID\":7,\"size\":5}],"
			     "\"gidMappings\":[{\"containerID\":5,\"hostID\":1,\"size\":1}],"
			     "\"timeOffsets\":{\"monotonic\":{\"secs\":-5,\"nanosecs\":6}}",
			     ""),
		     0, "%s", e.msg);
	cr_expect(s.clone_flags & CLONE_NEWUSER);
	cr_expect(s.new_time);
	cr_expect_eq(s.monotonic.secs, -5);
	cr_expect_eq(s.monotonic.nsecs, 6);
	cr_expect_eq(userns_kuid(&s, 0), 100000);
	cr_expect_eq(userns_kuid(&s, 9), 100009);
	cr_expect_eq(userns_kuid(&s, 10), UINT32_MAX);
	cr_expect_eq(userns_kuid(&s, 4294967294u), 11);
	cr_expect_eq(userns_kgid(&s, 5), 1);
	cr_expect_eq(userns_kgid(&s, 4), UINT32_MAX);
	gspec_free(&s);
	cr_expect_eq(userns_kuid(&s, 4), 4);
}

Test(spec, start_hooks)
{
	struct spec s;

	cr_assert_eq(spec_of(&s, "", "",
			     ",\"hooks\":{\"startContainer\":[{\"path\":\"/a\",\"args\":[\"x\"],"
			     "\"env\":[],\"timeout\":3},{\"path\":\"/b\"}]}"),
		     0, "%s", e.msg);
	cr_assert_eq(s.hooks_cnt, 2);
	cr_expect_str_eq(s.hooks[0].args[0], "x");
	cr_expect(s.hooks[0].has_env);
	cr_expect_eq(s.hooks[0].timeout, 3);
	cr_expect(!s.hooks[1].has_env);
	cr_expect_null(s.hooks[1].args[0]);
	gspec_free(&s);
}

Test(spec, linux_refusals)
{
	refused("", "\"namespaces\":[{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}]", "",
		"none of this pod's");
	refused("", "\"namespaces\":[{\"type\":\"time\",\"path\":\"/x\"}]", "", "joining one");
	refused("", "\"namespaces\":[{\"type\":\"user\"}]", "", "uidMappings: a user namespace");
	refused("", "\"gidMappings\":[{\"containerID\":0,\"hostID\":0,\"size\":1}]", "",
		"gidMappings: there is no user namespace");
#define USER(u) "\"namespaces\":[{\"type\":\"user\"}],\"uidMappings\":[" u "]"
	refused("", USER("{\"containerID\":-1,\"hostID\":0,\"size\":1}"), "", "containerID");
	refused("", USER("{\"containerID\":0,\"hostID\":0,\"size\":0}"), "", "its size is 0");
	refused("", USER("{\"containerID\":4294967295,\"hostID\":0,\"size\":1}"), "",
		"beyond the last id");
	refused("", USER("5"), "", "not an object");
	refused("", "\"timeOffsets\":{\"monotonic\":{\"secs\":1}}", "", "no time namespace");
	refused("",
		"\"namespaces\":[{\"type\":\"time\"}],\"timeOffsets\":{\"boottime\":{\"nanosecs\":"
		"1000000000}}",
		"", "nanosecs");
	refused("", "\"namespaces\":[{\"type\":\"x\"}]", "", "unknown");
	refused("", "\"sysctl\":{\"a/../b\":\"1\"}", "", "not a key");
	refused("", "\"sysctl\":{\"a..b\":\"1\"}", "", "not a key");
	refused("", "\"sysctl\":{\"/a\":\"1\"}", "", "not a key");
	refused("", "\"sysctl\":{\"\":\"1\"}", "", "not a key");
	refused("", "\"sysctl\":{\"a\":1}", "", "not a string");
	refused("", "\"readonlyPaths\":[\"x\"]", "", "absolute");
	refused("", "\"devices\":[{\"path\":\"/x\",\"type\":\"z\"}]", "", "type");
	refused("", "\"devices\":[{\"path\":\"/x\",\"type\":\"c\",\"major\":4096}]", "", "major");
	refused("", "\"seccomp\":{\"flags\":[\"X\"]}", "", "flag");
	refused("", "\"seccomp\":{\"listenerPath\":\"/x\"}", "", "listenerPath");
	refused("", "", ",\"mounts\":[{\"type\":\"tmpfs\"}]", "no destination");
	refused("", "", ",\"mounts\":[{\"destination\":\"/x\",\"uidMappings\":[]}]", "id-mapped");
}

static const char *limit(const struct spec *s, const char *file)
{
	for (size_t i = 0; i < s->cgroup.cnt; i++)
		if (strcmp(s->cgroup.v[i].file, file) == 0)
			return s->cgroup.v[i].value;
	return "";
}

Test(spec, resources)
{
	struct spec s;

	cr_assert_eq(
	    spec_of(&s, "",
		    "\"resources\":{\"memory\":{\"limit\":1000,\"swap\":3000,\"reservation\":500},"
		    "\"cpu\":{\"shares\":1024,\"quota\":50000,\"cpus\":\"0-99\"},\"pids\":{"
		    "\"limit\":7},"
		    "\"hugepageLimits\":[{\"pageSize\":\"2MB\",\"limit\":4}],\"unified\":{\"memory."
		    "high\":"
		    "\"9\"},\"devices\":[{\"allow\":true,\"type\":\"c\",\"major\":10,\"access\":"
		    "\"rm\"}]}",
		    ""),
	    0, "%s", e.msg);
	cr_expect_str_eq(limit(&s, "memory.max"), "1000");
	cr_expect_str_eq(limit(&s, "memory.swap.max"), "2000");
	cr_expect_str_eq(limit(&s, "memory.low"), "500");
	cr_expect_str_eq(limit(&s, "cpu.weight"), "39");
	cr_expect_str_eq(limit(&s, "cpu.max"), "50000");
	cr_expect_str_eq(limit(&s, "pids.max"), "7");
	cr_expect_str_eq(limit(&s, "hugetlb.2MB.max"), "4");
	cr_expect_str_eq(limit(&s, "memory.high"), "9");
	cr_expect_eq(s.devrules_cnt, 1);
	cr_expect_eq(s.devrules[0].access, 3);
	gspec_free(&s);
}

/* What an update may give alone, and what it may take back. */
Test(spec, resources_of_an_update)
{
	struct spec s;

	cr_assert_eq(
	    spec_of(&s, "",
		    "\"resources\":{\"cpu\":{\"quota\":-1,\"burst\":0,\"idle\":0},\"memory\":{"
		    "\"limit\":-1,\"swap\":-1},\"pids\":{\"limit\":-1}}",
		    ""),
	    0, "%s", e.msg);
	cr_expect_str_eq(limit(&s, "cpu.max"), "max");
	cr_expect_str_eq(limit(&s, "cpu.max.burst"), "0");
	cr_expect_str_eq(limit(&s, "cpu.idle"), "0");
	cr_expect_str_eq(limit(&s, "memory.max"), "max");
	cr_expect_str_eq(limit(&s, "memory.swap.max"), "max");
	cr_expect_str_eq(limit(&s, "pids.max"), "max");
	gspec_free(&s);
	cr_assert_eq(spec_of(&s, "", "\"resources\":{\"cpu\":{\"period\":20000}}", ""), 0, "%s",
		     e.msg);
	cr_expect_str_eq(limit(&s, "cpu.max"), "max 20000");
	cr_expect_eq(s.cgroup.cnt, 1);
	gspec_free(&s);
	refused("", "\"resources\":{\"cpu\":{\"idle\":2}}", "", "idle");
	refused("", "\"resources\":{\"cpu\":{\"quota\":-2}}", "", "quota");
	refused("", "\"resources\":{\"cpu\":{\"shares\":-1}}", "", "shares");
	refused("", "\"resources\":{\"cpu\":{\"period\":\"5\"}}", "", "period");
	refused("", "\"resources\":{\"pids\":{\"limit\":9223372036854775808}}", "", "limit");
	refused("", "\"resources\":{\"memory\":{\"limit\":18446744073709551615}}", "", "limit");
	refused("", "\"resources\":{\"memory\":{\"limit\":1.5}}", "", "limit");
}

Test(spec, resource_refusals)
{
	refused("", "\"resources\":{\"memory\":{\"swap\":5}}", "", "needs memory.limit");
	refused("", "\"resources\":{\"memory\":{\"swap\":5,\"limit\":6}}", "", "below");
	refused("", "\"resources\":{\"memory\":{\"swappiness\":5}}", "", "swappiness");
	refused("", "\"resources\":{\"cpu\":{\"realtimeRuntime\":5}}", "", "realtimeRuntime");
	refused("", "\"resources\":{\"unified\":{\"cgroup.procs\":\"1\"}}", "", "controller");
	refused("", "\"resources\":{\"hugepageLimits\":[{\"pageSize\":\"../x\"}]}", "",
		"page size");
	refused("", "\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"x\"}]}", "",
		"access");
}

Test(container, ids)
{
	char id[300];

	cr_expect(container_id_ok("a-b_c.d+9"));
	cr_expect_not(container_id_ok(""));
	cr_expect_not(container_id_ok("."));
	cr_expect_not(container_id_ok(".."));
	cr_expect_not(container_id_ok("a/b"));
	cr_expect_not(container_id_ok("a b"));
	memset(id, 'a', sizeof(id));
	id[255] = '\0';
	cr_expect(container_id_ok(id));
	id[255] = 'a';
	id[256] = '\0';
	cr_expect_not(container_id_ok(id));
}

Test(exec, lookup)
{
	const char *env[] = {"PATH=/nonexistent:/usr/bin:/bin", "PATH=/no", NULL};
	const char *none[] = {"PATH=/nonexistent", NULL};
	char out[4096];
	int status = 0;

	e = (struct err){0};
	cr_expect_eq(exec_lookup("ls", env, out, sizeof(out), &status, &e), 0, "%s", e.msg);
	cr_expect_lt(exec_lookup("ls", none, out, sizeof(out), &status, &e), 0);
	cr_expect_str_eq(e.msg, "exec: \"ls\": executable file not found in $PATH");
	cr_expect_eq(status, 127);
	e = (struct err){0};
	cr_expect_lt(exec_lookup("/etc", env, out, sizeof(out), &status, &e), 0);
	cr_expect_eq(status, 126);
	e = (struct err){0};
	cr_expect_lt(exec_lookup("/etc/passwd", env, out, sizeof(out), &status, &e), 0);
	cr_expect_str_eq(e.msg, "exec: \"/etc/passwd\": permission denied");
	cr_expect_eq(status, 126);
	e = (struct err){0};
	cr_expect_lt(exec_lookup("", env, out, sizeof(out), &status, &e), 0);
	cr_expect_lt(exec_lookup("/bin/ls", env, out, 3, &status, &e), 0);
	cr_expect_eq(exec_home(0, out, sizeof(out)), 0);
	cr_expect_str_eq(out, "/root");
}

Test(jail, stays_inside)
{
	char tmp[] = "/tmp/agent-jail-XXXXXX";
	auto_fd root = -1;
	auto_fd fd = -1;
	struct stat in, out;

	cr_assert_not_null(mkdtemp(tmp));
	root = open(tmp, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(symlinkat("/", root, "abs"), 0);
	cr_assert_eq(symlinkat("../../../../..", root, "up"), 0);
	cr_assert_eq(symlinkat("loop", root, "loop"), 0);
	cr_assert_eq(symlinkat("/nowhere/x", root, "dangling"), 0);
	fd = jail_make(root, "/abs/../up/./etc/x", 0755, true);
	cr_assert_geq(fd, 0, "%d", fd);
	cr_assert_eq(fstat(fd, &in), 0);
	cr_assert_eq(fstatat(root, "etc/x", &out, 0), 0);
	cr_expect_eq(in.st_ino, out.st_ino);
	cr_expect(S_ISREG(in.st_mode));
	cr_expect_eq(jail_make(root, "loop/x", 0755, false), -ELOOP);
	cr_expect_lt(jail_make(root, "dangling", 0755, true), 0);
	cr_expect_eq(jail_open(root, "etc/x/y", O_PATH), -ENOTDIR);
	(void)unlinkat(root, "etc/x", 0);
	(void)unlinkat(root, "etc", AT_REMOVEDIR);
	(void)unlinkat(root, "abs", 0);
	(void)unlinkat(root, "up", 0);
	(void)unlinkat(root, "loop", 0);
	(void)unlinkat(root, "dangling", 0);
	(void)rmdir(tmp);
}

Test(proc, wait_status)
{
	cr_expect_eq(proc_wait_status(7 << 8), 7);
	cr_expect_eq(proc_wait_status(9), 137);
}
