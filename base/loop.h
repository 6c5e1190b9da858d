/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one io_uring, one thread.
 *
 * Made, run and freed on the same thread (the ring is single-issuer). Only loop_post() and
 * loop_call() may be used from other threads. An operation is embedded in its owner's request, which
 * must stay allocated until done() has run: the kernel works on it meanwhile. Cancelling asks; done()
 * still comes (-ECANCELED, or the result if it was quicker).
 *
 * The loop never waits for another thread, so a vCPU thread may wait for the loop (loop_call).
 */
#ifndef HUSK_BASE_LOOP_H
#define HUSK_BASE_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "base/err.h"
#include "base/list.h"

struct loop;

struct loop_op {
	void (*done)(struct loop_op *op, int res, unsigned cqe_flags); /* loop thread */
	const char *what;					       /* "blk0 read": for traces */
	bool busy; /* the kernel owns it; set by submission, cleared before done() */
};

/* Work handed over by another thread; embedded in what it is about. */
struct loop_work {
	void (*fn)(struct loop_work *w); /* loop thread */
	struct list node;		 /* the loop's */
	bool queued;
};

#define LOOP_NO_OFF ((uint64_t)-1) /* at the file position: streams */

/*
 * @entries: submission queue size, a power of two; more submissions than that at once are flushed
 * early, never lost. Fails with a sentence that names kernel.io_uring_disabled where that is why.
 */
int loop_new(struct loop **ret, unsigned entries, struct err *e) MUST_CHECK;
void loop_free(struct loop *l); /* NULL is fine. Cancels and reaps what is still busy first. */
int loop_run(struct loop *l);	/* until loop_stop(); 0 or -errno */
void loop_stop(struct loop *l); /* loop thread; pending completions are still delivered first */
/* One round: submit, wait for at least one completion if @wait, deliver what there is. For tests. */
int loop_step(struct loop *l, bool wait);
bool loop_is_here(const struct loop *l); /* are we its thread */

/*
 * Registers a descriptor with the ring, which saves looking it up for each operation. Returns what the
 * submissions below take in its place: a number beyond all descriptors, or @fd itself when there is no
 * room. The file stays open inside until loop_file_del(), which forgets it. Loop thread.
 */
int loop_file_add(struct loop *l, int fd);
void loop_file_del(struct loop *l, int file);

/* Submissions: loop thread only; @op must not be busy. Results arrive in done() as the syscall's. */
void loop_read(struct loop *l, struct loop_op *op, int fd, void *buf, unsigned len, uint64_t off);
void loop_write(struct loop *l, struct loop_op *op, int fd, const void *buf, unsigned len,
		uint64_t off);
void loop_readv(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned cnt,
		uint64_t off);
void loop_writev(struct loop *l, struct loop_op *op, int fd, const struct iovec *iov, unsigned cnt,
		 uint64_t off);
void loop_fsync(struct loop *l, struct loop_op *op, int fd, bool datasync);
void loop_fallocate(struct loop *l, struct loop_op *op, int fd, int mode, uint64_t off,
		    uint64_t len);
void loop_poll(struct loop *l, struct loop_op *op, int fd, unsigned events); /* one shot */
void loop_accept(struct loop *l, struct loop_op *op, int fd);		     /* SOCK_CLOEXEC */
void loop_sendmsg(struct loop *l, struct loop_op *op, int fd, const struct msghdr *m, int flags);
void loop_recvmsg(struct loop *l, struct loop_op *op, int fd, struct msghdr *m, int flags);
/* done() with -ETIME at @when_ns of clock_ns(). One timer per op. */
struct loop_timer {
	struct loop_op op;
	struct {
		int64_t tv_sec;
		long long tv_nsec;
	} ts; /* the kernel reads it at submission only */
};
void loop_timer(struct loop *l, struct loop_timer *t, uint64_t when_ns);
void loop_cancel(struct loop *l, struct loop_op *op); /* not busy: nothing happens */

/* Any thread. A work already queued stays queued once. */
void loop_post(struct loop *l, struct loop_work *w);
/* Loop thread: takes a work back that has not run yet, so that its owner can be freed. */
void loop_unpost(struct loop *l, struct loop_work *w);
/* Any thread but the loop's: runs fn(arg) on the loop and returns after it. On the loop: directly. */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);

#endif
