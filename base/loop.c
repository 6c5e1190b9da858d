/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop on io_uring. See loop.h for the contract.
 *
 * Each round submits what has been queued and waits for at least one completion in one system call,
 * then delivers all completions. Other threads reach the loop through a list under a mutex and an
 * eventfd that the ring reads.
 */
#include "base/loop.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

#include "base/fd.h"

struct loop {
	struct io_uring ring;
	pthread_t thread;
	bool stop;
	unsigned inflight; /* operations that the kernel owns, the wake-up read included */
	int wake_fd;
	uint64_t wake_val;
	struct loop_op wake;
	uint64_t files;	      /* a bit for each registered file */
	pthread_mutex_t lock; /* guards posted */
	struct list posted;
};

/*
 * All that the functions below submit: the kernel refuses the ring everything else (EACCES), and any
 * later registration. A system call filter does not see what goes through a ring, and a ring can open
 * files and sockets.
 */
static const uint8_t ring_ops[] = {
    IORING_OP_READ,    IORING_OP_WRITE,	    IORING_OP_READV,	IORING_OP_WRITEV,
    IORING_OP_FSYNC,   IORING_OP_FALLOCATE, IORING_OP_POLL_ADD, IORING_OP_ACCEPT,
    IORING_OP_SENDMSG, IORING_OP_RECVMSG,   IORING_OP_TIMEOUT,	IORING_OP_ASYNC_CANCEL,
};

/* The shared liburing 2.3 forgot to export these two. */
static int ring_register(const struct io_uring *ring, unsigned what, const void *arg, unsigned cnt)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, what, arg, cnt) < 0 ? -errno : 0;
}

/* A table of registered files, empty; an older kernel (before 5.19) knows no empty entries by flag. */
#define FILES	  64u
#define FILE_BASE (1 << 30)

static void ring_files(const struct io_uring *ring, uint64_t *used)
{
	int none[FILES];

	memset(none, 0xff, sizeof(none));
	/* All in use: nothing is registered, everything goes by descriptor. */
	*used = ring_register(ring, IORING_REGISTER_FILES, none, FILES) < 0 ? UINT64_MAX : 0;
}

/* Linux 5.10 and later; the ring was made disabled for it. */
static int ring_restrict(const struct io_uring *ring)
{
	struct io_uring_restriction r[ARRAY_LEN(ring_ops) + 2] = {0};
	unsigned n = ARRAY_LEN(ring_ops);
	int rc;

	for (size_t i = 0; i < ARRAY_LEN(ring_ops); i++) {
		r[i].opcode = IORING_RESTRICTION_SQE_OP;
		r[i].sqe_op = ring_ops[i];
	}
	r[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	r[n++].register_op = IORING_REGISTER_FILES_UPDATE;
	r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	r[n++].sqe_flags = IOSQE_FIXED_FILE;
	rc = ring_register(ring, IORING_REGISTER_RESTRICTIONS, r, n);
	return rc < 0 ? rc : ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int ring_setup(struct io_uring *ring, unsigned entries, uint64_t *files)
{
	/* In order of preference: 6.1 has all of them, 5.10 the last. */
	static const unsigned flags[] = {
	    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
	    0,
	};
	int rc = -EINVAL;

	for (unsigned i = 0; i < ARRAY_LEN(flags) && rc == -EINVAL; i++)
		rc = io_uring_queue_init(entries, ring,
					 flags[i] | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED);
	if (rc < 0)
		return rc;
	ring_files(ring, files);
	rc = ring_restrict(ring);
	if (rc < 0)
		io_uring_queue_exit(ring);
	return rc;
}

/*
 * Runs what has been posted up to now. What these functions post themselves waits for the next round, or
 * a work that posts itself again would keep the loop from everything else.
 */
static void run_posted(struct loop *l)
{
	struct list now = LIST_INIT(now);

	(void)pthread_mutex_lock(&l->lock);
	while (!list_empty(&l->posted)) {
		struct list *n = l->posted.next;

		list_del(n);
		list_add_tail(&now, n);
	}
	for (;;) {
		struct loop_work *w;

		if (list_empty(&now))
			break;
		w = list_first(&now, struct loop_work, node);
		list_del(&w->node);
		w->queued = false;
		(void)pthread_mutex_unlock(&l->lock);
		w->fn(w);
		(void)pthread_mutex_lock(&l->lock);
	}
	(void)pthread_mutex_unlock(&l->lock);
}

static void wake_done(struct loop_op *op, int res, unsigned flags)
{
	struct loop *l = container_of(op, struct loop, wake);

	(void)flags;
	if (res == -ECANCELED)
		return;
	loop_read(l, &l->wake, l->wake_fd, &l->wake_val, sizeof(l->wake_val), LOOP_NO_OFF);
	run_posted(l);
}

int loop_new(struct loop **ret, unsigned entries, struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return err_set(e, -ENOMEM, "event loop: out of memory");
	rc = ring_setup(&l->ring, entries, &l->files);
	if (rc < 0) {
		free(l);
		if (rc == -EPERM || rc == -ENOSYS)
			return err_set(e, rc,
				       "io_uring is not available: sysctl kernel.io_uring_disabled "
				       "or a seccomp filter forbids it");
		return err_sys(e, rc, "setting up io_uring");
	}
	l->wake_fd = eventfd(0, EFD_CLOEXEC);
	if (l->wake_fd < 0) {
		rc = -errno;
		io_uring_queue_exit(&l->ring);
		free(l);
		return err_sys(e, rc, "event loop: eventfd");
	}
	l->thread = pthread_self();
	(void)pthread_mutex_init(&l->lock, NULL);
	list_init(&l->posted);
	l->wake.done = wake_done;
	l->wake.what = "loop wake-up";
	loop_read(l, &l->wake, l->wake_fd, &l->wake_val, sizeof(l->wake_val), LOOP_NO_OFF);
	*ret = l;
	return 0;
}

/*
 * Delivers what is there now. What done() starts and the kernel finishes meanwhile waits for the next
 * round: only between rounds does the kernel hand over timers, polls and wake-ups.
 */
static void deliver(struct loop *l)
{
	for (unsigned n = io_uring_cq_ready(&l->ring); n; n--) {
		struct io_uring_cqe *cqe;
		struct loop_op *op;
		unsigned flags;
		int res;

		if (io_uring_peek_cqe(&l->ring, &cqe) != 0)
			return;
		op = io_uring_cqe_get_data(cqe);
		flags = cqe->flags;
		res = cqe->res;
		io_uring_cqe_seen(&l->ring, cqe);
		if (!op) /* a cancel request's own completion */
			continue;
		l->inflight--;
		op->busy = false;
		op->done(op, res, flags);
	}
}

int loop_step(struct loop *l, bool wait)
{
	int rc = io_uring_submit_and_wait(&l->ring, wait ? 1 : 0);

	if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
		return rc;
	if (!wait) /* deferred task work runs only when asked for */
		(void)io_uring_get_events(&l->ring);
	deliver(l);
	return 0;
}

int loop_run(struct loop *l)
{
	int rc = 0;

	l->stop = false;
	while (!l->stop && rc == 0)
		rc = loop_step(l, true);
	return rc;
}

void loop_stop(struct loop *l)
{
	l->stop = true;
}

bool loop_is_here(const struct loop *l)
{
	return pthread_equal(l->thread, pthread_self()) != 0;
}

static void cancel_all(struct loop *l)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	if (sqe) {
		io_uring_prep_cancel(sqe, NULL, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
		io_uring_sqe_set_data(sqe, NULL);
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	/*
	 * Owners of operations were told to stop before; what is left is the wake-up read and operations
	 * whose memory must not be touched any more once we return.
	 */
	for (int i = 0; l->inflight && i < 1000; i++) {
		cancel_all(l);
		if (loop_step(l, true) < 0)
			break;
	}
	io_uring_queue_exit(&l->ring);
	(void)close(l->wake_fd);
	(void)pthread_mutex_destroy(&l->lock);
	free(l);
}

static struct io_uring_sqe *get_sqe(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);

	BUG_ON(op && op->busy);
	while (!sqe) {
		/* The submission queue is full: hand over what is in it. */
		int rc = io_uring_submit(&l->ring);

		BUG_ON(rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY);
		sqe = io_uring_get_sqe(&l->ring);
	}
	if (op) {
		op->busy = true;
		l->inflight++;
	}
	return sqe;
}

static void use_file(struct io_uring_sqe *sqe)
{
	if (sqe->fd < FILE_BASE)
		return;
	sqe->fd -= FILE_BASE;
	sqe->flags |= IOSQE_FIXED_FILE;
}

static int file_update(struct loop *l, unsigned n, int fd)
{
	struct io_uring_files_update u = {.offset = n, .fds = (uintptr_t)&fd};

	return ring_register(&l->ring, IORING_REGISTER_FILES_UPDATE, &u, 1);
}

int loop_file_add(struct loop *l, int fd)
{
	unsigned n;

	if (fd < 0 || l->files == UINT64_MAX)
		return fd;
	n = (unsigned)__builtin_ctzll(~l->files);
	if (file_update(l, n, fd) < 0)
		return fd;
	l->files |= 1ull << n;
	return FILE_BASE + (int)n;
}

void loop_file_del(struct loop *l, int file)
{
	if (file < FILE_BASE)
		return;
	(void)file_update(l, (unsigned)(file - FILE_BASE), -1);
	l->files &= ~(1ull << (file - FILE_BASE));
}

/* Preparing clears the user data, so it is set afterwards. */
#define SUBMIT(l, op, prep, ...)                                                                   \
	do {                                                                                       \
		struct io_uring_sqe *sqe_ = get_sqe(l, op);                                        \
		prep(sqe_, __VA_ARGS__);                                                           \
		use_file(sqe_);                                                                    \
		io_uring_sqe_set_data(sqe_, op);                                                   \
	} while (0)

void loop_read(struct loop *l, struct loop_op *op, int fd, void *buf, unsigned len, uint64_t off)
{
	SUBMIT(l, op, io_uring_prep_read, fd, buf, len, off);
}

void loop_write(struct loop *l, struct loop_op *op, int fd, const void *buf, unsigned len,
		uint64_t off)
{
	SUBMIT(l, op, io_uring_prep_write, fd, buf, len, off);
}

void loop_readv(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned cnt,
		uint64_t off)
{
	SUBMIT(l, op, io_uring_prep_readv, fd, iov, cnt, off);
}

void loop_writev(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned cnt,
		 uint64_t off)
{
	SUBMIT(l, op, io_uring_prep_writev, fd, iov, cnt, off);
}

void loop_fsync(struct loop *l, struct loop_op *op, int fd, bool datasync)
{
	SUBMIT(l, op, io_uring_prep_fsync, fd, datasync ? IORING_FSYNC_DATASYNC : 0);
}

void loop_fallocate(struct loop *l, struct loop_op *op, int fd, int mode, uint64_t off,
		    uint64_t len)
{
	SUBMIT(l, op, io_uring_prep_fallocate, fd, mode, (off_t)off, (off_t)len);
}

void loop_poll(struct loop *l, struct loop_op *op, int fd, unsigned events)
{
	SUBMIT(l, op, io_uring_prep_poll_add, fd, events);
}

void loop_accept(struct loop *l, struct loop_op *op, int fd)
{
	SUBMIT(l, op, io_uring_prep_accept, fd, NULL, NULL, SOCK_CLOEXEC);
}

void loop_sendmsg(struct loop *l, struct loop_op *op, int fd, const struct msghdr *m, int flags)
{
	SUBMIT(l, op, io_uring_prep_sendmsg, fd, m, (unsigned)flags);
}

void loop_recvmsg(struct loop *l, struct loop_op *op, int fd, struct msghdr *m, int flags)
{
	SUBMIT(l, op, io_uring_prep_recvmsg, fd, m, (unsigned)flags);
}

void loop_timer(struct loop *l, struct loop_timer *t, uint64_t when_ns)
{
	_Static_assert(sizeof(t->ts) == sizeof(struct __kernel_timespec), "kernel timespec");
	t->ts.tv_sec = (int64_t)(when_ns / 1000000000ull);
	t->ts.tv_nsec = (long long)(when_ns % 1000000000ull);
	SUBMIT(l, &t->op, io_uring_prep_timeout, (struct __kernel_timespec *)(void *)&t->ts, 0,
	       IORING_TIMEOUT_ABS);
}

void loop_cancel(struct loop *l, struct loop_op *op)
{
	struct io_uring_sqe *sqe;

	if (!op->busy)
		return;
	sqe = get_sqe(l, NULL);
	io_uring_prep_cancel(sqe, op, 0);
	io_uring_sqe_set_data(sqe, NULL);
}

void loop_post(struct loop *l, struct loop_work *w)
{
	uint64_t one = 1;
	bool kick = false;

	(void)pthread_mutex_lock(&l->lock);
	if (!w->queued) {
		w->queued = true;
		kick = list_empty(&l->posted);
		list_add_tail(&l->posted, &w->node);
	}
	(void)pthread_mutex_unlock(&l->lock);
	/* An eventfd only refuses a write when its counter is full, and then the loop is awake. */
	if (kick && write(l->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void loop_unpost(struct loop *l, struct loop_work *w)
{
	(void)pthread_mutex_lock(&l->lock);
	if (w->queued) {
		list_del(&w->node);
		w->queued = false;
	}
	(void)pthread_mutex_unlock(&l->lock);
}

struct call {
	struct loop_work work;
	void (*fn)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool finished;
};

static void call_run(struct loop_work *w)
{
	struct call *c = container_of(w, struct call, work);

	c->fn(c->arg);
	(void)pthread_mutex_lock(&c->lock);
	c->finished = true;
	(void)pthread_cond_signal(&c->cond);
	(void)pthread_mutex_unlock(&c->lock);
}

void loop_call(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct call c = {.work = {.fn = call_run},
			 .fn = fn,
			 .arg = arg,
			 .lock = PTHREAD_MUTEX_INITIALIZER,
			 .cond = PTHREAD_COND_INITIALIZER};

	if (loop_is_here(l)) {
		fn(arg);
		return;
	}
	loop_post(l, &c.work);
	(void)pthread_mutex_lock(&c.lock);
	while (!c.finished)
		(void)pthread_cond_wait(&c.cond, &c.lock);
	(void)pthread_mutex_unlock(&c.lock);
}
