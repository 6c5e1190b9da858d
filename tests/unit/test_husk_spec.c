/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json: each type rule names the place, each refusal names the thing; seccomp programs.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/b64.h"
#include "base/fd.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"

#define NS "\"linux\":{\"namespaces\":[{\"type\":\"network\"}]}"
#define HEAD                                                                                       \
	"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"             \
	"\",\"args\":[\"sh\"]}"

/* The document is refused with @text in the sentence. */
static void refused(const char *json, const char *text)
{
	struct spec s;
	struct err e = {0};
	int rc = spec_parse(&s, json, strlen(json), &e);

	cr_assert(lt(int, rc, 0), "accepted: %s", json);
	cr_expect(strstr(e.msg, text) != NULL, "'%s' is not in '%s'", text, e.msg);
	cr_expect(strstr(e.msg, "config.json: ") == e.msg, "%s", e.msg);
}

Test(spec, minimal)
{
	const char *json = HEAD "," NS ",\"unknown\":{\"key\":1}}";
	struct spec s;
	struct err e = {0};

	cr_assert(eq(int, spec_parse(&s, json, strlen(json), &e), 0), "%s", e.msg);
	cr_expect_str_eq(s.text, json);
	cr_expect(s.netns == NULL);
	cr_expect(s.cgroups_path == NULL);
	cr_expect(eq(i64, s.memory_limit, 0));
	spec_free(&s);
}

Test(spec, not_json)
{
	refused("", "ends too early");
	refused("{", "ends too early");
	refused("{\"a\":1,}", "line 1");
	refused("{\n\n\"a\" 1}", "line 3");
	refused("{} {}", "not JSON: line 1");
	refused("[]", "expected an object");
	refused("{\"a\":\"\xff\"}", "not JSON");
}

Test(spec, depth_is_bounded)
{
	char deep[400];

	memset(deep, '[', sizeof(deep) - 1);
	memcpy(deep, "{\"a\":", 5);
	deep[sizeof(deep) - 1] = '\0';
	refused(deep, "not JSON");
}

Test(spec, wrong_types)
{
	refused("{\"ociVersion\":1}", "ociVersion: expected a string");
	refused("{}", "ociVersion: missing");
	refused("{\"ociVersion\":\"1.0.0\",\"root\":3}", "root: expected an object");
	refused("{\"ociVersion\":\"1.0.0\",\"root\":{}}", "root.path: missing");
	refused(
	    "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":\"sh\"}}",
	    "process.args: expected an array of strings");
	refused("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"args\":[1]}}",
		"process.args: expected an array of strings");
	refused("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"a\\u0000b\"}}",
		"root.path: expected a string");
	refused(HEAD ",\"mounts\":[{\"destination\":\"/a\"},{\"destination\":7}]," NS "}",
		"mounts[1].destination: expected a string");
	refused(HEAD ",\"annotations\":{\"a\":1}," NS "}", "annotations: expected an object whose");
	refused(HEAD ",\"linux\":{\"resources\":{\"memory\":{\"limit\":\"1G\"}}}}",
		"linux.resources.memory.limit: expected a whole number");
	refused(HEAD ",\"linux\":{\"uidMappings\":[{\"containerID\":-1,\"hostID\":0,\"size\":1}]}}",
		"linux.uidMappings[0].containerID: expected a number from 0");
	refused(HEAD ",\"linux\":{\"uidMappings\":[{\"containerID\":4294967296}]}}",
		"linux.uidMappings[0].containerID: expected a number from 0");
	refused(HEAD
		",\"linux\":{\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":"
		"[{\"names\":[\"a\"],\"action\":\"x\",\"args\":[{\"index\":0,\"value\":1}]}]}}}",
		"linux.seccomp.syscalls[0].args[0].op: missing");
}

Test(spec, unsupported_is_named)
{
	refused(HEAD "}", "host network is not supported");
	refused(HEAD ",\"linux\":{\"namespaces\":[{\"type\":\"net\"}]}}", "'net' is no namespace");
	refused(HEAD ",\"linux\":{\"namespaces\":[{\"type\":\"pid\"},{\"type\":\"pid\"}]}}",
		"twice");
	refused(HEAD
		",\"linux\":{\"namespaces\":[{\"type\":\"pid\",\"path\":\"/proc/1/ns/pid\"}]}}",
		"joining a pid namespace");
	refused(HEAD "," NS ",\"vm\":{}}", "vm.kernel: missing");
#define KERNEL "\"vm\":{\"kernel\":{\"path\":\"/k\"},"
	refused(HEAD "," NS ",\"vm\":{\"kernel\":{\"path\":\"k\"}}}",
		"vm.kernel.path: 'k' is not absolute");
	refused(HEAD "," NS "," KERNEL "\"hypervisor\":{\"path\":\"/q\"}}}", "vm.hypervisor: not");
	refused(HEAD "," NS "," KERNEL "\"image\":{\"path\":\"/i\",\"format\":\"qcow2\"}}}",
		"'qcow2' is not supported");
	refused(HEAD "," NS "," KERNEL "\"hwConfig\":{\"irqs\":[1]}}}", "vm.hwConfig.irqs: not");
	refused(HEAD "," NS "," KERNEL "\"hwConfig\":{\"memory\":99999999999999999}}}",
		"more than 16 TiB");
	refused(HEAD "," NS ",\"mounts\":[{\"destination\":\"/a\"}]}", "neither a type nor bind");
	refused(HEAD "," NS ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\",\"source\":"
		     "\"/a\",\"options\":[\"ridmap\"]}]}",
		"mounts[0]: mount option 'ridmap': not supported");
#define LINUX(x) HEAD ",\"linux\":{" x ",\"namespaces\":[{\"type\":\"network\"}]}}"
	refused(LINUX("\"intelRdt\":{\"closID\":\"a\"}"), "linux.intelRdt: not supported");
	refused(LINUX("\"memoryPolicy\":{\"mode\":\"a\"}"), "linux.memoryPolicy: not supported");
	refused(LINUX("\"netDevices\":{\"eth0\":{}}"), "linux.netDevices: not supported");
	refused(LINUX("\"resources\":{\"rdma\":{\"mlx5\":{}}}"), "linux.resources.rdma: not");
	refused(LINUX("\"resources\":{\"memory\":{\"kernel\":1}}"), "memory.kernel: not supported");
	refused(LINUX("\"resources\":{\"memory\":{\"kernelTCP\":1}}"), "memory.kernelTCP: not");
	refused(LINUX("\"resources\":{\"memory\":{\"swappiness\":1}}"), "memory.swappiness: not");
	refused(LINUX("\"resources\":{\"memory\":{\"disableOOMKiller\":true}}"),
		"memory.disableOOMKiller: not supported");
	refused(LINUX("\"resources\":{\"cpu\":{\"realtimeRuntime\":1}}"), "realtimeRuntime: not");
	refused(LINUX("\"resources\":{\"cpu\":{\"realtimePeriod\":1}}"), "realtimePeriod: not");
	refused(LINUX("\"timeOffsets\":{\"boottime\":{\"secs\":\"1\"}}"),
		"linux.timeOffsets.boottime.secs: expected");
	refused("{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\","
		"\"args\":[\"sh\"],\"apparmorProfile\":\"mine\"}," NS "}",
		"'mine' cannot be applied");
	refused(HEAD "," NS ",\"mounts\":[{\"destination\":\"/a\",\"type\":\"bind\"}]}",
		"a bind mount without a source");
	refused(HEAD "," NS ",\"mounts\":[{\"destination\":\"/\",\"type\":\"tmpfs\"}]}",
		"mounts[0].destination: '/' is the root itself");
	refused(HEAD "," NS ",\"mounts\":[{\"destination\":\"/a/.././/\",\"type\":\"tmpfs\"}]}",
		"is the root itself");
	refused(HEAD "," NS ",\"hooks\":{\"prestart\":[{\"path\":\"relative\"}]}}",
		"hooks.prestart[0].path: not absolute");
	refused(HEAD "," NS ",\"hooks\":{\"poststop\":[{\"path\":1}]}}",
		"hooks.poststop[0]: path: expected a string");
	refused("{\"ociVersion\":\"2.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"
		"\",\"args\":"
		"[\"sh\"]}}",
		"not a version 1");
	refused(
	    "{\"ociVersion\":\"one\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\",\"args\":"
	    "[\"sh\"]}}",
	    "not a version");
	refused("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"
		"\",\"args\":"
		"[]}}",
		"process.args: empty");
	refused("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"a\","
		"\"args\":"
		"[\"sh\"]}}",
		"is not absolute");
	refused("{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"
		"\",\"args\":"
		"[\"sh\"],\"env\":[\"A=1\",\"B\"]}}",
		"process.env[1]");
}

Test(spec, template_is_valid)
{
	auto_free char *text = spec_template();
	struct spec s;
	struct err e = {0};

	cr_assert(eq(int, spec_parse(&s, text, strlen(text), &e), 0), "%s", e.msg);
	cr_expect(s.readonly);
	cr_expect_str_eq(spec_path(&s),
			 "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	spec_free(&s);
}

Test(spec, bind_options)
{
	struct err e = {0};
	struct json_object *m = NULL;
	const char *text =
	    "{\"destination\":\"/a\",\"source\":\"/b\",\"options\":[\"rbind\",\"ro\",\"nosuid\","
	    "\"suid\",\"noexec\",\"rprivate\"]}";
	struct mountopt b;

	cr_assert(eq(int, json_parse(text, strlen(text), "m", &m, &e), 0));
	cr_expect(spec_mount_kind(m) == SPEC_MOUNT_BIND); /* rbind says it, without a type */
	cr_assert(eq(int, spec_mount_options(m, &b, &e), 0));
	cr_expect(b.rbind);
	cr_expect(eq(u64, b.set, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC));
	(void)json_object_put(m);
}

Test(spec, no_process)
{
	const char *json = "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"}," NS "}";
	struct spec s;
	struct err e = {0};

	cr_assert(eq(int, spec_parse(&s, json, strlen(json), &e), 0), "%s", e.msg);
	cr_expect(not(s.terminal));
	spec_free(&s);
}

Test(spec, who_makes_a_mount)
{
	static const struct {
		const char *text;
		enum spec_mount_kind kind;
	} mounts[] = {
	    {"{\"destination\":\"/a\",\"type\":\"proc\"}", SPEC_MOUNT_GUEST},
	    {"{\"destination\":\"/a\",\"type\":\"tmpfs\",\"options\":[\"ro\"]}", SPEC_MOUNT_GUEST},
	    {"{\"destination\":\"/a\",\"type\":\"none\",\"options\":[\"bind\"]}", SPEC_MOUNT_BIND},
	    {"{\"destination\":\"/a\",\"type\":\"bind\"}", SPEC_MOUNT_BIND},
	    {"{\"destination\":\"/a\",\"type\":\"overlay\"}", SPEC_MOUNT_HOST},
	    {"{\"destination\":\"/a\",\"type\":\"ext4\",\"source\":\"/dev/sda\"}", SPEC_MOUNT_HOST},
	    {"{\"destination\":\"/a\",\"options\":[\"remount\",\"ro\"]}", SPEC_MOUNT_GUEST},
	};

	for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
		auto_json m = NULL;

		cr_assert(
		    eq(int, json_parse(mounts[i].text, strlen(mounts[i].text), "m", &m, NULL), 0));
		cr_expect(eq(int, (int)spec_mount_kind(m), (int)mounts[i].kind), "%s",
			  mounts[i].text);
	}
}

/* A newer engine names capabilities that no kernel here has: they are left out, not refused. */
Test(spec, unknown_capabilities_pass)
{
	const char *json =
	    "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"
	    "\",\"args\":"
	    "[\"sh\"],\"apparmorProfile\":\"docker-default\",\"capabilities\":{\"bounding\":"
	    "[\"CAP_NEXT\"]}}," NS "}";
	struct spec s;
	struct err e = {0};

	cr_assert(eq(int, spec_parse(&s, json, strlen(json), &e), 0), "%s", e.msg);
	spec_free(&s);
}

/* Other platforms' sections and labels of the host's SELinux: nothing here depends on them. */
Test(spec, ignored_fields_pass)
{
	const char *json =
	    "{\"ociVersion\":\"1.2.0\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/\","
	    "\"args\":[\"sh\"],\"commandLine\":\"sh\",\"selinuxLabel\":\"a:b:c:s0\",\"user\":"
	    "{\"username\":\"me\"}},\"windows\":{},\"solaris\":{},\"zos\":{},\"freebsd\":{},"
	    "\"linux\":{\"mountLabel\":\"a:b:c:s0\",\"seccomp\":{\"defaultAction\":"
	    "\"SCMP_ACT_ALLOW\",\"listenerMetadata\":\"x\"},\"resources\":{\"memory\":"
	    "{\"useHierarchy\":true,\"kernel\":-1,\"swappiness\":0,\"disableOOMKiller\":false}},"
	    "\"namespaces\":[{\"type\":\"network\"}]}}";
	struct spec s;
	struct err e = {0};

	cr_assert(eq(int, spec_parse(&s, json, strlen(json), &e), 0), "%s", e.msg);
	spec_free(&s);
}

Test(spec, load_resolves)
{
	char dir[] = "/tmp/husk-spec-XXXXXX", path[64];
	auto_free char *text = spec_template();
	struct spec s = {0};
	struct err e = {0};

	cr_assert(mkdtemp(dir) != NULL);
	cr_expect(eq(int, spec_load(&s, dir, &e), -ENOENT));
	cr_expect(strstr(e.msg, "config.json: No such file") != NULL, "%s", e.msg);
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	cr_assert(eq(int, fd_write_file(AT_FDCWD, path, text, strlen(text), 0600), 0));
	e = (struct err){0};
	cr_expect(eq(int, spec_load(&s, dir, &e), -ENOENT));
	cr_expect(strstr(e.msg, "rootfs '") == e.msg, "%s", e.msg);
	(void)snprintf(path, sizeof(path), "%s/rootfs", dir);
	cr_assert(eq(int, mkdir(path, 0700), 0));
	e = (struct err){0};
	cr_assert(eq(int, spec_load(&s, dir, &e), 0), "%s", e.msg);
	cr_expect_str_eq(s.rootfs, path);
	cr_expect_str_eq(s.bundle, dir);
	spec_free(&s);
	(void)rmdir(path);
	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	(void)unlink(path);
	(void)rmdir(dir);
}

/* ---- seccomp --------------------------------------------------------------------------------- */

static int compile(const char *text, void **prog, size_t *len, struct err *e)
{
	auto_json o = NULL;

	cr_assert(eq(int, json_parse(text, strlen(text), "s", &o, e), 0), "%s", e->msg);
	return seccomp_compile(o, prog, len, e);
}

/* Runs a classic BPF program on a system call's data, as far as libseccomp writes them. */
static uint32_t bpf_run(const struct sock_filter *p, size_t cnt, uint32_t nr, uint32_t arch,
			uint64_t arg0)
{
	uint32_t data[16] = {nr, arch, 0, 0, (uint32_t)arg0, (uint32_t)(arg0 >> 32)}, a = 0;

	for (size_t pc = 0; pc < cnt; pc++) {
		const struct sock_filter *i = &p[pc];
		bool yes;

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			a = data[i->k / 4];
			continue;
		case BPF_ALU | BPF_AND | BPF_K:
			a &= i->k;
			continue;
		case BPF_JMP | BPF_JA:
			pc += i->k;
			continue;
		case BPF_RET | BPF_K:
			return i->k;
		case BPF_JMP | BPF_JEQ | BPF_K:
			yes = a == i->k;
			break;
		case BPF_JMP | BPF_JGT | BPF_K:
			yes = a > i->k;
			break;
		case BPF_JMP | BPF_JGE | BPF_K:
			yes = a >= i->k;
			break;
		default:
			cr_fatal("instruction %x", i->code);
		}
		pc += yes ? i->jt : i->jf;
	}
	cr_fatal("the program has no end");
	return 0;
}

#define X86_64 0xc000003eu
#define ALLOW  0x7fff0000u
#define ERRNO  0x00050000u

Test(seccomp, rules_mean_what_they_say)
{
	void *prog = NULL;
	size_t len = 0;
	struct err e = {0};
	const struct sock_filter *f;

	cr_assert(
	    eq(int,
	       compile(
		   "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"SCMP_ARCH_X86_64\","
		   "\"SCMP_ARCH_AARCH64\"],\"syscalls\":["
		   "{\"names\":[\"getcwd\",\"no_such_call\"],\"action\":\"SCMP_ACT_ERRNO\","
		   "\"errnoRet\":13},"
		   "{\"names\":[\"personality\"],\"action\":\"SCMP_ACT_KILL_PROCESS\",\"args\":"
		   "[{\"index\":0,\"value\":8,\"op\":\"SCMP_CMP_EQ\"}]}]}",
		   &prog, &len, &e),
	       0),
	    "%s", e.msg);
	f = prog;
	len /= sizeof(*f);
	cr_expect(eq(u32, bpf_run(f, len, 79 /* getcwd */, X86_64, 0), ERRNO | 13));
	cr_expect(eq(u32, bpf_run(f, len, 0 /* read */, X86_64, 0), ALLOW));
	cr_expect(eq(u32, bpf_run(f, len, 135 /* personality */, X86_64, 8), 0x80000000u));
	cr_expect(eq(u32, bpf_run(f, len, 135, X86_64, 9), ALLOW));
	free(prog);
}

/* Calls that are newer than the profile say ENOSYS, for each architecture by its own numbers. */
Test(seccomp, newer_calls_are_unknown)
{
	const char *const profile =
	    "{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"architectures\":[\"SCMP_ARCH_X86_64\","
	    "\"SCMP_ARCH_X86\",\"SCMP_ARCH_X32\"],\"syscalls\":[{\"names\":[\"read\","
	    "\"getcwd\"],\"action\":\"SCMP_ACT_ALLOW\"}]}";
	void *prog = NULL;
	size_t len = 0;
	struct err e = {0};
	const struct sock_filter *f;

	cr_assert(eq(int, compile(profile, &prog, &len, &e), 0), "%s", e.msg);
	f = prog;
	len /= sizeof(*f);
	cr_expect(eq(u32, bpf_run(f, len, 0 /* read */, X86_64, 0), ALLOW));
	cr_expect(eq(u32, bpf_run(f, len, 79 /* getcwd */, X86_64, 0), ALLOW));
	cr_expect(eq(u32, bpf_run(f, len, 78, X86_64, 0), ERRNO | EPERM));
	cr_expect(eq(u32, bpf_run(f, len, 80, X86_64, 0), ERRNO | ENOSYS));
	cr_expect(eq(u32, bpf_run(f, len, 0x40000000u | 80, X86_64, 0), ERRNO | EPERM));
	cr_expect(eq(u32, bpf_run(f, len, 183 /* getcwd */, 0x40000003u, 0), ALLOW));
	cr_expect(eq(u32, bpf_run(f, len, 182, 0x40000003u, 0), ERRNO | EPERM));
	cr_expect(eq(u32, bpf_run(f, len, 184, 0x40000003u, 0), ERRNO | ENOSYS));
	free(prog);
	/* What is allowed by default needs none. */
	cr_assert(eq(int, compile("{\"defaultAction\":\"SCMP_ACT_LOG\"}", &prog, &len, &e), 0));
	cr_expect(eq(u32, bpf_run(prog, len / sizeof(*f), 400, X86_64, 0), 0x7ffc0000u));
	free(prog);
}

Test(seccomp, every_action_and_operator)
{
	static const struct {
		const char *name;
		uint32_t ret;
	} actions[] = {
	    {"SCMP_ACT_KILL", 0},
	    {"SCMP_ACT_KILL_THREAD", 0},
	    {"SCMP_ACT_KILL_PROCESS", 0x80000000u},
	    {"SCMP_ACT_TRAP", 0x00030000u},
	    {"SCMP_ACT_ERRNO", ERRNO | 7},
	    {"SCMP_ACT_TRACE", 0x7ff00000u | 7},
	    {"SCMP_ACT_LOG", 0x7ffc0000u},
	};
	static const struct {
		const char *op;
		uint64_t below, equal, above; /* does it match 4, 5, 6? */
	} operators[] = {
	    {"SCMP_CMP_NE", 1, 0, 1},	     {"SCMP_CMP_LT", 1, 0, 0}, {"SCMP_CMP_LE", 1, 1, 0},
	    {"SCMP_CMP_EQ", 0, 1, 0},	     {"SCMP_CMP_GE", 0, 1, 1}, {"SCMP_CMP_GT", 0, 0, 1},
	    {"SCMP_CMP_MASKED_EQ", 0, 1, 0},
	};
	char text[512];
	void *prog = NULL;
	size_t len = 0;
	struct err e = {0};

	for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
		(void)snprintf(text, sizeof(text),
			       "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":"
			       "[\"read\"],\"action\":\"%s\",\"errnoRet\":7}]}",
			       actions[i].name);
		cr_assert(eq(int, compile(text, &prog, &len, &e), 0), "%s", e.msg);
		cr_expect(eq(u32, bpf_run(prog, len / 8, 0, X86_64, 0), actions[i].ret), "%s",
			  actions[i].name);
		free(prog);
	}
	for (size_t i = 0; i < ARRAY_LEN(operators); i++) {
		/* For the masked one: value is the mask, valueTwo what has to be left. */
		(void)snprintf(
		    text, sizeof(text),
		    "{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		    "\"action\":\"SCMP_ACT_TRAP\",\"args\":[{\"index\":0,\"value\":%d,\"valueTwo\":"
		    "5,\"op\":\"%s\"}]}]}",
		    i == ARRAY_LEN(operators) - 1 ? 255 : 5, operators[i].op);
		cr_assert(eq(int, compile(text, &prog, &len, &e), 0), "%s", e.msg);
		cr_expect(
		    eq(int, bpf_run(prog, len / 8, 0, X86_64, 4) != ALLOW, (int)operators[i].below),
		    "%s", operators[i].op);
		cr_expect(
		    eq(int, bpf_run(prog, len / 8, 0, X86_64, 5) != ALLOW, (int)operators[i].equal),
		    "%s", operators[i].op);
		cr_expect(
		    eq(int, bpf_run(prog, len / 8, 0, X86_64, 6) != ALLOW, (int)operators[i].above),
		    "%s", operators[i].op);
		free(prog);
	}
}

Test(seccomp, errors)
{
	void *prog = NULL;
	size_t len = 0;
	struct err e = {0};

	cr_expect(lt(int, compile("{\"defaultAction\":\"SCMP_ACT_NO\"}", &prog, &len, &e), 0));
	cr_expect(strstr(e.msg, "'SCMP_ACT_NO' is unknown") != NULL);
	e = (struct err){0};
	cr_expect(lt(int, compile("{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}", &prog, &len, &e), 0));
	e = (struct err){0};
	cr_expect(
	    lt(int,
	       compile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"syscalls\":[{\"names\":[\"read\"],"
		       "\"action\":\"SCMP_ACT_ERRNO\",\"args\":[{\"index\":6,\"value\":0,"
		       "\"op\":\"SCMP_CMP_EQ\"}]}]}",
		       &prog, &len, &e),
	       0));
	cr_expect(strstr(e.msg, "arguments 0 to 5") != NULL, "%s", e.msg);
	e = (struct err){0};
	cr_expect(lt(int,
		     compile("{\"defaultAction\":\"SCMP_ACT_ALLOW\",\"architectures\":[\"x86\"]}",
			     &prog, &len, &e),
		     0));
}

Test(spec, sysctls_that_wait_for_the_network)
{
	static const struct {
		const char *key;
		bool waits;
	} cases[] = {
	    {"net.ipv4.conf.eth0.forwarding", true},
	    {"net/ipv4/conf/eth0.7/forwarding", true},
	    {"net.ipv6.neigh.eth0.gc_stale_time", true},
	    {"net.ipv4.conf.all.forwarding", false},
	    {"net.ipv4.conf.default.rp_filter", false},
	    {"net.ipv4.conf.lo.rp_filter", false},
	    {"net/ipv4/conf/all/forwarding", false},
	    {"net.ipv4.ip_forward", false},
	    {"net.core.somaxconn", false},
	    {"kernel.conf.conf.eth0", false},
	    {"net.ipv4.co.eth0.x", false},
	    {"net", false},
	    {"", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		auto_json root = json_object_new_object();
		struct json_object *lin = json_object_new_object(), *ctl = json_object_new_object();
		struct spec s = {.root = root};

		cr_expect_not(spec_names_interfaces(&s));
		json_object_object_add(root, "linux", lin);
		json_object_object_add(lin, "sysctl", ctl);
		json_add_str(ctl, cases[i].key, "1");
		cr_expect_eq(spec_names_interfaces(&s), cases[i].waits, "%s", cases[i].key);
	}
}

Test(b64, padding)
{
	static const char *const want[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="};

	for (size_t i = 0; i < 5; i++) {
		auto_free char *got = b64_encode("foobar", i);

		cr_expect_str_eq(got, want[i]);
	}
}
