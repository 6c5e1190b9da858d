/* SPDX-License-Identifier: Apache-2.0 */
/* linux.seccomp to BPF with libseccomp. See seccomp.h. */
#include "runtime/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fd.h"

#define WHAT "config.json: linux.seccomp"

const char *const seccomp_action_names[] = {
    "SCMP_ACT_ALLOW",	     "SCMP_ACT_ERRNO",	     "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",	     "SCMP_ACT_TRAP",	     NULL};
const char *const seccomp_operator_names[] = {"SCMP_CMP_NE",	    "SCMP_CMP_LT", "SCMP_CMP_LE",
					      "SCMP_CMP_EQ",	    "SCMP_CMP_GE", "SCMP_CMP_GT",
					      "SCMP_CMP_MASKED_EQ", NULL};
const char *const seccomp_arch_names[] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32",
					  NULL};

const char *const seccomp_flag_names[] = {
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", NULL};

static const uint32_t arch_tokens[] = {SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32};
static const enum scmp_compare operators[] = {SCMP_CMP_NE,	 SCMP_CMP_LT, SCMP_CMP_LE,
					      SCMP_CMP_EQ,	 SCMP_CMP_GE, SCMP_CMP_GT,
					      SCMP_CMP_MASKED_EQ};

static void ctx_release(scmp_filter_ctx *c)
{
	if (*c)
		seccomp_release(*c);
}

static int name_index(const char *const *names, const char *name)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(names[i], name))
			return i;
	return -1;
}

static int action_of(const char *name, uint32_t ret_errno, uint32_t *ret, struct err *e)
{
	uint32_t err = ret_errno & 0xffff;
	const uint32_t codes[] = {SCMP_ACT_ALLOW,	 SCMP_ACT_ERRNO(err),  SCMP_ACT_KILL,
				  SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG,
				  SCMP_ACT_TRACE(err),	 SCMP_ACT_TRAP};
	int i = name_index(seccomp_action_names, name);

	if (!strcmp(name, "SCMP_ACT_NOTIFY"))
		return err_set(e, -ENOTSUP,
			       WHAT
			       ": SCMP_ACT_NOTIFY is not supported: its listener would be on the "
			       "other side of a kernel");
	if (i < 0)
		return err_set(e, -EINVAL, WHAT ": action '%s' is unknown", name);
	*ret = codes[i];
	return 0;
}

static int add_archs(scmp_filter_ctx c, struct json_object *archs, struct err *e)
{
	for (size_t i = 0; archs && i < json_object_array_length(archs); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(archs, i));
		int a = name_index(seccomp_arch_names, name), rc;

		/* Profiles list every architecture of the world; the guest has the host's family.
		 */
		if (strncmp(name, "SCMP_ARCH_", 10) != 0)
			return err_set(e, -EINVAL, WHAT ".architectures: '%s' is unknown", name);
		if (a < 0)
			continue;
		rc = seccomp_arch_add(c, arch_tokens[a]);
		if (rc < 0 && rc != -EEXIST)
			return err_sys(e, rc, WHAT ".architectures: %s", name);
	}
	return 0;
}

static int args_of(struct json_object *args, struct scmp_arg_cmp *cmp, unsigned *cnt, struct err *e)
{
	*cnt = 0;
	for (size_t i = 0; args && i < json_object_array_length(args); i++) {
		struct json_object *a = json_object_array_get_idx(args, i),
				   *v = json_at(a, "value");
		struct json_object *two = json_at(a, "valueTwo");
		int op = name_index(seccomp_operator_names, json_str(a, "op", ""));
		int64_t index = json_i64(a, "index", 0);

		if (op < 0)
			return err_set(e, -EINVAL, WHAT ": operator '%s' is unknown",
				       json_str(a, "op", ""));
		if (index > 5 || *cnt == 6)
			return err_set(e, -EINVAL, WHAT ": a system call has arguments 0 to 5");
		cmp[*cnt].arg = (unsigned)index;
		cmp[*cnt].op = operators[op];
		cmp[*cnt].datum_a = json_object_get_uint64(v);
		cmp[*cnt].datum_b = two ? json_object_get_uint64(two) : 0;
		(*cnt)++;
	}
	return 0;
}

/* The same argument twice in one rule means "or": one rule for each of them, as runc has it. */
static bool same_arg_twice(const struct scmp_arg_cmp *cmp, unsigned cnt)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < cnt; i++) {
		if (seen & (1u << cmp[i].arg))
			return true;
		seen |= 1u << cmp[i].arg;
	}
	return false;
}

static int add_one(scmp_filter_ctx c, uint32_t action, int nr, const struct scmp_arg_cmp *cmp,
		   unsigned cnt)
{
	int rc = 0;

	if (!same_arg_twice(cmp, cnt))
		return seccomp_rule_add_array(c, action, nr, cnt, cmp);
	for (unsigned i = 0; i < cnt && rc == 0; i++)
		rc = seccomp_rule_add_array(c, action, nr, 1, &cmp[i]);
	return rc;
}

static int add_rule(scmp_filter_ctx c, struct json_object *rule, uint32_t def, struct err *e)
{
	struct json_object *names = json_at(rule, "names");
	struct scmp_arg_cmp cmp[6];
	uint32_t action;
	unsigned cnt = 0;
	int rc;

	rc = action_of(json_str(rule, "action", ""), (uint32_t)json_i64(rule, "errnoRet", EPERM),
		       &action, e);
	if (rc == 0)
		rc = args_of(json_at(rule, "args"), cmp, &cnt, e);
	if (rc < 0 || action == def) /* the library refuses a rule that changes nothing */
		return rc;
	for (size_t i = 0; i < json_object_array_length(names); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(names, i));
		int nr = seccomp_syscall_resolve_name(name);

		if (nr == __NR_SCMP_ERROR)
			continue;
		rc = add_one(c, action, nr, cmp, cnt);
		if (rc < 0 && rc != -EEXIST)
			return err_sys(e, rc, WHAT ": rule for '%s'", name);
	}
	return 0;
}

/*
 * A profile knows the system calls of its day. One that is newer than all that it names gets ENOSYS
 * instead of the profile's default error, as under runc: C libraries try new calls first and go back
 * to old ones on ENOSYS alone. In front of the program, for each architecture:
 *
 *	if arch == ARCH and nr > newest and nr is not x32's: return ENOSYS
 */
#define X32_BIT 0x40000000u

struct newest {
	int native, i386; /* -1 = no rule names a call */
};

static void note_newest(struct newest *n, struct json_object *rules)
{
	*n = (struct newest){-1, -1};
	for (size_t i = 0; rules && i < json_object_array_length(rules); i++) {
		struct json_object *names = json_at(json_object_array_get_idx(rules, i), "names");

		for (size_t k = 0; k < json_object_array_length(names); k++) {
			const char *name =
			    json_object_get_string(json_object_array_get_idx(names, k));

			n->native = MAX(n->native,
					seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name));
			n->i386 =
			    MAX(n->i386, seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86, name));
		}
	}
}

static size_t emit_arch(struct sock_filter *out, uint32_t arch, int newest)
{
	const struct sock_filter f[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, arch, 0, 4),
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 2, 0),
	    BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)newest, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	};

	if (newest < 0)
		return 0;
	memcpy(out, f, sizeof(f));
	return ARRAY_LEN(f);
}

/* Takes *prog over and gives another; @def is the profile's default action. */
static int add_stub(void **prog, size_t *len, const struct newest *n, uint32_t def, struct err *e)
{
	struct sock_filter stub[16], *both;
	size_t cnt = 0, bytes;

	if ((def & 0xffff0000u) != (SCMP_ACT_ERRNO(0) & 0xffff0000u) || (def & 0xffff) == ENOSYS)
		return 0;
	cnt += emit_arch(stub + cnt, AUDIT_ARCH_X86_64, n->native);
	cnt += emit_arch(stub + cnt, AUDIT_ARCH_I386, n->i386);
	bytes = cnt * sizeof(*stub);
	both = malloc(bytes + *len);
	if (!both)
		return err_set(e, -ENOMEM, WHAT ": out of memory");
	memcpy(both, stub, bytes);
	memcpy((char *)both + bytes, *prog, *len);
	free(*prog);
	*prog = both;
	*len += bytes;
	return 0;
}

static int check_flags(struct json_object *flags, struct err *e)
{
	for (size_t i = 0; flags && i < json_object_array_length(flags); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(flags, i));

		if (name_index(seccomp_flag_names, name) < 0)
			return err_set(e, -EINVAL, WHAT ".flags: '%s' is unknown", name);
	}
	return 0;
}

static int export(scmp_filter_ctx c, void **ret, size_t *ret_len, struct err *e)
{
	auto_fd fd = memfd_create("seccomp", MFD_CLOEXEC);
	char *buf = NULL;
	int rc;

	if (fd < 0)
		return err_sys(e, -errno, WHAT ": memfd");
	rc = seccomp_export_bpf(c, fd);
	if (rc < 0)
		return err_sys(e, rc, WHAT ": making the program");
	if (lseek(fd, 0, SEEK_SET) < 0)
		return err_sys(e, -errno, WHAT ": memfd");
	rc = fd_read_all(fd, 1 << 20, &buf, ret_len);
	if (rc < 0)
		return err_sys(e, rc, WHAT ": reading the program");
	*ret = buf;
	return 0;
}

int seccomp_compile(struct json_object *s, void **ret, size_t *ret_len, struct err *e)
{
	CLEANUP(ctx_release) scmp_filter_ctx c = NULL;
	struct json_object *rules = json_at(s, "syscalls");
	struct newest newest;
	uint32_t def;
	int rc = check_flags(json_at(s, "flags"), e);

	if (rc < 0)
		return rc;

	if (json_at(s, "listenerPath"))
		return err_set(e, -ENOTSUP, WHAT ".listenerPath: not supported");
	rc = action_of(json_str(s, "defaultAction", ""),
		       (uint32_t)json_i64(s, "defaultErrnoRet", EPERM), &def, e);
	if (rc < 0)
		return rc;
	c = seccomp_init(def);
	if (!c)
		return err_set(e, -ENOMEM, WHAT ": out of memory");
	/* no_new_privs is the agent's business, after the spec's wish. */
	(void)seccomp_attr_set(c, SCMP_FLTATR_CTL_NNP, 0);
	(void)seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	rc = add_archs(c, json_at(s, "architectures"), e);
	for (size_t i = 0; rc == 0 && rules && i < json_object_array_length(rules); i++)
		rc = add_rule(c, json_object_array_get_idx(rules, i), def, e);
	rc = rc ? rc : export(c, ret, ret_len, e);
	if (rc < 0)
		return rc;
	note_newest(&newest, rules);
	rc = add_stub(ret, ret_len, &newest, def, e);
	if (rc < 0) {
		free(*ret);
		*ret = NULL;
	}
	return rc;
}
