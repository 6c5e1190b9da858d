/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p: byte-range locks. Worker threads; the table is under p9.locks_lock.
 *
 * The guest's kernel arbitrates between its processes first, and sends flock(2) and fcntl(2) locks alike.
 * This table adds what the guest cannot know, that two of its inodes are one file (hard links). An owner is a
 * client's name and process id; an unlock also takes away what was locked through the same fid, since a
 * child may give up a lock of its parent's open file. Nothing waits here: the answer to a conflict is
 * "blocked", and the client asks again.
 *
 * What the guest has locked, the VMM has locked on the host: other VMs and the host's processes that use
 * fcntl(2) see it, and theirs block the guest. These are locks of an open file (F_OFD_SETLK), one for each
 * inode that has locks, so the owners in one guest do not get into each other's way there. A guest's
 * flock(2) becomes such a lock as well; flock(2) on the host is another world, as it is on NFS.
 */
#include "virtio/p9.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

enum { RANGE_READ = 0, RANGE_WRITE = 1, RANGE_NONE = 2 };
enum { STATUS_SUCCESS = 0, STATUS_BLOCKED = 1, STATUS_ERROR = 2 };

#define CLIENT_MAX 64u /* a node name */

struct p9_lock {
	struct list node;
	dev_t dev;
	ino_t ino;
	uint64_t start, last; /* both included */
	uint8_t type;
	uint32_t proc;
	char client[CLIENT_MAX + 1];
	const struct p9_fid *fid; /* compared, never followed */
};

/* An inode with locks, and the host's view of them. */
struct p9_lock_file {
	struct list node;
	struct p9_fid *f; /* P9_OPEN, our own */
	bool readonly;	  /* what a guest locks for writing is not seen by the host */
};

static bool is_of(const struct p9_lock *l, const struct p9_lock_file *h)
{
	return l->dev == h->f->dev && l->ino == h->f->ino;
}

static bool overlaps(const struct p9_lock *a, const struct p9_lock *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->start <= b->last && b->start <= a->last;
}

static bool same_owner(const struct p9_lock *a, const struct p9_lock *b)
{
	return a->proc == b->proc && !strcmp(a->client, b->client);
}

static const struct p9_lock *conflict(const struct p9 *s, const struct p9_lock *want)
{
	list_for_each (pos, &s->locks) {
		const struct p9_lock *l = list_entry(pos, const struct p9_lock, node);

		if (overlaps(l, want) && !same_owner(l, want) && l->fid != want->fid &&
		    (l->type == RANGE_WRITE || want->type == RANGE_WRITE))
			return l;
	}
	return NULL;
}

static void insert(struct p9 *s, struct p9_lock *l)
{
	list_add_tail(&s->locks, &l->node);
	s->lock_cnt++;
}

static void drop(struct p9 *s, struct p9_lock *l)
{
	list_del(&l->node);
	s->lock_cnt--;
	free(l);
}

/*
 * Takes @what's range away from its owner's locks. One lock may fall in two; @spare is memory for that,
 * and becomes NULL when used.
 */
static void cut(struct p9 *s, const struct p9_lock *what, struct p9_lock **spare)
{
	list_for_each_safe (pos, tmp, &s->locks) {
		struct p9_lock *l = list_entry(pos, struct p9_lock, node);

		if (!overlaps(l, what) || (!same_owner(l, what) && l->fid != what->fid))
			continue;
		if (l->start < what->start && l->last > what->last && *spare) {
			struct p9_lock *n = *spare;

			*spare = NULL;
			*n = *l;
			n->start = what->last + 1;
			l->last = what->start - 1;
			insert(s, n);
		} else if (l->start < what->start) {
			l->last = what->start - 1;
		} else if (l->last > what->last) {
			l->start = what->last + 1;
		} else {
			drop(s, l);
		}
	}
}

/* ---- on the host ------------------------------------------------------------------------------------ */

static struct p9_lock_file *host_find(struct p9 *s, const struct p9_lock *l)
{
	list_for_each (pos, &s->lock_files) {
		struct p9_lock_file *h = list_entry(pos, struct p9_lock_file, node);

		if (is_of(l, h))
			return h;
	}
	return NULL;
}

/* Makes it. @f is what the guest has open; theirs may be for reading only. */
static int host_add(struct p9 *s, const struct p9_fid *f, struct p9_lock_file **ret)
{
	auto_free struct p9_lock_file *h = calloc(1, sizeof(*h));
	int fd = -1, rc = h ? 0 : -ENOLCK;

	if (rc == 0) {
		rc = s->readonly ? -EROFS : p9_reopen(s, f, O_RDWR, &fd);
		h->readonly = rc < 0;
		if (rc < 0)
			rc = p9_reopen(s, f, O_RDONLY, &fd);
	}
	if (rc == 0)
		rc = p9_fid_new(s, P9_OPEN, fd, 0, &h->f);
	if (rc < 0)
		return rc;
	*ret = h;
	list_add_tail(&s->lock_files, &h->node);
	h = NULL;
	return 0;
}

static void host_drop(struct p9_lock_file *h)
{
	list_del(&h->node);
	p9_fid_put(h->f); /* and with it all its locks */
	free(h);
}

/* 0, -EAGAIN: somebody else has it. */
static int host_set(const struct p9_lock_file *h, short type, uint64_t start, uint64_t last)
{
	struct flock fl = {.l_type = type,
			   .l_whence = SEEK_SET,
			   .l_start = (off_t)start,
			   .l_len = last == INT64_MAX ? 0 : (off_t)(last - start + 1)};

	if (h->readonly && type == F_WRLCK)
		return 0;
	if (fcntl(h->f->fd, F_OFD_SETLK, &fl) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

/* Gives up what no lock of the table holds any more between @what's ends. */
static void host_release(struct p9 *s, const struct p9_lock *what)
{
	struct p9_lock_file *h = host_find(s, what);
	uint64_t at = what->start;
	bool any = false;

	if (!h)
		return;
	while (at <= what->last) {
		uint64_t gap = what->last, over = 0;

		list_for_each (pos, &s->locks) {
			const struct p9_lock *l = list_entry(pos, const struct p9_lock, node);

			if (!is_of(l, h))
				continue;
			any = true;
			if (l->start <= at && l->last >= at)
				over = MAX(over, l->last + 1);
			else if (l->start > at)
				gap = MIN(gap, l->start - 1);
		}
		if (!any) {
			host_drop(h);
			return;
		}
		if (!over)
			(void)host_set(h, F_UNLCK, at, gap);
		at = over ? over : gap + 1;
	}
}

/* 0, -EAGAIN (blocked) or another error. */
static int host_take(struct p9 *s, const struct p9_lock *want)
{
	struct p9_lock_file *h = host_find(s, want);
	int rc = h ? 0 : host_add(s, want->fid, &h);

	if (rc < 0)
		return rc;
	rc = host_set(h, want->type == RANGE_WRITE ? F_WRLCK : F_RDLCK, want->start, want->last);
	if (rc < 0)
		host_release(s, want); /* an inode without locks needs none */
	return rc;
}

/* ---- the table -------------------------------------------------------------------------------------- */

static int set_lock(struct p9 *s, const struct p9_lock *want, uint8_t *status)
{
	int rc;

	auto_free struct p9_lock *n = malloc(sizeof(*n));
	auto_free struct p9_lock *spare = malloc(sizeof(*spare));

	if (!n || !spare)
		return -ENOLCK;
	*status = STATUS_SUCCESS;
	if (want->type == RANGE_NONE) {
		cut(s, want, &spare);
		host_release(s, want);
		return 0;
	}
	if (conflict(s, want)) {
		*status = STATUS_BLOCKED;
		return 0;
	}
	if (s->lock_cnt + 2 > P9_LOCKS_MAX)
		return -ENOLCK;
	rc = host_take(s, want);
	if (rc == -EAGAIN)
		*status = STATUS_BLOCKED;
	if (rc < 0)
		return rc == -EAGAIN ? 0 : rc;
	cut(s, want, &spare);
	*n = *want;
	insert(s, ptr_take(n));
	return 0;
}

void p9_locks_drop(struct p9 *s, const struct p9_fid *f)
{
	(void)pthread_mutex_lock(&s->locks_lock);
	list_for_each_safe (pos, tmp, &s->locks) {
		struct p9_lock *l = list_entry(pos, struct p9_lock, node);

		if (f && l->fid == f) {
			struct p9_lock was = *l;

			drop(s, l);
			host_release(s, &was);
		} else if (!f) {
			drop(s, l);
		}
	}
	while (!f && !list_empty(&s->lock_files))
		host_drop(list_first(&s->lock_files, struct p9_lock_file, node));
	(void)pthread_mutex_unlock(&s->locks_lock);
}

/* ---- snapshots ---------------------------------------------------------------------------------------- */

/* n[4] n * { fid[4] type[1] start[8] last[8] proc_id[4] client_id[s] } */
int p9_locks_save(struct p9 *s, struct buf *to)
{
	uint8_t bytes[4 + 1 + 8 + 8 + 4 + 2 + CLIENT_MAX];
	struct p9_wr w = {.buf = bytes, .cap = sizeof(bytes)};
	int rc;

	p9_put32(&w, s->lock_cnt);
	rc = buf_append(to, bytes, w.len);
	list_for_each (pos, &s->locks) {
		const struct p9_lock *l = list_entry(pos, const struct p9_lock, node);

		if (rc < 0)
			break;
		w.len = 0;
		p9_put32(&w, p9_fids_no(&s->fids, l->fid));
		p9_put8(&w, l->type);
		p9_put64(&w, l->start);
		p9_put64(&w, l->last);
		p9_put32(&w, l->proc);
		p9_put_str(&w, l->client);
		rc = buf_append(to, bytes, w.len);
	}
	return rc;
}

static int load_lock(struct p9 *s, struct p9_rd *in, struct err *e)
{
	struct p9_lock want = {0};
	uint32_t no = p9_get32(in);
	uint8_t status;
	auto_fid f = NULL;
	int rc;

	want.type = p9_get8(in);
	want.start = p9_get64(in);
	want.last = p9_get64(in);
	want.proc = p9_get32(in);
	p9_get_str(in, want.client, sizeof(want.client));
	if (in->err || want.type >= RANGE_NONE || want.last > INT64_MAX || want.start > want.last ||
	    p9_fids_get(&s->fids, no, &f) < 0 || f->kind != P9_OPEN)
		return -EPROTO;
	want.dev = f->dev;
	want.ino = f->ino;
	want.fid = f;
	(void)pthread_mutex_lock(&s->locks_lock);
	rc = set_lock(s, &want, &status);
	(void)pthread_mutex_unlock(&s->locks_lock);
	if (rc == 0 && status != STATUS_SUCCESS)
		rc = err_set(e, -EBUSY,
			     "%s: somebody else has locked a file that the guest had locked",
			     s->dev.name);
	return rc;
}

int p9_locks_load(struct p9 *s, struct p9_rd *in, struct err *e)
{
	uint32_t cnt = p9_get32(in);
	int rc = in->err || cnt > P9_LOCKS_MAX ? -EPROTO : 0;

	while (rc == 0 && cnt--)
		rc = load_lock(s, in, e);
	return rc;
}

/* ---- requests ----------------------------------------------------------------------------------------- */

/* start[8] length[8] proc_id[4] client_id[s]; length 0 is to the end. */
static int get_range(struct p9_ctx *c, uint32_t no, struct p9_lock *l, struct p9_fid **f)
{
	uint64_t len;
	int rc;

	l->start = p9_get64(&c->in);
	len = p9_get64(&c->in);
	l->proc = p9_get32(&c->in);
	p9_get_str(&c->in, l->client, sizeof(l->client));
	rc = p9_get_end(&c->in);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, f);
	if (rc < 0)
		return rc;
	if ((*f)->kind != P9_OPEN)
		return -EBADF;
	if (l->start > INT64_MAX || len > INT64_MAX || l->type > RANGE_NONE)
		return -EINVAL;
	l->last = len && len - 1 <= INT64_MAX - l->start ? l->start + len - 1 : INT64_MAX;
	l->dev = (*f)->dev;
	l->ino = (*f)->ino;
	l->fid = *f;
	return 0;
}

int p9_do_lock(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in);
	struct p9_lock want = {.type = p9_get8(&c->in)};
	uint8_t status = STATUS_ERROR;
	auto_fid f = NULL;
	int rc;

	(void)p9_get32(&c->in); /* flags: to block is the client's affair, as said above */
	rc = get_range(c, no, &want, &f);
	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&c->s->locks_lock);
	rc = set_lock(c->s, &want, &status);
	(void)pthread_mutex_unlock(&c->s->locks_lock);
	p9_put8(&c->out, status);
	return rc;
}

/* What another machine or a process of the host has locked: in @l, and true. */
static bool host_conflict(struct p9 *s, const struct p9_lock *want, const struct p9_fid *f,
			  struct p9_lock *l)
{
	const struct p9_lock_file *h = host_find(s, want);
	struct flock fl = {.l_type = want->type == RANGE_WRITE ? F_WRLCK : F_RDLCK,
			   .l_whence = SEEK_SET,
			   .l_start = (off_t)want->start,
			   .l_len =
			       want->last == INT64_MAX ? 0 : (off_t)(want->last - want->start + 1)};

	if (fcntl(h ? h->f->fd : f->fd, F_OFD_GETLK, &fl) < 0 || fl.l_type == F_UNLCK)
		return false;
	*l = (struct p9_lock){.type = fl.l_type == F_WRLCK ? RANGE_WRITE : RANGE_READ,
			      .start = (uint64_t)fl.l_start,
			      .last = fl.l_len ? (uint64_t)(fl.l_start + fl.l_len - 1) : INT64_MAX};
	return true;
}

int p9_do_getlock(struct p9_ctx *c)
{
	struct p9_lock theirs;
	uint32_t no = p9_get32(&c->in);
	struct p9_lock want = {.type = p9_get8(&c->in)};
	const struct p9_lock *l;
	auto_fid f = NULL;
	int rc = get_range(c, no, &want, &f);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&c->s->locks_lock);
	l = want.type == RANGE_NONE ? NULL : conflict(c->s, &want);
	if (want.type != RANGE_NONE && !l && host_conflict(c->s, &want, f, &theirs))
		l = &theirs;
	p9_put8(&c->out, l ? l->type : RANGE_NONE);
	if (!l)
		l = &want;
	p9_put64(&c->out, l->start);
	p9_put64(&c->out, l->last == INT64_MAX ? 0 : l->last - l->start + 1);
	p9_put32(&c->out, l->proc);
	p9_put_str(&c->out, l->client);
	(void)pthread_mutex_unlock(&c->s->locks_lock);
	return 0;
}
