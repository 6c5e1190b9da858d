/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p: making, renaming and removing directory entries. Worker threads.
 *
 * All calls are relative to a directory's descriptor and take one checked name. What is made has its
 * owner from the first moment: the attach's uid and the request's gid are the thread's file system
 * identity for the call (p9_worker_as).
 */
#include "virtio/p9.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#include "base/fd.h"

static int get_dir(struct p9_ctx *c, uint32_t no, struct p9_fid **ret)
{
	auto_fid f = NULL;
	int rc = p9_fids_get_inode(&c->s->fids, no, &f);

	if (rc < 0)
		return rc;
	if (f->fmt != S_IFDIR)
		return -ENOTDIR;
	*ret = f;
	f = NULL;
	return 0;
}

/* All arguments are read: find the directory. */
static int begin(struct p9_ctx *c, uint32_t no, struct p9_fid **dir)
{
	int rc = p9_get_end(&c->in);

	return rc < 0 ? rc : get_dir(c, no, dir);
}

/* The same, and become who is going to own what is made. */
static int begin_making(struct p9_ctx *c, uint32_t no, uint32_t gid, struct p9_fid **dir)
{
	int rc = begin(c, no, dir);

	return rc < 0 ? rc : p9_worker_as(c->w, (*dir)->uid, gid);
}

static int put_entry(struct p9_ctx *c, int dir_fd, const char *name)
{
	struct p9_qid q;
	struct stat st;

	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	p9_qid_of(c->s, &st, &q);
	p9_put_qid(&c->out, &q);
	return 0;
}

int p9_do_symlink(struct p9_ctx *c)
{
	char name[NAME_MAX + 1], target[PATH_MAX];
	uint32_t no = p9_get32(&c->in), gid;
	auto_fid dir = NULL;
	int rc;

	p9_get_name(&c->in, name);
	p9_get_str(&c->in, target, sizeof(target)); /* any text: it is resolved in the guest */
	gid = p9_get32(&c->in);
	rc = begin_making(c, no, gid, &dir);
	if (rc == 0 && symlinkat(target, dir->fd, name) < 0)
		rc = -errno;
	return rc < 0 ? rc : put_entry(c, dir->fd, name);
}

int p9_do_mknod(struct p9_ctx *c)
{
	char name[NAME_MAX + 1];
	uint32_t no = p9_get32(&c->in), mode, major, minor, gid;
	auto_fid dir = NULL;
	int rc;

	p9_get_name(&c->in, name);
	mode = p9_get32(&c->in);
	major = p9_get32(&c->in);
	minor = p9_get32(&c->in);
	gid = p9_get32(&c->in);
	rc = begin_making(c, no, gid, &dir);
	if (rc == 0 && (mode & S_IFMT) == S_IFDIR)
		rc = -EPERM;
	if (rc == 0 && mknodat(dir->fd, name, mode & (S_IFMT | 07777), makedev(major, minor)) < 0)
		rc = -errno;
	return rc < 0 ? rc : put_entry(c, dir->fd, name);
}

int p9_do_mkdir(struct p9_ctx *c)
{
	char name[NAME_MAX + 1];
	uint32_t no = p9_get32(&c->in), mode, gid;
	auto_fid dir = NULL;
	int rc;

	p9_get_name(&c->in, name);
	mode = p9_get32(&c->in);
	gid = p9_get32(&c->in);
	rc = begin_making(c, no, gid, &dir);
	if (rc == 0 && mkdirat(dir->fd, name, mode & 07777) < 0)
		rc = -errno;
	return rc < 0 ? rc : put_entry(c, dir->fd, name);
}

int p9_do_link(struct p9_ctx *c)
{
	char name[NAME_MAX + 1], proc[P9_PROC_NAME];
	uint32_t dir_no = p9_get32(&c->in), no = p9_get32(&c->in);
	auto_fid dir = NULL;
	auto_fid f = NULL;
	int rc;

	p9_get_name(&c->in, name);
	rc = begin(c, dir_no, &dir);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc < 0)
		return rc;
	/* The "link" in /proc that is followed here is the inode itself, a symbolic link included. */
	p9_proc_name(proc, f->fd);
	return linkat(c->s->proc_fd, proc, dir->fd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

int p9_do_renameat(struct p9_ctx *c)
{
	char from[NAME_MAX + 1], to[NAME_MAX + 1];
	uint32_t from_no = p9_get32(&c->in), to_no;
	auto_fid from_dir = NULL;
	auto_fid to_dir = NULL;
	int rc;

	p9_get_name(&c->in, from);
	to_no = p9_get32(&c->in);
	p9_get_name(&c->in, to);
	rc = begin(c, from_no, &from_dir);
	if (rc == 0)
		rc = get_dir(c, to_no, &to_dir);
	if (rc < 0 || !from_dir || !to_dir) /* the latter for the compiler */
		return rc;
	return renameat(from_dir->fd, from, to_dir->fd, to) < 0 ? -errno : 0;
}

int p9_do_unlinkat(struct p9_ctx *c)
{
	char name[NAME_MAX + 1];
	uint32_t no = p9_get32(&c->in), flags;
	auto_fid dir = NULL;
	int rc;

	p9_get_name(&c->in, name);
	flags = p9_get32(&c->in);
	rc = begin(c, no, &dir);
	if (rc == 0 && (flags & ~(uint32_t)AT_REMOVEDIR))
		rc = -EINVAL;
	if (rc < 0)
		return rc;
	return unlinkat(dir->fd, name, (int)flags) < 0 ? -errno : 0;
}

/* By fid instead of by name; Linux asks for it only where the "at" requests are unknown. */
int p9_do_rename(struct p9_ctx *c)
{
	char from[NAME_MAX + 1], to[NAME_MAX + 1];
	uint32_t no = p9_get32(&c->in), dir_no = p9_get32(&c->in);
	auto_fid f = NULL;
	auto_fid dir = NULL;
	auto_fd from_fd = -1;
	int rc;

	p9_get_name(&c->in, to);
	rc = begin(c, dir_no, &dir);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc == 0)
		rc = p9_parent(c->s, f, &from_fd, from);
	if (rc < 0)
		return rc;
	return renameat(from_fd, from, dir->fd, to) < 0 ? -errno : 0;
}

/* The fid is gone afterwards, whether the file could be removed or not. */
int p9_do_remove(struct p9_ctx *c)
{
	char name[NAME_MAX + 1];
	auto_fid f = NULL;
	auto_fd dir = -1;
	int rc = p9_let_go(c, &f);

	if (rc < 0)
		return rc;
	if (f->kind != P9_OPEN && f->kind != P9_PATH)
		return -EBADF;
	if (c->s->readonly)
		return -EROFS;
	rc = p9_parent(c->s, f, &dir, name);
	if (rc < 0)
		return rc;
	return unlinkat(dir, name, f->fmt == S_IFDIR ? AT_REMOVEDIR : 0) < 0 ? -errno : 0;
}
