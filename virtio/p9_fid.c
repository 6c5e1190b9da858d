/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p fids: the table from numbers to objects, the objects' life, inode numbers over many file systems.
 *
 * Any thread. The table's mutex covers the table only; descriptors are closed outside of it.
 */
#include "virtio/p9.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/fd.h"

#define BUCKETS_MIN 64u
#define BUCKETS_MAX 16384u

struct p9_slot {
	struct p9_slot *next;
	uint32_t no;
	struct p9_fid *f;
};

/*
 * Descriptors are the process's, so the budget is too: what all servers hold open for guests. The rest
 * of the limit stays for the VMM itself (streams, taps, passed descriptors).
 */
#define FD_RESERVE 256u
static atomic_uint fd_used;
static atomic_uint fd_budget;

void p9_fd_budget_init(void)
{
	struct rlimit rl;
	rlim_t n;

	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	if (rl.rlim_cur < rl.rlim_max) {
		struct rlimit up = {rl.rlim_max, rl.rlim_max};

		if (setrlimit(RLIMIT_NOFILE, &up) == 0)
			rl = up;
	}
	n = rl.rlim_cur > 2 * FD_RESERVE ? rl.rlim_cur - FD_RESERVE : rl.rlim_cur / 2;
	atomic_store(&fd_budget, (unsigned)MIN(n, (rlim_t)1 << 20));
}

static bool fd_charge(void)
{
	if (atomic_fetch_add(&fd_used, 1) < atomic_load(&fd_budget))
		return true;
	(void)atomic_fetch_sub(&fd_used, 1);
	return false;
}

static struct p9_fid *fid_alloc(struct p9 *s, enum p9_kind kind, uint32_t uid)
{
	struct p9_fid *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	atomic_init(&f->refs, 1);
	f->s = s;
	f->kind = kind;
	f->uid = uid;
	f->fd = -1;
	(void)pthread_mutex_init(&f->lock, NULL);
	return f;
}

int p9_fid_new(struct p9 *s, enum p9_kind kind, int fd, uint32_t uid, struct p9_fid **ret)
{
	auto_fd own = fd;
	struct p9_fid *f;
	struct stat st;

	if (fstat(own, &st) < 0)
		return -errno;
	if (!fd_charge())
		return -ENFILE;
	f = fid_alloc(s, kind, uid);
	if (!f) {
		(void)atomic_fetch_sub(&fd_used, 1);
		return -ENOMEM;
	}
	f->fd = fd_take(&own);
	f->fmt = st.st_mode & S_IFMT;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	*ret = f;
	return 0;
}

int p9_fid_new_xattr(struct p9_fid *of, enum p9_kind kind, const char *name, size_t len,
		     struct p9_fid **ret)
{
	struct p9 *s = of->s;
	auto_fid f = fid_alloc(s, kind, of->uid);

	if (!f)
		return -ENOMEM;
	if (len > P9_XATTR_MAX)
		return -E2BIG;
	if (atomic_fetch_add(&s->xattr_bytes, len) > P9_XATTR_BUDGET - len) {
		(void)atomic_fetch_sub(&s->xattr_bytes, len);
		return -ENOBUFS;
	}
	f->buf_len = len; /* from here on p9_fid_put() gives the bytes back */
	f->of = p9_fid_ref(of);
	f->buf = calloc(1, len ? len : 1);
	f->xname = strdup(name);
	if (!f->buf || !f->xname)
		return -ENOMEM;
	*ret = f;
	f = NULL;
	return 0;
}

struct p9_fid *p9_fid_ref(struct p9_fid *f)
{
	(void)atomic_fetch_add(&f->refs, 1);
	return f;
}

void p9_fid_put(struct p9_fid *f)
{
	while (f && atomic_fetch_sub(&f->refs, 1) == 1) {
		struct p9_fid *of = f->of;

		if (f->fd >= 0) {
			(void)close(f->fd);
			(void)atomic_fetch_sub(&fd_used, 1);
		}
		(void)atomic_fetch_sub(&f->s->xattr_bytes, f->buf_len);
		free(f->buf);
		free(f->xname);
		(void)pthread_mutex_destroy(&f->lock);
		free(f);
		f = of;
	}
}

/* ---- the table -------------------------------------------------------------------------------------- */

int p9_fids_init(struct p9_fids *t)
{
	t->bucket = calloc(BUCKETS_MIN, sizeof(*t->bucket));
	if (!t->bucket)
		return -ENOMEM;
	t->buckets = BUCKETS_MIN;
	t->cnt = 0;
	(void)pthread_mutex_init(&t->lock, NULL);
	return 0;
}

void p9_fids_fini(struct p9_fids *t)
{
	if (!t->bucket)
		return;
	p9_fids_clear(t);
	(void)pthread_mutex_destroy(&t->lock);
	free(t->bucket);
	t->bucket = NULL;
}

void p9_fids_clear(struct p9_fids *t)
{
	struct p9_slot *all = NULL;

	(void)pthread_mutex_lock(&t->lock);
	t->session++;
	for (unsigned i = 0; i < t->buckets; i++) {
		while (t->bucket[i]) {
			struct p9_slot *e = t->bucket[i];

			t->bucket[i] = e->next;
			e->next = all;
			all = e;
		}
	}
	t->cnt = 0;
	(void)pthread_mutex_unlock(&t->lock);
	while (all) {
		struct p9_slot *e = all;

		all = e->next;
		p9_fid_put(e->f);
		free(e);
	}
}

/* The buckets are a power of two; the numbers that Linux hands out are small and dense. */
static struct p9_slot **find(struct p9_fids *t, uint32_t no)
{
	struct p9_slot **pp = &t->bucket[(no ^ (no >> 16)) & (t->buckets - 1)];

	while (*pp && (*pp)->no != no)
		pp = &(*pp)->next;
	return pp;
}

static void grow(struct p9_fids *t)
{
	unsigned old_cnt = t->buckets;
	struct p9_slot **old = t->bucket;
	struct p9_slot **n = calloc(old_cnt * 4, sizeof(*n));

	if (!n)
		return; /* longer chains, that is all */
	t->bucket = n;
	t->buckets = old_cnt * 4;
	for (unsigned i = 0; i < old_cnt; i++) {
		while (old[i]) {
			struct p9_slot *e = old[i];
			struct p9_slot **pp = find(t, e->no);

			old[i] = e->next;
			e->next = NULL;
			*pp = e; /* numbers are unique, so find() ended at a chain's end */
		}
	}
	free(old);
}

int p9_fids_get(struct p9_fids *t, uint32_t no, struct p9_fid **ret)
{
	struct p9_slot *e;
	int rc = -EBADF;

	(void)pthread_mutex_lock(&t->lock);
	e = *find(t, no);
	if (e) {
		*ret = p9_fid_ref(e->f);
		rc = 0;
	}
	(void)pthread_mutex_unlock(&t->lock);
	return rc;
}

int p9_fids_get_inode(struct p9_fids *t, uint32_t no, struct p9_fid **ret)
{
	auto_fid f = NULL;
	int rc = p9_fids_get(t, no, &f);

	if (rc < 0)
		return rc;
	if (f->kind != P9_PATH && f->kind != P9_OPEN)
		return -EBADF;
	*ret = f;
	f = NULL;
	return 0;
}

int p9_fids_add(struct p9_fids *t, uint32_t session, uint32_t no, struct p9_fid *f)
{
	auto_free struct p9_slot *e = calloc(1, sizeof(*e));
	struct p9_slot **pp;
	int rc = 0;

	if (!e)
		return -ENOMEM;
	if (no == P9_NOFID)
		return -EBADF;
	(void)pthread_mutex_lock(&t->lock);
	if (t->cnt >= t->buckets * 2 && t->buckets < BUCKETS_MAX)
		grow(t);
	pp = find(t, no);
	if (session != t->session) {
		rc = -ESTALE;
	} else if (*pp) {
		rc = -EBADF;
	} else if (t->cnt >= P9_FIDS_MAX) {
		rc = -ENFILE;
	} else {
		e->no = no;
		e->f = p9_fid_ref(f);
		*pp = ptr_take(e);
		t->cnt++;
	}
	(void)pthread_mutex_unlock(&t->lock);
	return rc;
}

int p9_fids_swap(struct p9_fids *t, uint32_t no, struct p9_fid *old, struct p9_fid *f)
{
	struct p9_slot *e;
	int rc = -EBADF;

	(void)pthread_mutex_lock(&t->lock);
	e = *find(t, no);
	if (e && e->f == old) {
		e->f = p9_fid_ref(f);
		rc = 0;
	}
	(void)pthread_mutex_unlock(&t->lock);
	if (rc == 0)
		p9_fid_put(old); /* the table's; the caller holds another */
	return rc;
}

/* Takes the entry out; with @old only if that is in it. */
static struct p9_fid *take(struct p9_fids *t, uint32_t no, const struct p9_fid *old)
{
	struct p9_slot **pp, *e;
	struct p9_fid *f = NULL;

	(void)pthread_mutex_lock(&t->lock);
	pp = find(t, no);
	e = *pp;
	if (e && (!old || e->f == old)) {
		*pp = e->next;
		t->cnt--;
		f = e->f;
	} else {
		e = NULL;
	}
	(void)pthread_mutex_unlock(&t->lock);
	free(e);
	return f;
}

int p9_fids_take(struct p9_fids *t, uint32_t no, struct p9_fid **ret)
{
	struct p9_fid *f = take(t, no, NULL);

	if (!f)
		return -EBADF;
	*ret = f;
	return 0;
}

int p9_fids_take_old(struct p9_fids *t, uint32_t no, struct p9_fid *old)
{
	struct p9_fid *f = take(t, no, old);

	p9_fid_put(f); /* the table's; the caller holds another */
	return f ? 0 : -EBADF;
}

int p9_fids_each(struct p9_fids *t, int (*fn)(void *ctx, uint32_t no, struct p9_fid *f), void *ctx)
{
	int rc = 0;

	for (unsigned i = 0; rc == 0 && i < t->buckets; i++)
		for (struct p9_slot *e = t->bucket[i]; rc == 0 && e; e = e->next)
			rc = fn(ctx, e->no, e->f);
	return rc;
}

uint32_t p9_fids_no(const struct p9_fids *t, const struct p9_fid *f)
{
	for (unsigned i = 0; i < t->buckets; i++)
		for (const struct p9_slot *e = t->bucket[i]; e; e = e->next)
			if (e->f == f)
				return e->no;
	return P9_NOFID;
}

/* ---- inode numbers ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t v)
{
	/* Any strong mixing does: collisions only hurt the guest that sees them. */
	v ^= v >> 31;
	v *= 0x7fb5d329728ea185ull;
	v ^= v >> 27;
	v *= 0x81dadef4bc2dd44dull;
	return v ^ (v >> 33);
}

/*
 * Inode numbers are unique within a device only, and the tree may have many devices (bind mounts,
 * overlay's own numbering, btrfs subvolumes). The top 16 bits together with the device are replaced by
 * the index of that pair: exact for the first P9_PREFIXES pairs. File systems whose numbers are spread
 * over 64 bits (some network file systems) end up beyond, where bit 63 is set before a 63-bit hash.
 */
uint64_t p9_ino_path(struct p9_inos *t, dev_t dev, uint64_t ino)
{
	uint16_t high = (uint16_t)(ino >> 48);
	unsigned i;

	(void)pthread_mutex_lock(&t->lock);
	for (i = 0; i < t->cnt; i++) {
		if (t->pre[i].dev == dev && t->pre[i].high == high)
			break;
	}
	if (i == t->cnt && i < P9_PREFIXES) {
		if (i == 0 || i == 8) {
			struct p9_prefix *n = realloc(t->pre, (i ? P9_PREFIXES : 8) * sizeof(*n));

			if (n)
				t->pre = n;
			else
				i = P9_PREFIXES;
		}
		if (i < P9_PREFIXES) {
			t->pre[i].dev = dev;
			t->pre[i].high = high;
			t->cnt++;
		}
	}
	(void)pthread_mutex_unlock(&t->lock);
	if (i < P9_PREFIXES)
		return (uint64_t)i << 48 | (ino & 0xffffffffffffull);
	return 1ull << 63 | (mix(mix((uint64_t)dev) ^ ino) >> 1);
}

void p9_qid_of(struct p9 *s, const struct stat *st, struct p9_qid *q)
{
	uint64_t v =
	    mix((uint64_t)st->st_mtim.tv_sec * 1000000007ull + (uint64_t)st->st_mtim.tv_nsec) ^
	    mix((uint64_t)st->st_ctim.tv_sec * 998244353ull + (uint64_t)st->st_ctim.tv_nsec + 1);

	q->type = S_ISDIR(st->st_mode)	 ? P9_QT_DIR
		  : S_ISLNK(st->st_mode) ? P9_QT_SYMLINK
					 : P9_QT_FILE;
	q->version = (uint32_t)(v ^ (v >> 32));
	q->path = p9_ino_path(&s->inos, st->st_dev, st->st_ino);
}
