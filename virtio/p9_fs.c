/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p: finding inodes and their attributes: attach, walk, clunk, open, getattr, setattr, statfs, readlink.
 *
 * Worker threads. Every lookup starts from a descriptor that is held and takes one name at a time,
 * never through a link, so nothing outside of the tree can be reached, whatever the guest or the host
 * rename meanwhile. Inodes are named by O_PATH descriptors first; only regular files and directories
 * are opened for I/O, by way of /proc/self/fd, after their type was looked at: opening a device or a
 * fifo would act on the host.
 */
#include "virtio/p9.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include "base/fd.h"

#define BENEATH (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)

static int open_beneath(int dir_fd, const char *path, uint64_t flags, bool cached)
{
	struct open_how how = {.flags = flags | O_CLOEXEC,
			       .resolve =
				   BENEATH | (cached ? RESOLVE_CACHED | RESOLVE_NO_XDEV : 0)};
	long fd;

	/* EAGAIN: a rename anywhere raced with a ".." check; the kernel asks to try again. */
	for (int i = 0; i < 16; i++) {
		fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
		if (fd >= 0 || cached || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

int p9_open_entry(int dir_fd, const char *name, bool cached, int *ret_fd)
{
	int fd = p9_name_check(name);

	if (fd == 0)
		fd = open_beneath(dir_fd, name, O_PATH | O_NOFOLLOW, cached);
	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int p9_reopen(struct p9 *s, const struct p9_fid *f, int flags, int *ret_fd)
{
	char name[P9_PROC_NAME];
	int fd;

	if (f->fmt == S_IFLNK)
		return -ELOOP;
	if (f->fmt != S_IFREG && f->fmt != S_IFDIR)
		return -EOPNOTSUPP;
	if (f->fmt == S_IFDIR)
		flags |= O_DIRECTORY;
	p9_proc_name(name, f->fd);
	do
		fd = openat(s->proc_fd, name, flags | O_CLOEXEC | O_NOCTTY);
	while (fd < 0 && errno == EINTR);
	if (fd < 0 && errno == EPERM && (flags & O_NOATIME))
		fd = openat(s->proc_fd, name, (flags & ~O_NOATIME) | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

static int read_proc_link(struct p9 *s, int fd, char path[PATH_MAX])
{
	char name[P9_PROC_NAME];
	ssize_t n;

	p9_proc_name(name, fd);
	n = readlinkat(s->proc_fd, name, path, PATH_MAX);
	if (n < 0)
		return -errno;
	if (n >= PATH_MAX || path[0] != '/')
		return -ENOENT;
	path[n] = 0;
	return 0;
}

/* Where @f was last seen beneath the root: part of @path. NULL: it is the root, or is not beneath it. */
static char *seen_at(struct p9 *s, const struct p9_fid *f, char path[PATH_MAX])
{
	char root[PATH_MAX];
	size_t len;

	path[0] = 0;
	if (read_proc_link(s, s->root_fd, root) < 0 || read_proc_link(s, f->fd, path) < 0)
		return NULL;
	len = strlen(root);
	if (len == 1)
		len = 0; /* the root is "/" */
	if (strncmp(path, root, len) != 0 || path[len] != '/' || !path[len + 1])
		return NULL;
	return path + len + 1;
}

static bool is_inode(const struct stat *st, const struct p9_fid *f)
{
	return st->st_dev == f->dev && st->st_ino == f->ino;
}

int p9_path(struct p9 *s, const struct p9_fid *f, char path[PATH_MAX])
{
	char *rel = seen_at(s, f, path);
	auto_fd fd = -1;
	struct stat st;
	int rc;

	if (!rel) {
		if (fstat(s->root_fd, &st) < 0 || !is_inode(&st, f))
			return -ENOENT;
		path[0] = 0;
		return 0;
	}
	memmove(path, rel, strlen(rel) + 1);
	rc = p9_open_path(s, path, &fd);
	if (rc == 0 && (fstat(fd, &st) < 0 || !is_inode(&st, f)))
		rc = -ENOENT;
	return rc;
}

int p9_open_path(struct p9 *s, const char *path, int *ret_fd)
{
	int fd = *path ? open_beneath(s->root_fd, path, O_PATH | O_NOFOLLOW, false)
		       : fcntl(s->root_fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0)
		return *path ? fd : -errno;
	*ret_fd = fd;
	return 0;
}

/* The path is only a hint for where to look: what is found there is compared with the inode. */
int p9_parent(struct p9 *s, const struct p9_fid *f, int *ret_fd, char name[NAME_MAX + 1])
{
	char path[PATH_MAX];
	auto_fd dir = -1;
	struct stat st;
	char *rel = seen_at(s, f, path), *base;
	int rc;

	if (!rel)
		return -ENOENT;
	base = strrchr(rel, '/');
	if (base) {
		*base++ = 0;
		dir = open_beneath(s->root_fd, rel, O_PATH | O_DIRECTORY, false);
	} else {
		base = rel;
		dir = fcntl(s->root_fd, F_DUPFD_CLOEXEC, 0);
		if (dir < 0)
			dir = -errno;
	}
	if (dir < 0)
		return dir;
	rc = p9_name_check(base);
	if (rc < 0)
		return rc;
	if (fstatat(dir, base, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!is_inode(&st, f))
		return -ENOENT;
	(void)snprintf(name, NAME_MAX + 1, "%s", base);
	*ret_fd = fd_take(&dir);
	return 0;
}

static int qid_of_fd(struct p9 *s, int fd, struct p9_qid *q)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	p9_qid_of(s, &st, q);
	return 0;
}

/* @aname: "" and "/" are the root, other paths lead to directories beneath it. */
int p9_do_attach(struct p9_ctx *c)
{
	char uname[256], aname[PATH_MAX], *rel = aname;
	uint32_t no = p9_get32(&c->in), afid = p9_get32(&c->in), uid;
	auto_fid f = NULL;
	struct p9_qid q;
	int rc, fd;

	p9_get_str(&c->in, uname, sizeof(uname));
	p9_get_str(&c->in, aname, sizeof(aname));
	uid = p9_get32(&c->in);
	rc = p9_get_end(&c->in);
	if (rc < 0)
		return rc;
	if (afid != P9_NOFID)
		return -EOPNOTSUPP; /* there is no authentication */
	while (*rel == '/')
		rel++;
	if (*rel)
		fd = open_beneath(c->s->root_fd, rel, O_PATH | O_DIRECTORY, false);
	else if ((fd = fcntl(c->s->root_fd, F_DUPFD_CLOEXEC, 0)) < 0)
		fd = -errno;
	if (fd < 0)
		return fd;
	rc = p9_fid_new(c->s, P9_PATH, fd, uid == P9_NOUID ? 0 : uid, &f);
	if (rc == 0)
		rc = qid_of_fd(c->s, f->fd, &q);
	if (rc == 0)
		rc = p9_fids_add(&c->s->fids, c->r->session, no, f);
	if (rc < 0)
		return rc;
	p9_put_qid(&c->out, &q);
	return 0;
}

/* One step from @from. ".." of the root is the root; other parents lie beneath it. */
static int walk_step(struct p9_ctx *c, const struct p9_fid *from, const char *name, int *ret_fd)
{
	struct p9 *s = c->s;
	char ignored[NAME_MAX + 1];
	struct stat st;
	int rc;

	if (!c->w) {
		/*
		 * On the loop: what is not at hand, and what takes more rights than the loop has, is
		 * a worker's.
		 */
		if (!p9_is_local(s, from) || !strcmp(name, ".."))
			return -EAGAIN;
		rc = p9_open_entry(from->fd, name, true, ret_fd);
		return rc == -EACCES || rc == -EPERM || rc == -EINTR || rc == -EXDEV ||
			       rc == -ENFILE || rc == -EMFILE || rc == -EINVAL
			   ? -EAGAIN
			   : rc;
	}
	if (strcmp(name, "..") != 0)
		return p9_open_entry(from->fd, name, false, ret_fd);
	if (from->fmt != S_IFDIR)
		return -ENOTDIR;
	if (fstat(s->root_fd, &st) < 0)
		return -errno;
	if (st.st_dev != from->dev || st.st_ino != from->ino)
		return p9_parent(s, from, ret_fd, ignored);
	*ret_fd = fcntl(s->root_fd, F_DUPFD_CLOEXEC, 0);
	return *ret_fd < 0 ? -errno : 0;
}

/* Walks the names of the message; @at is replaced step by step. Returns the number of steps or -errno. */
static int walk_names(struct p9_ctx *c, unsigned cnt, struct p9_fid **at,
		      struct p9_qid qid[P9_WALK_MAX])
{
	char name[NAME_MAX + 1];

	for (unsigned i = 0; i < cnt; i++) {
		struct p9_fid *next = NULL;
		int fd = -1, rc;

		p9_get_str(&c->in, name, sizeof(name));
		rc = c->in.err;
		if (rc == 0)
			rc = walk_step(c, *at, name, &fd);
		if (rc == 0)
			rc = p9_fid_new(c->s, P9_PATH, fd, (*at)->uid, &next);
		if (rc < 0)
			return i && !c->in.err && (c->w || rc != -EAGAIN) ? (int)i : rc;
		p9_fid_put(*at);
		*at = next;
		rc = qid_of_fd(c->s, next->fd, &qid[i]);
		if (rc < 0)
			return rc;
	}
	return (int)cnt;
}

int p9_do_walk(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in), new_no = p9_get32(&c->in);
	unsigned cnt = p9_get16(&c->in);
	struct p9_qid qid[P9_WALK_MAX];
	auto_fid from = NULL;
	auto_fid at = NULL;
	int rc = c->in.err, done;

	if (rc < 0 || cnt > P9_WALK_MAX)
		return rc < 0 ? rc : -EINVAL;
	rc = p9_fids_get_inode(&c->s->fids, no, &from);
	if (rc < 0)
		return rc;
	if (!cnt && from->kind == P9_OPEN) {
		/* A second name for the inode, not for the open file. */
		int fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 0);

		rc = fd < 0 ? -errno : p9_fid_new(c->s, P9_PATH, fd, from->uid, &at);
		if (rc < 0)
			return rc;
	} else {
		at = p9_fid_ref(from);
	}
	done = walk_names(c, cnt, &at, qid);
	if (done < 0)
		return done;
	if ((unsigned)done == cnt) {
		rc = p9_get_end(&c->in);
		if (rc == 0 && no == new_no && cnt)
			rc = p9_fids_swap(&c->s->fids, no, from, at);
		else if (rc == 0 && no != new_no)
			rc = p9_fids_add(&c->s->fids, c->r->session, new_no, at);
		if (rc < 0)
			return rc;
	}
	p9_put16(&c->out, (uint16_t)done);
	for (int i = 0; i < done; i++)
		p9_put_qid(&c->out, &qid[i]);
	return 0;
}

bool p9_is_local(const struct p9 *s, const struct p9_fid *f)
{
	return s->local && f->dev == s->root_dev;
}

/*
 * Takes out what the loop may close: not an attribute that would be set, nor the last hold on a file
 * without a name, whose blocks would be freed here.
 */
static int take_harmless(struct p9 *s, uint32_t no, struct p9_fid **ret)
{
	struct p9_fid *f = NULL;
	struct stat st;
	int rc = p9_fids_get_inode(&s->fids, no, &f);

	if (rc == 0 && (!p9_is_local(s, f) || fstat(f->fd, &st) < 0 || !st.st_nlink))
		rc = -EAGAIN;
	if (rc == 0)
		rc = p9_fids_take_old(&s->fids, no, f);
	if (rc == 0)
		*ret = f;
	else
		p9_fid_put(f);
	/* An attribute's number, or none at all: the worker tells. */
	return rc < 0 ? -EAGAIN : 0;
}

int p9_let_go(struct p9_ctx *c, struct p9_fid **ret)
{
	uint32_t no = p9_get32(&c->in);
	int rc = p9_get_end(&c->in);

	if (rc == 0)
		rc = c->w ? p9_fids_take(&c->s->fids, no, ret) : take_harmless(c->s, no, ret);
	if (rc == 0 && (*ret)->kind == P9_OPEN)
		p9_locks_drop(c->s, *ret);
	return rc;
}

int p9_do_clunk(struct p9_ctx *c)
{
	auto_fid f = NULL;
	int rc = p9_let_go(c, &f);

	if (rc < 0)
		return rc;
	return f->kind == P9_XATTR_W ? p9_xattr_commit(c->w, f) : 0;
}

/* Flags of 9P2000.L are those of Linux on x86; what only makes sense in the guest is left out. */
static int open_flags(uint32_t l, int *ret)
{
	static const struct {
		uint32_t l;
		int o;
	} map[] = {
	    {01000, O_TRUNC},	    {02000, O_APPEND},	   {010000, O_DSYNC},
	    {0200000, O_DIRECTORY}, {01000000, O_NOATIME}, {04000000, O_SYNC},
	};
	int o = (int)(l & 3);

	if (o == 3)
		return -EINVAL;
	for (unsigned i = 0; i < ARRAY_LEN(map); i++) {
		if (l & map[i].l)
			o |= map[i].o;
	}
	*ret = o;
	return 0;
}

static void put_opened(struct p9_ctx *c, const struct p9_qid *q)
{
	p9_put_qid(&c->out, q);
	p9_put32(&c->out, 0); /* iounit: no other limit than msize */
}

/*
 * The opened file takes the fid's place; requests that run on the old object keep that. So an open fid
 * holds one descriptor, not two.
 */
int p9_do_lopen(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in), lflags = p9_get32(&c->in);
	auto_fid f = NULL;
	auto_fid opened = NULL;
	struct p9_qid q;
	int rc = p9_get_end(&c->in), flags = 0, fd = -1;

	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc == 0)
		rc = open_flags(lflags, &flags);
	if (rc < 0)
		return rc;
	if (f->kind != P9_PATH)
		return -EBUSY;
	if (c->s->readonly && ((flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC)))
		return -EROFS;
	rc = p9_reopen(c->s, f, flags, &fd);
	if (rc == 0)
		rc = p9_fid_new(c->s, P9_OPEN, fd, f->uid, &opened);
	if (rc == 0)
		rc = qid_of_fd(c->s, opened->fd, &q);
	if (rc == 0)
		rc = p9_fids_swap(&c->s->fids, no, f, opened);
	if (rc == 0)
		put_opened(c, &q);
	return rc;
}

/*
 * Always O_EXCL at first: an entry that is there already, put there a moment ago perhaps, is opened by
 * the way that looks at its type.
 */
static int create_or_open(struct p9_ctx *c, const struct p9_fid *dir, const char *name,
			  uint32_t lflags, int flags, mode_t mode, int *ret_fd)
{
	for (int i = 0; i < 8; i++) {
		auto_fid there = NULL;
		int fd = openat(dir->fd, name,
				flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, mode);
		int rc = fd < 0 ? -errno : 0;

		if (rc == 0) {
			*ret_fd = fd;
			return 0;
		}
		if (rc != -EEXIST || (lflags & 0200))
			return rc;
		rc = p9_open_entry(dir->fd, name, false, &fd);
		if (rc == -ENOENT)
			continue;
		if (rc == 0)
			rc = p9_fid_new(c->s, P9_PATH, fd, dir->uid, &there);
		if (rc == 0 && there->fmt == S_IFDIR)
			rc = -EISDIR;
		return rc < 0 ? rc : p9_reopen(c->s, there, flags, ret_fd);
	}
	return -ENOENT;
}

int p9_do_lcreate(struct p9_ctx *c)
{
	char name[NAME_MAX + 1];
	uint32_t no = p9_get32(&c->in), lflags, mode, gid;
	auto_fid dir = NULL;
	auto_fid made = NULL;
	struct p9_qid q;
	int rc, flags = 0, fd = -1;

	p9_get_name(&c->in, name);
	lflags = p9_get32(&c->in);
	mode = p9_get32(&c->in);
	gid = p9_get32(&c->in);
	rc = p9_get_end(&c->in);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &dir);
	if (rc == 0)
		rc = open_flags(lflags, &flags);
	if (rc == 0 && (dir->kind != P9_PATH || dir->fmt != S_IFDIR))
		rc = -ENOTDIR;
	if (rc == 0)
		rc = p9_worker_as(c->w, dir->uid, gid);
	if (rc == 0)
		rc = create_or_open(c, dir, name, lflags, flags & ~O_DIRECTORY, mode & 07777, &fd);
	if (rc == 0)
		rc = p9_fid_new(c->s, P9_OPEN, fd, dir->uid, &made);
	if (rc == 0)
		rc = qid_of_fd(c->s, made->fd, &q);
	if (rc == 0)
		rc = p9_fids_swap(&c->s->fids, no, dir, made);
	if (rc == 0)
		put_opened(c, &q);
	return rc;
}

#define GETATTR_BASIC 0x7ffull

static void put_time(struct p9_wr *w, const struct timespec *ts)
{
	p9_put64(w, (uint64_t)ts->tv_sec);
	p9_put64(w, (uint64_t)ts->tv_nsec);
}

int p9_do_getattr(struct p9_ctx *c)
{
	static const struct timespec none;
	uint32_t no = p9_get32(&c->in);
	uint64_t mask = p9_get64(&c->in);
	auto_fid f = NULL;
	struct p9_qid q;
	struct stat st;
	int rc = p9_get_end(&c->in);

	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc < 0)
		return rc;
	if (!c->w && !p9_is_local(c->s, f))
		return -EAGAIN;
	if (fstat(f->fd, &st) < 0)
		return -errno;
	p9_qid_of(c->s, &st, &q);
	(void)mask; /* the basic attributes cost nothing extra; the others are not known */
	p9_put64(&c->out, GETATTR_BASIC);
	p9_put_qid(&c->out, &q);
	p9_put32(&c->out, st.st_mode);
	p9_put32(&c->out, st.st_uid);
	p9_put32(&c->out, st.st_gid);
	p9_put64(&c->out, st.st_nlink);
	p9_put64(&c->out, st.st_rdev);
	p9_put64(&c->out, (uint64_t)st.st_size);
	p9_put64(&c->out, (uint64_t)st.st_blksize);
	p9_put64(&c->out, (uint64_t)st.st_blocks);
	put_time(&c->out, &st.st_atim);
	put_time(&c->out, &st.st_mtim);
	put_time(&c->out, &st.st_ctim);
	put_time(&c->out, &none); /* birth time */
	p9_put64(&c->out, 0);	  /* generation */
	p9_put64(&c->out, 0);	  /* data version */
	return 0;
}

enum {
	SET_MODE = 1,
	SET_UID = 2,
	SET_GID = 4,
	SET_SIZE = 8,
	SET_ATIME = 0x10,
	SET_MTIME = 0x20,
	SET_CTIME = 0x40,
	SET_ATIME_TO = 0x80,
	SET_MTIME_TO = 0x100,
};

struct attrs {
	uint32_t valid, mode, uid, gid;
	uint64_t size;
	uint64_t sec[2], nsec[2];
};

static int set_size(struct p9 *s, const struct p9_fid *f, uint64_t size)
{
	auto_fd fd = -1;
	int rc;

	if (f->fmt == S_IFDIR)
		return -EISDIR;
	if (f->fmt != S_IFREG || size > INT64_MAX)
		return -EINVAL;
	/* The fid may be open for reading, or not at all. */
	if (f->kind == P9_OPEN && ftruncate(f->fd, (off_t)size) == 0)
		return 0;
	rc = p9_reopen(s, f, O_WRONLY, &fd);
	if (rc == 0 && ftruncate(fd, (off_t)size) < 0)
		rc = -errno;
	return rc;
}

static int set_times(const struct p9_fid *f, const struct attrs *a)
{
	struct timespec ts[2];

	for (int i = 0; i < 2; i++) {
		bool on = a->valid & (i ? SET_MTIME : SET_ATIME);
		bool to = a->valid & (i ? SET_MTIME_TO : SET_ATIME_TO);

		if (on && to && a->nsec[i] >= 1000000000ull)
			return -EINVAL;
		ts[i].tv_sec = to ? (time_t)a->sec[i] : 0;
		ts[i].tv_nsec = !on ? UTIME_OMIT : to ? (long)a->nsec[i] : UTIME_NOW;
	}
	return utimensat(f->fd, "", ts, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* The owner before the mode: a change of owner clears set-id bits that the mode may want. */
static int set_attrs(struct p9 *s, const struct p9_fid *f, const struct attrs *a)
{
	bool own = a->valid & (SET_UID | SET_GID);
	char name[P9_PROC_NAME];
	int rc = 0;

	if (a->valid & SET_SIZE)
		rc = set_size(s, f, a->size);
	/* A change of nothing still brings the change time up to date, which is all that SET_CTIME asks. */
	if (rc == 0 && (own || a->valid == SET_CTIME) &&
	    fchownat(f->fd, "", a->valid & SET_UID ? a->uid : (uid_t)-1,
		     a->valid & SET_GID ? a->gid : (gid_t)-1, AT_EMPTY_PATH) < 0)
		rc = -errno;
	p9_proc_name(name, f->fd);
	if (rc == 0 && (a->valid & SET_MODE) && fchmodat(s->proc_fd, name, a->mode & 07777, 0) < 0)
		rc = -errno;
	if (rc == 0 && (a->valid & (SET_ATIME | SET_MTIME)))
		rc = set_times(f, a);
	return rc;
}

int p9_do_setattr(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in);
	struct attrs a = {.valid = p9_get32(&c->in)};
	auto_fid f = NULL;
	int rc;

	a.mode = p9_get32(&c->in);
	a.uid = p9_get32(&c->in);
	a.gid = p9_get32(&c->in);
	a.size = p9_get64(&c->in);
	for (int i = 0; i < 2; i++) {
		a.sec[i] = p9_get64(&c->in);
		a.nsec[i] = p9_get64(&c->in);
	}
	rc = p9_get_end(&c->in);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	return rc < 0 ? rc : set_attrs(c->s, f, &a);
}

int p9_do_statfs(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in);
	auto_fid f = NULL;
	struct statfs st;
	uint32_t id[2];
	int rc = p9_get_end(&c->in);

	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc < 0)
		return rc;
	if (fstatfs(f->fd, &st) < 0)
		return -errno;
	memcpy(id, &st.f_fsid, sizeof(id));
	p9_put32(&c->out, (uint32_t)st.f_type);
	p9_put32(&c->out, (uint32_t)st.f_bsize);
	p9_put64(&c->out, st.f_blocks);
	p9_put64(&c->out, st.f_bfree);
	p9_put64(&c->out, st.f_bavail);
	p9_put64(&c->out, st.f_files);
	p9_put64(&c->out, st.f_ffree);
	p9_put64(&c->out, (uint64_t)id[0] | (uint64_t)id[1] << 32);
	p9_put32(&c->out, (uint32_t)st.f_namelen);
	return 0;
}

int p9_do_readlink(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in);
	char target[PATH_MAX];
	auto_fid f = NULL;
	ssize_t n;
	int rc = p9_get_end(&c->in);

	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc < 0)
		return rc;
	n = readlinkat(f->fd, "", target, sizeof(target));
	if (n < 0)
		return errno == ENOENT ? -EINVAL : -errno; /* ENOENT: not a link */
	if (n == sizeof(target))
		return -ENAMETOOLONG;
	target[n] = 0;
	p9_put_str(&c->out, target);
	return 0;
}
