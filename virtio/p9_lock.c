/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p: byte-range locks. Worker threads; the table is under p9.locks_lock.
 *
 * The guest's kernel arbitrates between its processes first, and sends flock(2) and fcntl(2) locks alike.
 * This table adds what the guest cannot know, that two of its inodes are one file (hard links). It is not
 * visible to the host or to other VMs. An owner is a client's name and process id; an unlock also takes
 * away what was locked through the same fid, since a child may give up a lock of its parent's open file.
 * Nothing waits here: the answer to a conflict is "blocked", and the client asks again.
 */
#include "virtio/p9.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

enum { LOCK_READ = 0, LOCK_WRITE = 1, LOCK_NONE = 2 };
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
		    (l->type == LOCK_WRITE || want->type == LOCK_WRITE))
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

static int set_lock(struct p9 *s, const struct p9_lock *want, uint8_t *status)
{
	auto_free struct p9_lock *n = malloc(sizeof(*n));
	auto_free struct p9_lock *spare = malloc(sizeof(*spare));

	if (!n || !spare)
		return -ENOLCK;
	*status = STATUS_SUCCESS;
	if (want->type == LOCK_NONE) {
		cut(s, want, &spare);
		return 0;
	}
	if (conflict(s, want)) {
		*status = STATUS_BLOCKED;
		return 0;
	}
	if (s->lock_cnt + 2 > P9_LOCKS_MAX)
		return -ENOLCK;
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

		if (!f || l->fid == f)
			drop(s, l);
	}
	(void)pthread_mutex_unlock(&s->locks_lock);
}

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
	if (l->start > INT64_MAX || len > INT64_MAX || l->type > LOCK_NONE)
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

int p9_do_getlock(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in);
	struct p9_lock want = {.type = p9_get8(&c->in)};
	const struct p9_lock *l;
	auto_fid f = NULL;
	int rc = get_range(c, no, &want, &f);

	if (rc < 0)
		return rc;
	(void)pthread_mutex_lock(&c->s->locks_lock);
	l = want.type == LOCK_NONE ? NULL : conflict(c->s, &want);
	p9_put8(&c->out, l ? l->type : LOCK_NONE);
	if (!l)
		l = &want;
	p9_put64(&c->out, l->start);
	p9_put64(&c->out, l->last == INT64_MAX ? 0 : l->last - l->start + 1);
	p9_put32(&c->out, l->proc);
	p9_put_str(&c->out, l->client);
	(void)pthread_mutex_unlock(&c->s->locks_lock);
	return 0;
}
