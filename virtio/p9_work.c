/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p workers: threads that make the blocking metadata calls.
 *
 * A pool's queue, counters and thread table are under its mutex. Requests belong to the worker from
 * p9_pool_submit() until the worker posts them back to the loop. A worker has its own umask and working
 * directory (CLONE_FS unshared) and its own file system uid, gid and effective capabilities, which are
 * per thread as long as libc's wrappers, which would change all threads, are not used.
 */
#include "virtio/p9.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/thread.h"

#define WORKERS_DEFAULT 4u
#define WORKER_STACK	(256u << 10) /* address space; what is touched is some 16 KiB */

/* ---- identity --------------------------------------------------------------------------------------- */

static int caps_get(struct p9_worker *w)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0}};

	if (syscall(SYS_capget, &h, d) < 0)
		return -errno;
	for (int i = 0; i < 2; i++) {
		w->cap_perm[i] = d[i].permitted;
		w->cap_eff[i] = d[i].effective;
	}
	return 0;
}

static int caps_set(struct p9_worker *w, const uint32_t eff[2])
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0}};

	for (int i = 0; i < 2; i++) {
		d[i].permitted = w->cap_perm[i];
		d[i].effective = eff[i];
	}
	if (syscall(SYS_capset, &h, d) < 0)
		return -errno;
	w->cap_eff[0] = eff[0];
	w->cap_eff[1] = eff[1];
	return 0;
}

static bool cap_has(const struct p9_worker *w, unsigned cap)
{
	return w->cap_perm[cap / 32] >> (cap % 32) & 1;
}

/*
 * The guest's kernel has checked permissions; what counts here is who owns what is made, from the first
 * moment on. Leaving fsuid 0 makes the kernel drop the file capabilities from the effective set, so they
 * are raised again, but for CAP_FSETID: without it the kernel takes the set-group-id bit away where a
 * file's creator is not in its group, as it would on a local file system.
 */
int p9_worker_as(struct p9_worker *w, uint32_t uid, uint32_t gid)
{
	uint32_t eff[2] = {w->cap_perm[0], w->cap_perm[1]};

	if (!w->privileged || (w->uid == uid && w->gid == gid))
		return 0;
	if (uid == P9_NOUID || gid == P9_NOUID)
		return -EINVAL;
	(void)syscall(SYS_setfsgid, gid);
	(void)syscall(SYS_setfsuid, uid);
	/* They report nothing but what was before: an impossible value asks without changing. */
	w->uid = (uint32_t)syscall(SYS_setfsuid, P9_NOUID);
	w->gid = (uint32_t)syscall(SYS_setfsgid, P9_NOUID);
	if (uid)
		eff[CAP_FSETID / 32] &= ~(1u << (CAP_FSETID % 32));
	if (caps_set(w, eff) < 0 || w->uid != uid || w->gid != gid)
		return -EPERM;
	return 0;
}

int p9_worker_chdir(struct p9_worker *w, int proc_fd)
{
	if (w->cwd_fd == proc_fd)
		return 0;
	w->cwd_fd = -1;
	if (fchdir(proc_fd) < 0)
		return -errno;
	w->cwd_fd = proc_fd;
	return 0;
}

static int worker_init(struct p9_worker *w)
{
	w->cwd_fd = -1;
	/* Another worker may have started this one while it acted for a user. */
	(void)syscall(SYS_setfsgid, 0);
	(void)syscall(SYS_setfsuid, 0);
	if (unshare(CLONE_FS) < 0)
		return -errno;
	(void)umask(0);
	if (caps_get(w) < 0)
		return -EPERM;
	w->uid = (uint32_t)syscall(SYS_setfsuid, P9_NOUID);
	w->gid = (uint32_t)syscall(SYS_setfsgid, P9_NOUID);
	w->privileged = w->uid == 0 && cap_has(w, CAP_SETUID) && cap_has(w, CAP_SETGID);
	/* Groups would only widen what set-group-id files may be made. */
	if (cap_has(w, CAP_SETGID))
		(void)syscall(SYS_setgroups, 0, NULL);
	return 0;
}

/* ---- the pool --------------------------------------------------------------------------------------- */

static int spawn(struct p9_pool *p);

/* Takes the next request; NULL when the pool ends. Called and left with the lock held. */
static struct p9_req *next_request(struct p9_pool *p)
{
	struct p9_req *r;

	while (list_empty(&p->queue) && !p->stop) {
		p->idle++;
		(void)pthread_cond_wait(&p->cond, &p->lock);
		p->idle--;
	}
	if (p->stop)
		return NULL;
	r = list_first(&p->queue, struct p9_req, queued);
	list_del(&r->queued);
	return r;
}

/* This thread cannot work. Without any other that can, what waits already is answered with an error. */
static void start_failed(struct p9_pool *p, int rc)
{
	p->max = p->cnt;
	if (p->live)
		return;
	p->start_rc = rc;
	while (!list_empty(&p->queue)) {
		struct p9_req *r = list_first(&p->queue, struct p9_req, queued);

		list_del(&r->queued);
		p9_reply_error(r, rc);
		loop_post(r->s->dev.loop, &r->work);
	}
}

static void *worker_main(void *arg)
{
	struct p9_pool *p = arg;
	struct p9_worker w = {.pool = p};
	int rc;

	(void)pthread_setname_np(pthread_self(), "p9");
	if (p->thread_init)
		p->thread_init(p->thread_arg);
	rc = worker_init(&w);
	(void)pthread_mutex_lock(&p->lock);
	p->spawning = false;
	if (rc == 0)
		p->live++;
	else
		start_failed(p, rc);
	(void)pthread_cond_broadcast(&p->started);
	while (rc == 0) {
		struct p9_req *r = next_request(p);

		if (!r)
			break;
		/* More to do than threads: one more, made by a thread that still has its privileges. */
		if (!list_empty(&p->queue) && !p->idle && !p->spawning)
			(void)spawn(p);
		(void)pthread_mutex_unlock(&p->lock);
		p9_execute(&w, r);
		loop_post(r->s->dev.loop, &r->work);
		(void)pthread_mutex_lock(&p->lock);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* With the lock held. Too few threads are slower, not wrong, so only the first one's error matters. */
static int spawn(struct p9_pool *p)
{
	int rc;

	if (p->cnt == p->max || p->stop)
		return 0;
	p->spawning = true;
	rc = thread_start(&p->thread[p->cnt], WORKER_STACK, worker_main, p);
	if (rc < 0) {
		p->spawning = false;
		return rc;
	}
	p->cnt++;
	return 0;
}

int p9_pool_start(struct p9_pool *p)
{
	int rc = 0;

	(void)pthread_mutex_lock(&p->lock);
	if (!p->cnt) {
		rc = spawn(p);
		while (rc == 0 && p->spawning)
			(void)pthread_cond_wait(&p->started, &p->lock);
		if (rc == 0)
			rc = p->start_rc;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return rc;
}

int p9_pool_submit(struct p9_pool *p, struct p9_req *r)
{
	int rc = 0;

	(void)pthread_mutex_lock(&p->lock);
	if (!p->cnt)
		rc = spawn(p);
	if (rc == 0)
		rc = p->start_rc;
	if (rc == 0) {
		list_add_tail(&p->queue, &r->queued);
		(void)pthread_cond_signal(&p->cond);
	}
	(void)pthread_mutex_unlock(&p->lock);
	return rc;
}

bool p9_pool_withdraw(struct p9_pool *p, struct p9_req *r)
{
	bool there;

	(void)pthread_mutex_lock(&p->lock);
	there = !list_empty(&r->queued);
	list_del(&r->queued);
	(void)pthread_mutex_unlock(&p->lock);
	return there;
}

static struct p9_pool *pool_alloc(unsigned workers)
{
	struct p9_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->cond, NULL);
	(void)pthread_cond_init(&p->started, NULL);
	list_init(&p->queue);
	p->max = workers ? MIN(workers, P9_WORKERS_MAX) : WORKERS_DEFAULT;
	return p;
}

int p9_pool_new(struct p9_pool **ret, const struct p9_pool_config *cfg, struct err *e)
{
	struct p9_pool *p = pool_alloc(cfg->workers);
	int rc;

	if (!p)
		return err_set(e, -ENOMEM, "9p workers: out of memory");
	p->thread_init = cfg->thread_init;
	p->thread_arg = cfg->thread_arg;
	*ret = p;
	if (cfg->lazy)
		return 0;
	rc = p9_pool_start(p);
	if (rc < 0) {
		*ret = NULL;
		p9_pool_free(p);
		return err_sys(e, rc, "9p workers: starting a thread");
	}
	return 0;
}

void p9_pool_free(struct p9_pool *p)
{
	unsigned cnt;

	if (!p)
		return;
	(void)pthread_mutex_lock(&p->lock);
	BUG_ON(!list_empty(&p->queue));
	p->stop = true; /* no thread is added from here on */
	cnt = p->cnt;
	(void)pthread_cond_broadcast(&p->cond);
	(void)pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < cnt; i++)
		(void)pthread_join(p->thread[i], NULL);
	(void)pthread_mutex_destroy(&p->lock);
	(void)pthread_cond_destroy(&p->cond);
	(void)pthread_cond_destroy(&p->started);
	free(p);
}
