/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine's descriptors: a source reads one (the container's stdin), a sink writes one (its
 * stdout or stderr), both on the loop and without ever blocking it.
 *
 * A descriptor that came from an engine is shared with others, so O_NONBLOCK is never set on it: it
 * is opened anew through procfs. Where that cannot be (sockets, files with a position of their own,
 * foreign permissions) readiness is asked for before each step, and a write is no longer than
 * PIPE_BUF.
 *
 * All on the loop's thread. A source or sink owns its descriptor and closes it at the end of its
 * life; its memory lives until the kernel has let go of the last operation.
 */
#ifndef HUSK_RUNTIME_STDIO_H
#define HUSK_RUNTIME_STDIO_H

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"
#include "base/loop.h"

struct source_ops {
	/* Returns how much it takes; less than @len: source_resume() when there is room. */
	size_t (*take)(void *ctx, const void *buf, size_t len);
	void (*eof)(void *ctx); /* the end, or a descriptor that cannot be read; nothing after it */
};

struct source;
/* @proc_fd: a directory /proc/self/fd. NULL when out of memory (@fd is closed then, too). */
struct source *source_new(struct loop *l, int fd, int proc_fd, const struct source_ops *ops,
			  void *ctx);
void source_start(struct source *s);
void source_resume(struct source *s);
/*
 * No call of ops after this one, which may come from inside of one. The descriptor is closed, at once where nothing was being waited
 * for and in the loop's next round else. NULL is fine.
 */
void source_end(struct source *s);

struct sink_ops {
	void (*consumed)(void *ctx, size_t len); /* so much has reached the descriptor */
	void (*broken)(void *ctx); /* nobody reads: what comes is swallowed from now on */
	void (*idle)(void *ctx);   /* everything has been written (or swallowed) */
};

struct sink;
struct sink *sink_new(struct loop *l, int fd, int proc_fd, const struct sink_ops *ops, void *ctx);
/* Takes all of it: the caller's credits bound how much that is. consumed() follows, maybe inside.
 */
void sink_write(struct sink *s, const void *buf, size_t len);
bool sink_is_idle(const struct sink *s);
void sink_discard(struct sink *s); /* forget what is not written yet; NULL is fine */
void sink_end(struct sink *s);	   /* as source_end() */

#endif
