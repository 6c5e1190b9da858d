/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p: extended attributes, and the data requests on the fids that stand for them. Worker threads.
 *
 * 6.1 has no *xattrat calls, and the f*xattr calls refuse O_PATH descriptors. A worker's own working
 * directory is /proc/self/fd, where the descriptor's number is a path to the inode itself (a symbolic
 * link or a device included) without opening it.
 *
 * trusted.* stays the host's: a host that uses the tree as an overlay layer would obey what the guest
 * had written there. The kernel decides about the rest (user, security, system.posix_acl_*).
 */
#include "virtio/p9.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "base/fd.h"

static bool is_trusted(const char *name)
{
	return !strncmp(name, "trusted.", 8);
}

bool p9_xattr_may_set(const char *name, uint32_t flags)
{
	return name[0] && !(flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)) && !is_trusted(name);
}

static ssize_t fetch(struct p9_worker *w, const struct p9_fid *f, const char *name, void *buf,
		     size_t len)
{
	char proc[P9_PROC_NAME];
	ssize_t n = p9_worker_chdir(w, f->s->proc_fd);

	if (n < 0)
		return n;
	p9_proc_name(proc, f->fd);
	n = name[0] ? getxattr(proc, name, buf, len) : listxattr(proc, buf, len);
	return n < 0 ? -errno : n;
}

/* Takes trusted.* out of a list of names. Returns the length that is left. */
static size_t filter_list(char *list, size_t len)
{
	size_t out = 0;

	for (size_t i = 0; i < len;) {
		size_t n = strnlen(list + i, len - i) + 1;

		if (n > len - i)
			break; /* the kernel terminates each name */
		if (!is_trusted(list + i)) {
			memmove(list + out, list + i, n);
			out += n;
		}
		i += n;
	}
	return out;
}

int p9_do_xattrwalk(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in), new_no = p9_get32(&c->in);
	char name[XATTR_NAME_LEN + 1], small[1024], *val = small;
	auto_free char *big = NULL;
	auto_fid f = NULL;
	auto_fid x = NULL;
	ssize_t n;
	int rc;

	p9_get_str(&c->in, name, sizeof(name));
	rc = p9_get_end(&c->in);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc < 0)
		return rc;
	if (is_trusted(name))
		return -EOPNOTSUPP;
	n = fetch(c->w, f, name, small, sizeof(small));
	if (n == -ERANGE) {
		val = big = malloc(P9_XATTR_MAX);
		if (!big)
			return -ENOMEM;
		n = fetch(c->w, f, name, big, P9_XATTR_MAX);
	}
	if (n < 0)
		return (int)n;
	if (!name[0])
		n = (ssize_t)filter_list(val, (size_t)n);
	rc = p9_fid_new_xattr(f, P9_XATTR_R, name, (size_t)n, &x);
	if (rc < 0)
		return rc;
	memcpy(x->buf, val, (size_t)n); /* only what the kernel has written */
	rc = p9_fids_add(&c->s->fids, c->r->session, new_no, x);
	if (rc < 0)
		return rc;
	p9_put64(&c->out, (uint64_t)n);
	return 0;
}

int p9_do_xattrcreate(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in), flags;
	char name[XATTR_NAME_LEN + 1];
	auto_fid f = NULL;
	auto_fid x = NULL;
	uint64_t size;
	int rc;

	p9_get_str(&c->in, name, sizeof(name));
	size = p9_get64(&c->in);
	flags = p9_get32(&c->in);
	rc = p9_get_end(&c->in);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc < 0)
		return rc;
	if (!name[0] || (flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE)))
		return -EINVAL;
	if (is_trusted(name))
		return -EOPNOTSUPP;
	if (size > P9_XATTR_MAX)
		return -E2BIG;
	rc = p9_fid_new_xattr(f, P9_XATTR_W, name, (size_t)size, &x);
	if (rc < 0)
		return rc;
	x->xflags = flags;
	return p9_fids_swap(&c->s->fids, no, f, x);
}

/*
 * The protocol has no removal. Linux sends one as an empty value with XATTR_REPLACE, and that of an ACL
 * as an empty value; an empty value of its own comes without the flag.
 */
int p9_xattr_commit(struct p9_worker *w, struct p9_fid *f)
{
	bool remove = !f->buf_len &&
		      ((f->xflags & XATTR_REPLACE) || !strncmp(f->xname, "system.posix_acl_", 17));
	char proc[P9_PROC_NAME];
	int rc = p9_worker_chdir(w, f->s->proc_fd);

	if (rc < 0)
		return rc;
	p9_proc_name(proc, f->of->fd);
	(void)pthread_mutex_lock(&f->lock);
	f->spoiled = true;
	rc = remove ? removexattr(proc, f->xname)
		    : setxattr(proc, f->xname, f->buf, f->buf_len, (int)f->xflags);
	rc = rc < 0 ? -errno : 0;
	(void)pthread_mutex_unlock(&f->lock);
	return rc;
}

/* Tread, Twrite: fid, offset, count. */
static int get_io(struct p9_ctx *c, struct p9_fid **f, uint64_t *off, uint32_t *count)
{
	uint32_t no = p9_get32(&c->in);
	int rc;

	*off = p9_get64(&c->in);
	*count = p9_get32(&c->in);
	rc = c->in.err;
	if (rc == 0)
		rc = p9_fids_get(&c->s->fids, no, f);
	if (rc < 0)
		return rc;
	return (*f)->kind == P9_OPEN && (*f)->fmt == S_IFDIR ? -EISDIR : 0;
}

int p9_do_slow_read(struct p9_ctx *c)
{
	auto_fid f = NULL;
	uint32_t count;
	uint64_t off;
	int rc = get_io(c, &f, &off, &count);

	if (rc == 0)
		rc = p9_get_end(&c->in);
	if (rc < 0)
		return rc;
	if (f->kind != P9_XATTR_R)
		return -EBADF;
	off = MIN(off, (uint64_t)f->buf_len);
	count = (uint32_t)MIN((size_t)count, f->buf_len - (size_t)off);
	count = (uint32_t)MIN((size_t)count, c->r->chain.in_len - P9_RIO_HDR);
	p9_put32(&c->out, count);
	c->payload = (uint32_t)iov_write(vq_in(&c->r->chain), c->r->chain.in_cnt, P9_RIO_HDR,
					 f->buf + off, count);
	return 0;
}

int p9_do_slow_write(struct p9_ctx *c)
{
	auto_fid f = NULL;
	uint32_t count;
	uint64_t off;
	int rc = get_io(c, &f, &off, &count);

	if (rc < 0)
		return rc;
	if (f->kind != P9_XATTR_W)
		return -EBADF;
	if (count > c->r->size - P9_IO_HDR)
		return -EPROTO;
	if (off > f->buf_len || count > f->buf_len - off)
		return -ENOSPC;
	(void)pthread_mutex_lock(&f->lock);
	if (f->spoiled)
		rc = -EBADF;
	else
		(void)iov_read(vq_out(&c->r->chain), c->r->chain.out_cnt, P9_IO_HDR, f->buf + off,
			       count);
	(void)pthread_mutex_unlock(&f->lock);
	p9_put32(&c->out, count);
	return rc;
}

/* The ring syncs what is open; here end the fids that are not, and malformed requests. */
int p9_do_slow_fsync(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in);
	auto_fid f = NULL;
	int rc = c->in.err;

	if (rc == 0)
		rc = p9_fids_get(&c->s->fids, no, &f);
	if (rc == 0)
		rc = f->kind == P9_OPEN ? -EPROTO : -EBADF;
	return rc;
}
