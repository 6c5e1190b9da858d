/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who the process is: limits, groups, user, capabilities (capabilities(7)). In the child, in an
 * order that a seccomp filter without no_new_privs can be loaded at the end: only capset and execve
 * follow it.
 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent/child.h"

static int caps_set(uint64_t permitted, uint64_t effective, uint64_t inheritable)
{
	struct __user_cap_header_struct hdr = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
		data[i].effective = (uint32_t)(effective >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	return syscall(SYS_capset, &hdr, data) < 0 ? -errno : 0;
}

static int drop_bounding(const struct spec_process *p, struct err *e)
{
	/* Up to the last one that this kernel knows. */
	for (int cap = 0; cap < 64; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			break;
		if (p->caps[CAPS_BOUNDING] >> cap & 1)
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return err_sys(e, -errno, "dropping capability %d from the bounding set",
				       cap);
	}
	return 0;
}

static int raise_ambient(const struct spec_process *p, struct err *e)
{
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int cap = 0; cap < 64; cap++)
		if (p->caps[CAPS_AMBIENT] >> cap & 1 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
			return err_sys(e, -errno, "raising ambient capability %d", cap);
	return 0;
}

int cred_limits(const struct spec_process *p, struct err *e)
{
	for (size_t i = 0; i < p->rlimits_cnt; i++) {
		const struct spec_rlimit *r = &p->rlimits[i];
		struct rlimit rl = {.rlim_cur = r->soft, .rlim_max = r->hard};

		if (setrlimit((__rlimit_resource_t)r->res, &rl) < 0)
			return err_sys(e, -errno, "setting resource limit %d", r->res);
	}
	return 0;
}

int cred_begin(const struct spec_process *p, struct err *e)
{
	const uint64_t admin = 1ull << CAP_SYS_ADMIN;
	int rc = drop_bounding(p, e);

	if (rc < 0)
		return rc;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_sys(e, -errno, "keeping capabilities");
	if (setgroups(p->groups_cnt, p->groups) < 0)
		return err_sys(e, -errno, "setting additional groups");
	if (setresgid(p->gid, p->gid, p->gid) < 0)
		return err_sys(e, -errno, "setting group %u", p->gid);
	if (setresuid(p->uid, p->uid, p->uid) < 0)
		return err_sys(e, -errno, "setting user %u", p->uid);
	if (p->has_umask)
		(void)umask(p->umask);
	/* Inheritable first needs to be permitted: what the spec gives and what is needed till the
	 * end. */
	rc = caps_set(p->caps[CAPS_PERMITTED] | admin, p->caps[CAPS_EFFECTIVE] | admin,
		      p->caps[CAPS_INHERITABLE]);
	if (rc < 0)
		return err_sys(e, rc, "setting capabilities");
	return raise_ambient(p, e);
}

int cred_finish(const struct spec_process *p)
{
	return caps_set(p->caps[CAPS_PERMITTED], p->caps[CAPS_EFFECTIVE],
			p->caps[CAPS_INHERITABLE]);
}
