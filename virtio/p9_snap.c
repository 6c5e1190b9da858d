/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p: saving and loading what a guest holds: its fids, what it has open, its locks. Loop thread, with the
 * device frozen, so no worker is at work on any of it.
 *
 * A fid is saved as the file's path beneath the share's root, what tells that file from another one
 * (device, inode, type, time of birth), and the flags of its open file. Offsets are the requests' own.
 * Loading opens each path anew, through the same door as a walk, and compares: a file that was removed
 * or replaced meanwhile, and a lock that somebody else has taken, refuse the load by name. A file that
 * is open but has no name any more would be lost, and refuses the save.
 *
 * The record, in the protocol's own encoding:
 *	msize[4]
 *	n[2] n * { dev[8] high[2] }: inode number prefixes, which are part of the guest's qids
 *	n[4] n * { no[4] kind[1] uid[4] flags[4] dev[8] ino[8] fmt[4] born_sec[8] born_nsec[4] path[s] }
 *	     of attribute fids flags are the xattr's, and there follow name[s] len[4] and the bytes
 *	n[4] n * lock, see p9_locks_save()
 */
#include "virtio/p9.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/fd.h"

/* All that an open file keeps; the rest of its flags has done what it does. */
#define OPEN_FLAGS (O_ACCMODE | O_APPEND | O_DSYNC | O_SYNC | O_NOATIME)
#define FID_FIXED  45u

struct id {
	uint64_t dev, ino, born_sec;
	uint32_t fmt, born_nsec;
};

static int id_of(int fd, struct id *id)
{
	struct stat st;
	struct statx sx;

	memset(id, 0, sizeof(*id));
	if (fstat(fd, &st) < 0)
		return -errno;
	id->dev = st.st_dev;
	id->ino = st.st_ino;
	id->fmt = st.st_mode & S_IFMT;
	/* Inode numbers are used again; not every file system knows when a file was made. */
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) == 0 && (sx.stx_mask & STATX_BTIME)) {
		id->born_sec = (uint64_t)sx.stx_btime.tv_sec;
		id->born_nsec = sx.stx_btime.tv_nsec;
	}
	return 0;
}

static bool same(const struct id *a, const struct id *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->fmt == b->fmt &&
	       a->born_sec == b->born_sec && a->born_nsec == b->born_nsec;
}

static const char *tag(const struct p9 *s, char dst[P9_TAG_MAX + 1])
{
	size_t n = MIN(s->dev.cfg_len - sizeof(le16_t), (size_t)P9_TAG_MAX);

	memcpy(dst, s->dev.cfg + sizeof(le16_t), n);
	dst[n] = 0;
	return dst;
}

/* ---- saving ----------------------------------------------------------------------------------------- */

struct saving {
	struct p9 *s;
	struct buf *to;
	struct err *e;
};

static int put(struct buf *to, const struct p9_wr *w)
{
	return w->full ? -EMSGSIZE : buf_append(to, w->buf, w->len);
}

static int save_fid(void *ctx, uint32_t no, struct p9_fid *f)
{
	struct saving *sv = ctx;
	const struct p9_fid *named = f->of ? f->of : f;
	uint8_t bytes[FID_FIXED + 2 + PATH_MAX + 2 + XATTR_NAME_LEN + 4];
	struct p9_wr w = {.buf = bytes, .cap = sizeof(bytes)};
	char path[PATH_MAX], name[P9_TAG_MAX + 1];
	struct id id;
	int rc = p9_path(sv->s, named, path), flags;

	if (rc == 0)
		rc = id_of(named->fd, &id);
	if (rc < 0 && rc != -ENOENT)
		return err_sys(sv->e, rc, "share '%s': '%s'", tag(sv->s, name), path);
	if (rc < 0)
		return err_set(sv->e, -EBUSY,
			       "share '%s': a file that the guest uses has no name any more: '%s'",
			       tag(sv->s, name), path);
	flags = f->kind == P9_OPEN ? fcntl(f->fd, F_GETFL) : (int)f->xflags;
	if (flags < 0)
		return -errno;
	p9_put32(&w, no);
	p9_put8(&w, (uint8_t)f->kind);
	p9_put32(&w, f->uid);
	p9_put32(&w, (uint32_t)(f->kind == P9_OPEN ? flags & OPEN_FLAGS : flags));
	p9_put64(&w, id.dev);
	p9_put64(&w, id.ino);
	p9_put32(&w, id.fmt);
	p9_put64(&w, id.born_sec);
	p9_put32(&w, id.born_nsec);
	p9_put_str(&w, path);
	if (f->of) {
		p9_put_str(&w, f->xname);
		p9_put32(&w, (uint32_t)f->buf_len);
	}
	rc = put(sv->to, &w);
	if (rc == 0 && f->of && f->buf_len)
		rc = buf_append(sv->to, f->buf, f->buf_len);
	return rc;
}

static int save_head(struct p9 *s, struct buf *to)
{
	uint8_t bytes[4 + 2 + P9_PREFIXES * 10 + 4];
	struct p9_wr w = {.buf = bytes, .cap = sizeof(bytes)};

	p9_put32(&w, atomic_load(&s->msize));
	p9_put16(&w, (uint16_t)s->inos.cnt);
	for (unsigned i = 0; i < s->inos.cnt; i++) {
		p9_put64(&w, s->inos.pre[i].dev);
		p9_put16(&w, s->inos.pre[i].high);
	}
	p9_put32(&w, s->fids.cnt);
	return put(to, &w);
}

int p9_save(struct virtio_dev *dev, struct buf *to, struct err *e)
{
	struct p9 *s = container_of(dev, struct p9, dev);
	struct saving sv = {s, to, e};
	int rc = save_head(s, to);

	if (rc == 0)
		rc = p9_fids_each(&s->fids, save_fid, &sv);
	return rc < 0 ? rc : p9_locks_save(s, to);
}

/* ---- loading ---------------------------------------------------------------------------------------- */

static int load_prefixes(struct p9 *s, struct p9_rd *in)
{
	unsigned cnt = p9_get16(in);

	if (in->err || cnt > P9_PREFIXES)
		return -EPROTO;
	free(s->inos.pre);
	s->inos.cnt = 0;
	/* As many as p9_ino_path() takes for the same count. */
	s->inos.pre = calloc(cnt > 8 ? P9_PREFIXES : 8, sizeof(*s->inos.pre));
	if (!s->inos.pre)
		return -ENOMEM;
	for (unsigned i = 0; i < cnt; i++) {
		s->inos.pre[i].dev = p9_get64(in);
		s->inos.pre[i].high = p9_get16(in);
	}
	s->inos.cnt = cnt;
	return in->err;
}

struct loading {
	uint32_t no, uid, flags, len;
	uint8_t kind;
	struct id id;
	char path[PATH_MAX], xname[XATTR_NAME_LEN + 1];
	const uint8_t *bytes;
};

static int get_fid(const struct p9 *s, struct p9_rd *in, struct loading *d)
{
	d->no = p9_get32(in);
	d->kind = p9_get8(in);
	d->uid = p9_get32(in);
	d->flags = p9_get32(in);
	d->id.dev = p9_get64(in);
	d->id.ino = p9_get64(in);
	d->id.fmt = p9_get32(in);
	d->id.born_sec = p9_get64(in);
	d->id.born_nsec = p9_get32(in);
	p9_get_str(in, d->path, sizeof(d->path));
	if (in->err || d->kind > P9_XATTR_W)
		return -EPROTO;
	if (d->kind == P9_OPEN)
		return (d->flags & ~(uint32_t)OPEN_FLAGS) || (d->flags & O_ACCMODE) == O_ACCMODE ||
			       (s->readonly && (d->flags & O_ACCMODE) != O_RDONLY)
			   ? -EPROTO
			   : 0;
	if (d->kind == P9_PATH)
		return 0;
	p9_get_str(in, d->xname, sizeof(d->xname));
	d->len = p9_get32(in);
	if (in->err || d->len > in->left || d->len > P9_XATTR_MAX)
		return -EPROTO;
	if (d->kind == P9_XATTR_W && (s->readonly || !p9_xattr_may_set(d->xname, d->flags)))
		return -EPROTO;
	d->bytes = in->p;
	in->p += d->len;
	in->left -= d->len;
	return 0;
}

/* The file itself, or -ESTALE. */
static int find(struct p9 *s, const struct loading *d, struct p9_fid **ret)
{
	auto_fd fd = -1;
	struct id now;
	int rc = p9_open_path(s, d->path, &fd);

	if (rc == 0)
		rc = id_of(fd, &now);
	if (rc < 0)
		return rc;
	return same(&now, &d->id) ? p9_fid_new(s, P9_PATH, fd_take(&fd), d->uid, ret) : -ESTALE;
}

static int open_fid(struct p9 *s, const struct loading *d, struct p9_fid *at, struct p9_fid **ret)
{
	int fd = -1, rc;

	if (d->kind == P9_PATH) {
		*ret = p9_fid_ref(at);
		return 0;
	}
	if (d->kind == P9_OPEN) {
		rc = p9_reopen(s, at, (int)d->flags, &fd);
		return rc < 0 ? rc : p9_fid_new(s, P9_OPEN, fd, d->uid, ret);
	}
	rc = p9_fid_new_xattr(at, d->kind, d->xname, d->len, ret);
	if (rc == 0) {
		memcpy((*ret)->buf, d->bytes, d->len);
		(*ret)->xflags = d->flags;
	}
	return rc;
}

static int load_fid(struct p9 *s, struct p9_rd *in, struct loading *d, struct err *e)
{
	char name[P9_TAG_MAX + 1];
	auto_fid at = NULL;
	auto_fid f = NULL;
	int rc = get_fid(s, in, d);

	if (rc < 0)
		return rc;
	rc = find(s, d, &at);
	if (rc == 0)
		rc = open_fid(s, d, at, &f);
	if (rc == -ESTALE || rc == -ENOENT)
		return err_set(e, -ESTALE,
			       "share '%s': '%s' is not the file any more that was saved",
			       tag(s, name), d->path);
	if (rc < 0)
		return err_sys(e, rc, "share '%s': '%s'", tag(s, name), d->path);
	rc = p9_fids_add(&s->fids, s->fids.session, d->no, f);
	return rc == -EBADF ? -EPROTO : rc;
}

int p9_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e)
{
	struct p9 *s = container_of(dev, struct p9, dev);
	struct p9_rd in = {.p = p, .left = len};
	uint32_t msize = p9_get32(&in), fids;
	auto_free struct loading *d = calloc(1, sizeof(*d));
	int rc = d ? load_prefixes(s, &in) : -ENOMEM;

	fids = p9_get32(&in);
	if (rc == 0 && (in.err || fids > P9_FIDS_MAX || (fids && !msize) ||
			(msize && (msize < P9_MSIZE_MIN || msize > P9_MSIZE_MAX))))
		rc = -EPROTO;
	for (uint32_t i = 0; rc == 0 && i < fids; i++)
		rc = load_fid(s, &in, d, e);
	if (rc == 0)
		rc = p9_locks_load(s, &in, e);
	if (rc == 0)
		rc = p9_get_end(&in);
	if (rc < 0)
		return rc;
	atomic_store(&s->msize, msize);
	return 0;
}
