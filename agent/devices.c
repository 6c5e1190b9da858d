/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device nodes: the default ones of the OCI spec (config-linux.md, "Default Devices"), those of
 * linux.devices, and the cgroup's device filter as a BPF program. In a child, but for the filter.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "agent/userns.h"
#include "base/fd.h"

static const struct spec_device defaults[] = {
    {"/dev/null", S_IFCHR | 0666, 1, 3, 0, 0},	  {"/dev/zero", S_IFCHR | 0666, 1, 5, 0, 0},
    {"/dev/full", S_IFCHR | 0666, 1, 7, 0, 0},	  {"/dev/random", S_IFCHR | 0666, 1, 8, 0, 0},
    {"/dev/urandom", S_IFCHR | 0666, 1, 9, 0, 0}, {"/dev/tty", S_IFCHR | 0666, 5, 0, 0, 0},
};

static const char *const links[][2] = {
    {"/dev/fd", "/proc/self/fd"},	{"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"}, {"/dev/stderr", "/proc/self/fd/2"},
    {"/dev/core", "/proc/kcore"},	{"/dev/ptmx", "pts/ptmx"},
};

/* A server without the right to make nodes: the guest's own node, mounted over an empty file. */
static int bind_own_node(int root, const struct spec_device *d)
{
	char path[64];
	auto_fd own = -1;
	auto_fd copy = -1;
	auto_fd target = -1;
	struct stat st;

	(void)snprintf(path, sizeof(path), "/dev/%s/%u:%u", S_ISBLK(d->mode) ? "block" : "char",
		       d->major, d->minor);
	own = open(path, O_PATH | O_CLOEXEC);
	if (own < 0)
		own = open(d->path, O_PATH | O_CLOEXEC);
	if (own < 0 || fstat(own, &st) < 0 || (st.st_mode & S_IFMT) != (d->mode & S_IFMT) ||
	    st.st_rdev != makedev(d->major, d->minor))
		return -EPERM;
	copy = mount_clone(own, false);
	target = jail_make(root, d->path, 0755, true);
	if (copy < 0 || target < 0)
		return copy < 0 ? copy : target;
	return mount_move(copy, target);
}

static int make_node(int root, const struct spec *s, const struct spec_device *d)
{
	uid_t uid = userns_kuid(s, d->uid);
	gid_t gid = userns_kgid(s, d->gid);
	const char *name;
	auto_fd dir = jail_parent(root, d->path, &name);
	dev_t dev = S_ISFIFO(d->mode) ? 0 : makedev(d->major, d->minor);
	struct stat st;

	if (dir < 0)
		return dir;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if ((st.st_mode & S_IFMT) == (d->mode & S_IFMT) &&
		    (S_ISFIFO(d->mode) || st.st_rdev == dev))
			return 0;
		/* Of the image, or of a mount: what the spec says goes. */
		if (S_ISDIR(st.st_mode) || unlinkat(dir, name, 0) < 0)
			return S_ISDIR(st.st_mode) ? -EISDIR : -errno;
	}
	if (mknodat(dir, name, d->mode, dev) < 0)
		return errno == EPERM && !S_ISFIFO(d->mode) ? bind_own_node(root, d) : -errno;
	if (fchownat(dir, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(dir, name, d->mode & 07777, 0) < 0)
		return -errno;
	return 0;
}

static int make_link(int root, const char *path, const char *target)
{
	const char *name;
	auto_fd dir = jail_parent(root, path, &name);

	if (dir < 0)
		return dir;
	return symlinkat(target, dir, name) < 0 && errno != EEXIST ? -errno : 0;
}

/* A /dev from elsewhere (docker run -v /dev:/dev) is left as it is. */
static bool dev_is_bound(const struct spec *s)
{
	for (size_t i = 0; i < s->mounts_cnt; i++)
		if (s->mounts[i].repeat && (strcmp(s->mounts[i].dest, "/dev") == 0 ||
					    strcmp(s->mounts[i].dest, "/dev/") == 0))
			return true;
	return false;
}

/* A disk's numbers are the guest's. */
static struct spec_device with_numbers(const struct container *c, const struct spec_device *d)
{
	struct spec_device copy = *d;

	for (size_t i = 0; i < c->disks_cnt; i++) {
		if (!S_ISBLK(d->mode) || strcmp(c->disks[i].path, d->path) != 0)
			continue;
		copy.major = major(c->disks[i].dev);
		copy.minor = minor(c->disks[i].dev);
	}
	return copy;
}

int devices_make(int root, const struct container *c, struct err *e)
{
	const struct spec *s = &c->spec;
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(defaults) && !dev_is_bound(s); i++) {
		rc = make_node(root, s, &defaults[i]);
		if (rc < 0)
			return err_sys(e, rc, "device '%s'", defaults[i].path);
	}
	for (size_t i = 0; i < ARRAY_LEN(links) && !dev_is_bound(s); i++) {
		rc = make_link(root, links[i][0], links[i][1]);
		if (rc < 0)
			return err_sys(e, rc, "link '%s'", links[i][0]);
	}
	for (size_t i = 0; i < s->devices_cnt; i++) {
		struct spec_device d = with_numbers(c, &s->devices[i]);

		rc = make_node(root, s, &d);
		if (rc < 0)
			return err_sys(e, rc, "device '%s'", s->devices[i].path);
	}
	return 0;
}

/* ---- the cgroup's filter --------------------------------------------------------------------- */

#define INSN(c, d, s, o, i)                                                                        \
	((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define RULE_INSNS 8

/* What every container may use (config-linux.md), later rules win. */
static const struct spec_devrule always[] = {
    {true, 'c', -1, -1, BPF_DEVCG_ACC_MKNOD},
    {true, 'b', -1, -1, BPF_DEVCG_ACC_MKNOD},
    {true, 'c', 1, 3, 7},
    {true, 'c', 1, 5, 7},
    {true, 'c', 1, 7, 7},
    {true, 'c', 1, 8, 7},
    {true, 'c', 1, 9, 7},
    {true, 'c', 5, 0, 7},
    {true, 'c', 5, 1, 7},
    {true, 'c', 5, 2, 7},
    {true, 'c', 136, -1, 7},
};

/*
 * r2 = type, r3 = access, r4 = major, r5 = minor. An allowing rule has to cover all of the access,
 * a denying one any of it.
 */
static size_t emit_rule(struct bpf_insn *out, const struct spec_devrule *r)
{
	size_t n = 0, jumps[4], jcnt = 0;

	if (r->type != 'a') {
		jumps[jcnt++] = n;
		out[n++] = INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_2, 0, 0,
				r->type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
	}
	if (r->access != 7) {
		out[n++] = INSN(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_1, BPF_REG_3, 0, 0);
		out[n++] = INSN(BPF_ALU | BPF_AND | BPF_K, BPF_REG_1, 0, 0,
				(int)(r->allow ? ~r->access & 7 : r->access));
		jumps[jcnt++] = n;
		out[n++] =
		    INSN(BPF_JMP | (r->allow ? BPF_JNE : BPF_JEQ) | BPF_K, BPF_REG_1, 0, 0, 0);
	}
	if (r->type != 'a' && r->major >= 0) {
		jumps[jcnt++] = n;
		out[n++] = INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (int)r->major);
	}
	if (r->type != 'a' && r->minor >= 0) {
		jumps[jcnt++] = n;
		out[n++] = INSN(BPF_JMP | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (int)r->minor);
	}
	out[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, r->allow);
	out[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	for (size_t i = 0; i < jcnt; i++)
		out[jumps[i]].off = (short)(n - jumps[i] - 1);
	return n;
}

static size_t emit_start(struct bpf_insn *out)
{
	size_t n = 0;

	out[n++] = INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, 0, 0);
	out[n++] = INSN(BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
	out[n++] = INSN(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, 0xffff);
	out[n++] = INSN(BPF_ALU | BPF_RSH | BPF_K, BPF_REG_3, 0, 0, 16);
	out[n++] = INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, 4, 0);
	out[n++] = INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, 8, 0);
	return n;
}

/* The rules of a disk: nothing but what is allowed. */
static size_t emit_disk(struct bpf_insn *out, const struct disk_source *d)
{
	struct spec_devrule r = {.allow = true,
				 .type = 'b',
				 .major = major(d->dev),
				 .minor = minor(d->dev),
				 .access = d->access};
	size_t n = d->access ? emit_rule(out, &r) : 0;

	r.allow = false;
	r.access = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
	return n + emit_rule(out + n, &r);
}

int devices_filter(const struct container *c, struct err *e)
{
	const struct spec *s = &c->spec;
	size_t cap = 8 + (s->devrules_cnt + ARRAY_LEN(always) + 2 * c->disks_cnt) * RULE_INSNS, n;
	auto_fd cgroup_fd = cgrp_open(c->id, 0);
	auto_free struct bpf_insn *insns = calloc(cap, sizeof(*insns));
	union bpf_attr attr;
	bool whole = false;
	auto_fd prog = -1;

	if (!s->devrules_cnt)
		return 0;
	if (!insns)
		return err_set(e, -ENOMEM, "devices: out of memory");
	if (cgroup_fd < 0)
		return err_sys(e, cgroup_fd, "devices: the cgroup");
	/* The last rule that fits decides: the program asks them from the end. */
	n = emit_start(insns);
	for (size_t i = 0; i < c->disks_cnt; i++)
		n += emit_disk(insns + n, &c->disks[i]);
	for (size_t i = ARRAY_LEN(always); i > 0; i--)
		n += emit_rule(insns + n, &always[i - 1]);
	/* What comes before a rule about everything counts no more; the verifier refuses dead code.
	 */
	for (size_t i = s->devrules_cnt; i > 0 && !whole; i--) {
		n += emit_rule(insns + n, &s->devrules[i - 1]);
		whole = s->devrules[i - 1].type == 'a' && s->devrules[i - 1].access == 7;
	}
	if (!whole) {
		insns[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0);
		insns[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	}
	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = (uint32_t)n;
	attr.license = (uintptr_t) "Apache-2.0";
	prog = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
	if (prog < 0)
		return err_sys(e, -errno, "devices: loading the filter");
	memset(&attr, 0, sizeof(attr));
	attr.target_fd = (uint32_t)cgroup_fd;
	attr.attach_bpf_fd = (uint32_t)prog;
	attr.attach_type = BPF_CGROUP_DEVICE;
	attr.attach_flags = BPF_F_ALLOW_MULTI;
	if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
		return err_sys(e, -errno, "devices: attaching the filter");
	return 0;
}
