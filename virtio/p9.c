/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-9p (virtio 1.2 only reserves the id; the device is what Linux's net/9p/trans_virtio.c drives):
 * one queue of 9P2000.L messages, each chain holding a request and room for its reply.
 *
 * A request's way:
 *
 *	queue -> copied and checked -+-> Tversion, Tflush: answered here
 *	                             +-> data of an open file: ring (p9_io.c) --------+
 *	                             +-> Twalk, Tgetattr, Tclunk of what is cached: here (p9_here)
 *	                             +-> the rest: worker (p9_fs.c, p9_name.c, ...) --+-> push
 *
 * All of this file but p9_execute(), p9_reply_error() and the constructor runs on the loop thread.
 * Tflush cancels nothing: no request waits for an event, so its reply just follows the other's. A reset
 * takes back what no worker has begun, waits for the rest, and lets go of all fids.
 */
#include "virtio/p9.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "base/endian.h"
#include "base/fd.h"

#define SPARE_MAX	    16u	 /* requests kept for later; each is some 5 KiB */
#define KICK_BUDGET	    512u /* messages taken before other devices get their turn */
#define VIRTIO_9P_MOUNT_TAG (1ull << 0)

/* ---- requests --------------------------------------------------------------------------------------- */

static void request_done_by_worker(struct loop_work *w)
{
	p9_finish(container_of(w, struct p9_req, work));
}

static struct p9_req *request_get(struct p9 *s)
{
	struct p9_req *r = s->spare;

	if (r) {
		s->spare = r->flushes;
		s->spare_cnt--;
	} else {
		r = malloc(sizeof(*r));
		if (!r)
			return NULL;
	}
	memset(r, 0, offsetof(struct p9_req, iov));
	r->s = s;
	r->chain.iov = r->iov;
	r->chain.cap = ARRAY_LEN(r->iov);
	r->work.fn = request_done_by_worker;
	list_init(&r->queued);
	list_init(&r->running);
	return r;
}

static void request_put(struct p9 *s, struct p9_req *r)
{
	if (r->msg != r->small)
		free(r->msg);
	if (s->spare_cnt >= SPARE_MAX) {
		free(r);
		return;
	}
	r->flushes = s->spare;
	s->spare = r;
	s->spare_cnt++;
}

static void reply_empty(struct p9_req *r)
{
	uint8_t head[P9_HDR];
	struct p9_wr w = {.buf = head, .cap = sizeof(head)};

	p9_put32(&w, P9_HDR);
	p9_put8(&w, r->type + 1);
	p9_put16(&w, r->tag);
	(void)iov_write(vq_in(&r->chain), r->chain.in_cnt, 0, head, w.len);
	r->reply_len = P9_HDR;
}

void p9_reply_error(struct p9_req *r, int err)
{
	uint8_t buf[P9_RIO_HDR];
	struct p9_wr w = {.buf = buf, .cap = sizeof(buf)};

	p9_put32(&w, P9_RIO_HDR);
	p9_put8(&w, P9_RLERROR);
	p9_put16(&w, r->tag);
	p9_put32(&w, (uint32_t)-err);
	(void)iov_write(vq_in(&r->chain), r->chain.in_cnt, 0, buf, w.len);
	r->reply_len = P9_RIO_HDR;
}

static void session_end(struct p9 *s)
{
	p9_fids_clear(&s->fids);
	p9_locks_drop(s, NULL);
	atomic_store(&s->msize, 0);
}

static void drained_maybe(struct p9 *s)
{
	if (s->stopping || !list_empty(&s->running) || s->more.queued)
		return;
	session_end(s);
	s->draining = false;
	virtio_stopped(&s->dev); /* may be the end of s */
}

void p9_finish(struct p9_req *r)
{
	struct p9 *s = r->s;

	/* Flushes hang on it, and flushes of flushes on those: a list that is worked off, no recursion. */
	while (r) {
		struct p9_req *next = r->flushes;

		if (next) {
			struct p9_req *end = next;

			while (end->flush_next)
				end = end->flush_next;
			end->flush_next = r->flush_next;
		} else {
			next = r->flush_next;
		}
		list_del(&r->running);
		if (!s->draining)
			vq_push(s->dev.vq, r->chain.head, r->reply_len);
		request_put(s, r);
		r = next;
		if (r)
			reply_empty(r);
	}
	if (!s->draining)
		vq_notify(s->dev.vq);
	if (list_empty(&s->running))
		virtio_quiet(&s->dev);
	if (s->draining)
		drained_maybe(s);
}

/* ---- what the loop answers itself -------------------------------------------------------------------- */

static void do_version(struct p9 *s, struct p9_req *r)
{
	struct p9_rd in = {.p = r->msg + P9_HDR, .left = r->msg_len - P9_HDR};
	uint8_t buf[64];
	struct p9_wr w = {.buf = buf, .cap = sizeof(buf)};
	uint32_t msize = p9_get32(&in);
	char version[32];
	bool known;
	int rc;

	p9_get_str(&in, version, sizeof(version));
	rc = p9_get_end(&in);
	if (rc == 0 && msize < P9_MSIZE_MIN)
		rc = -EMSGSIZE;
	if (rc < 0) {
		p9_reply_error(r, rc);
		return;
	}
	known = !strcmp(version, "9P2000.L");
	msize = MIN(msize, P9_MSIZE_MAX);
	session_end(s);
	if (known)
		atomic_store(&s->msize, msize);
	p9_put32(&w, 0);
	p9_put8(&w, P9_TVERSION + 1);
	p9_put16(&w, r->tag);
	p9_put32(&w, msize);
	p9_put_str(&w, known ? "9P2000.L" : "unknown");
	r->reply_len = (uint32_t)w.len;
	w.len = 0;
	p9_put32(&w, r->reply_len);
	if (iov_write(vq_in(&r->chain), r->chain.in_cnt, 0, buf, r->reply_len) < r->reply_len)
		p9_reply_error(r, -EMSGSIZE);
}

/* True: answered; false: waits for the other request. */
static bool do_flush(struct p9 *s, struct p9_req *r)
{
	struct p9_rd in = {.p = r->msg + P9_HDR, .left = r->msg_len - P9_HDR};
	uint16_t tag = p9_get16(&in);
	int rc = p9_get_end(&in);

	if (rc < 0) {
		p9_reply_error(r, rc);
		return true;
	}
	list_for_each (pos, &s->running) {
		struct p9_req *old = list_entry(pos, struct p9_req, running);

		if (old != r && old->tag == tag) {
			r->flush_next = old->flushes;
			old->flushes = r;
			return false;
		}
	}
	reply_empty(r);
	return true;
}

/* ---- the queue -------------------------------------------------------------------------------------- */

/* Copies the message once; what is judged later is the copy. 0 or -errno for the reply. */
static int fetch(struct p9_req *r)
{
	const struct vq_chain *ch = &r->chain;
	size_t got = iov_read(vq_out(ch), ch->out_cnt, 0, r->small, sizeof(r->small));
	struct p9_rd in = {.p = r->small, .left = got};
	uint32_t msize = atomic_load(&r->s->msize);

	r->msg = r->small;
	r->size = p9_get32(&in);
	r->type = p9_get8(&in);
	r->tag = p9_get16(&in);
	if (r->size < P9_HDR || r->size > ch->out_len)
		return -EPROTO;
	if (msize && r->size > msize)
		return -EMSGSIZE;
	if (!msize && r->type != P9_TVERSION)
		return -EPROTO;
	r->msg_len = r->size;
	if (r->type == P9_TWRITE) {
		if (r->size < P9_IO_HDR)
			return -EPROTO;
		r->msg_len = P9_IO_HDR; /* the data stays where it is */
	} else if (r->size > P9_TMSG_MAX) {
		return -EMSGSIZE;
	} else if (r->size > sizeof(r->small)) {
		uint8_t *m = malloc(r->size);

		if (!m)
			return -ENOMEM;
		memcpy(m, r->small, got);
		(void)iov_read(vq_out(ch), ch->out_cnt, got, m + got, r->size - got);
		r->msg = m;
	}
	return 0;
}

static bool p9_here(struct p9_req *r);

static void begin(struct p9 *s, struct p9_req *r)
{
	int rc = fetch(r);

	r->session = s->fids.session;
	list_add_tail(&s->running, &r->running);
	if (rc < 0) {
		p9_reply_error(r, rc);
		p9_finish(r);
		return;
	}
	switch (r->type) {
	case P9_TVERSION:
		do_version(s, r);
		p9_finish(r);
		return;
	case P9_TFLUSH:
		if (do_flush(s, r))
			p9_finish(r);
		return;
	case P9_TREAD:
	case P9_TWRITE:
	case P9_TFSYNC:
		if (p9_io_begin(r))
			return;
		break;
	case P9_TWALK:
	case P9_TGETATTR:
	case P9_TCLUNK:
		if (p9_here(r)) {
			p9_finish(r);
			return;
		}
		break;
	default:
		break;
	}
	s->by_worker++;
	rc = p9_pool_submit(s->pool, r);
	if (rc < 0) {
		p9_reply_error(r, rc);
		p9_finish(r);
	}
}

/* False when there is nothing (more) to take. */
static bool take_one(struct p9 *s)
{
	struct p9_req *r = request_get(s);
	int rc;

	if (!r) {
		virtio_fail(&s->dev, "out of memory for a request");
		return false;
	}
	rc = vq_pop(s->dev.vq, &r->chain);
	if (rc <= 0) {
		request_put(s, r);
		return false;
	}
	if (r->chain.out_len < P9_HDR || r->chain.in_len < P9_RIO_HDR) {
		virtio_fail(&s->dev, "a request of %zu bytes with room for %zu", r->chain.out_len,
			    r->chain.in_len);
		request_put(s, r);
		return false;
	}
	begin(s, r);
	return true;
}

static void p9_kick(struct virtio_dev *dev, struct vq *q)
{
	struct p9 *s = container_of(dev, struct p9, dev);
	unsigned budget = KICK_BUDGET;

	if (s->draining)
		return;
	do {
		vq_kicks_off(q);
		while (budget && take_one(s))
			budget--;
		if (!budget) {
			loop_post(dev->loop, &s->more);
			return;
		}
	} while (vq_kicks_on(q));
}

static void kick_more(struct loop_work *w)
{
	struct p9 *s = container_of(w, struct p9, more);

	if (s->draining)
		drained_maybe(s);
	else if (s->dev.running)
		p9_kick(&s->dev, s->dev.vq);
}

static int p9_start(struct virtio_dev *dev)
{
	(void)dev; /* a session begins with Tversion */
	return 0;
}

static void p9_stop(struct virtio_dev *dev)
{
	struct p9 *s = container_of(dev, struct p9, dev);
	bool again = true;

	s->draining = true;
	s->stopping = true;
	while (again) {
		again = false;
		list_for_each (pos, &s->running) {
			struct p9_req *r = list_entry(pos, struct p9_req, running);

			if (r->op.busy) {
				loop_cancel(dev->loop, &r->op);
			} else if (p9_pool_withdraw(s->pool, r)) {
				p9_finish(r); /* changes the list */
				again = true;
				break;
			}
		}
	}
	s->stopping = false;
	drained_maybe(s);
}

static void p9_freeze(struct virtio_dev *dev)
{
	if (list_empty(&container_of(dev, struct p9, dev)->running))
		virtio_quiet(dev);
}

static void p9_free(struct virtio_dev *dev)
{
	struct p9 *s = container_of(dev, struct p9, dev);

	BUG_ON(!list_empty(&s->running));
	p9_pool_free(s->own_pool);
	p9_locks_drop(s, NULL);
	p9_fids_fini(&s->fids);
	while (s->spare) {
		struct p9_req *r = s->spare;

		s->spare = r->flushes;
		free(r);
	}
	fd_close(&s->root_fd);
	fd_close(&s->proc_fd);
	(void)pthread_mutex_destroy(&s->locks_lock);
	(void)pthread_mutex_destroy(&s->inos.lock);
	free(s->inos.pre);
	virtio_fini(dev);
	free(s);
}

static void p9_counters(struct virtio_dev *dev,
			void (*tell)(void *ctx, const char *name, uint64_t v), void *ctx)
{
	const struct p9 *s = container_of(dev, struct p9, dev);

	tell(ctx, "on-loop", s->here);
	tell(ctx, "by-worker", s->by_worker);
	tell(ctx, "fids", s->fids.cnt);
}

static const struct virtio_ops p9_ops = {
    .name = "9p",
    .id = VIRTIO_ID_9P,
    .start = p9_start,
    .kick = p9_kick,
    .stop = p9_stop,
    .freeze = p9_freeze,
    .save_version = 2,
    .save = p9_save,
    .load = p9_load,
    .counters = p9_counters,
    .free = p9_free,
};

/* ---- workers' side ----------------------------------------------------------------------------------- */

static const struct handler {
	int (*fn)(struct p9_ctx *c);
	bool mutates; /* refused on a read-only tree */
	bool makes;   /* takes on the maker's identity itself */
} handlers[] = {
    [P9_TSTATFS] = {p9_do_statfs, false, false},
    [P9_TLOPEN] = {p9_do_lopen, false, false},
    [P9_TLCREATE] = {p9_do_lcreate, true, true},
    [P9_TSYMLINK] = {p9_do_symlink, true, true},
    [P9_TMKNOD] = {p9_do_mknod, true, true},
    [P9_TRENAME] = {p9_do_rename, true, false},
    [P9_TREADLINK] = {p9_do_readlink, false, false},
    [P9_TGETATTR] = {p9_do_getattr, false, false},
    [P9_TSETATTR] = {p9_do_setattr, true, false},
    [P9_TXATTRWALK] = {p9_do_xattrwalk, false, false},
    [P9_TXATTRCREATE] = {p9_do_xattrcreate, true, false},
    [P9_TREADDIR] = {p9_do_readdir, false, false},
    [P9_TFSYNC] = {p9_do_slow_fsync, false, false},
    [P9_TLOCK] = {p9_do_lock, false, false},
    [P9_TGETLOCK] = {p9_do_getlock, false, false},
    [P9_TLINK] = {p9_do_link, true, false},
    [P9_TMKDIR] = {p9_do_mkdir, true, true},
    [P9_TRENAMEAT] = {p9_do_renameat, true, false},
    [P9_TUNLINKAT] = {p9_do_unlinkat, true, false},
    [P9_TATTACH] = {p9_do_attach, false, false},
    [P9_TWALK] = {p9_do_walk, false, false},
    [P9_TREAD] = {p9_do_slow_read, false, false},
    [P9_TWRITE] = {p9_do_slow_write, false, false},
    [P9_TCLUNK] = {p9_do_clunk, false, false},
    [P9_TREMOVE] = {p9_do_remove, false,
		    false}, /* refuses by itself, after letting go of the fid */
};

/* The handler's answer; with @rc an error instead. */
static void reply(struct p9_req *r, struct p9_ctx *c, int rc)
{
	size_t len = c->out.len;

	if (rc == 0 && c->out.full)
		rc = -EMSGSIZE;
	if (rc == 0 && (len > r->chain.in_len || c->payload > r->chain.in_len - len))
		rc = -EMSGSIZE;
	if (rc < 0) {
		p9_reply_error(r, rc);
		return;
	}
	r->reply_len = (uint32_t)len + c->payload;
	c->out.len = 0;
	p9_put32(&c->out, r->reply_len);
	(void)iov_write(vq_in(&r->chain), r->chain.in_cnt, 0, c->out.buf, len);
}

static void prepare(struct p9_ctx *c)
{
	p9_put32(&c->out, 0);
	p9_put8(&c->out, c->r->type + 1);
	p9_put16(&c->out, c->r->tag);
}

void p9_execute(struct p9_worker *w, struct p9_req *r)
{
	const struct handler *h = r->type < ARRAY_LEN(handlers) ? &handlers[r->type] : NULL;
	uint8_t buf[P9_RMSG_MAX];
	struct p9_ctx c = {.s = r->s,
			   .r = r,
			   .w = w,
			   .in = {.p = r->msg + P9_HDR, .left = r->msg_len - P9_HDR},
			   .out = {.buf = buf, .cap = sizeof(buf)}};
	int rc = 0;

	if (!h || !h->fn)
		rc = -EOPNOTSUPP; /* Tauth too: there is no authentication */
	else if (h->mutates && r->s->readonly)
		rc = -EROFS;
	else if (!h->makes)
		rc = p9_worker_as(w, 0, 0);
	prepare(&c);
	if (rc == 0)
		rc = h->fn(&c);
	reply(r, &c, rc);
}

/*
 * The loop itself does what takes no waiting and no rights: the way to a worker and back costs several
 * times as much. False: it is a worker's after all, and nothing has happened.
 */
static bool p9_here(struct p9_req *r)
{
	uint8_t buf[P9_RMSG_MAX];
	struct p9_ctx c = {.s = r->s,
			   .r = r,
			   .in = {.p = r->msg + P9_HDR, .left = r->msg_len - P9_HDR},
			   .out = {.buf = buf, .cap = sizeof(buf)}};
	int rc;

	if (!r->s->local)
		return false;
	prepare(&c);
	rc = handlers[r->type].fn(&c);
	if (rc == -EAGAIN)
		return false;
	r->s->here++;
	reply(r, &c, rc);
	return true;
}

/* ---- constructor ------------------------------------------------------------------------------------- */

/* File systems that do not ask another machine, or another process. */
static bool is_local(int fd)
{
	static const uint32_t magic[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,	 BTRFS_SUPER_MAGIC,
					 F2FS_SUPER_MAGIC, EROFS_SUPER_MAGIC_V1, SQUASHFS_MAGIC,
					 TMPFS_MAGIC,	   OVERLAYFS_SUPER_MAGIC};
	struct statfs st;

	if (fstatfs(fd, &st) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(magic); i++)
		if ((uint32_t)st.f_type == magic[i])
			return true;
	return false;
}

static int check_config(struct p9 *s, const struct p9_config *cfg, struct err *e)
{
	size_t tag_len = cfg->tag ? strlen(cfg->tag) : 0;
	struct stat st;

	if (!tag_len || tag_len > P9_TAG_MAX)
		return err_set(e, -EINVAL, "share '%s': a tag has 1 to %u bytes",
			       cfg->tag ? cfg->tag : "", P9_TAG_MAX);
	if (fstat(s->root_fd, &st) < 0)
		return err_sys(e, -errno, "share '%s'", cfg->tag);
	if (!S_ISDIR(st.st_mode))
		return err_set(e, -ENOTDIR, "share '%s': not a directory", cfg->tag);
	s->root_dev = st.st_dev;
	s->local = cfg->on_loop && is_local(s->root_fd);
	if (s->proc_fd < 0)
		s->proc_fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->proc_fd < 0)
		return err_sys(e, -errno, "share '%s': opening /proc/self/fd", cfg->tag);
	return 0;
}

static int p9_setup(struct p9 *s, const char *name, const struct p9_config *cfg, struct err *e)
{
	struct p9_pool_config pool = {.workers = cfg->workers, .lazy = true};
	const uint16_t queue_max = P9_QUEUE;
	uint16_t tag_len;
	int rc = check_config(s, cfg, e);

	if (rc < 0)
		return rc;
	tag_len = (uint16_t)strlen(cfg->tag);
	rc = p9_fids_init(&s->fids);
	if (rc < 0)
		return err_sys(e, rc, "share '%s'", cfg->tag);
	s->pool = cfg->pool;
	if (!s->pool) {
		rc = p9_pool_new(&s->own_pool, &pool, e);
		if (rc < 0)
			return rc;
		s->pool = s->own_pool;
	}
	rc = virtio_init(&s->dev, &p9_ops, name, VIRTIO_9P_MOUNT_TAG, 1, &queue_max,
			 sizeof(le16_t) + tag_len);
	if (rc < 0)
		return err_sys(e, rc, "share '%s'", cfg->tag);
	s->dev.cfg[0] = (uint8_t)tag_len;
	s->dev.cfg[1] = (uint8_t)(tag_len >> 8);
	memcpy(s->dev.cfg + 2, cfg->tag, tag_len);
	return 0;
}

int p9_new(struct virtio_dev **ret, const char *name, const struct p9_config *cfg, struct err *e)
{
	struct p9 *s = calloc(1, sizeof(*s));
	int rc;

	if (!s) {
		int root = cfg->root_fd, proc = cfg->proc_fd;

		fd_close(&root);
		fd_close(&proc);
		return err_set(e, -ENOMEM, "share '%s': out of memory", cfg->tag ? cfg->tag : "");
	}
	s->root_fd = cfg->root_fd;
	s->proc_fd = cfg->proc_fd;
	s->readonly = cfg->readonly;
	list_init(&s->running);
	list_init(&s->locks);
	list_init(&s->lock_files);
	s->more.fn = kick_more;
	(void)pthread_mutex_init(&s->locks_lock, NULL);
	(void)pthread_mutex_init(&s->inos.lock, NULL);
	p9_fd_budget_init();
	rc = p9_setup(s, name, cfg, e);
	if (rc < 0) {
		p9_pool_free(s->own_pool);
		p9_fids_fini(&s->fids);
		fd_close(&s->root_fd);
		fd_close(&s->proc_fd);
		(void)pthread_mutex_destroy(&s->locks_lock);
		(void)pthread_mutex_destroy(&s->inos.lock);
		free(s);
		return rc;
	}
	*ret = &s->dev;
	return 0;
}
