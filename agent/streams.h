/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stdin, stdout and stderr of one process between its pipes (or its pty) and the link's streams; or
 * both directions of a connection (dial.h).
 * Nothing here blocks: a pipe that is full or a stream without credit stops that direction of that
 * process only. Memory: at most LINK_WINDOW bytes per stdin, nothing per output.
 */
#ifndef HUSK_AGENT_STREAMS_H
#define HUSK_AGENT_STREAMS_H

#include "agent/agent.h"

struct proc;
struct streams;

struct stream_in {
	struct ev ev;
	struct streams *s;
	int fd;		   /* write end, non-blocking; -1 = closed */
	uint8_t *buf;	   /* LINK_WINDOW bytes once there was something to keep */
	size_t start, len; /* what waits to be written: a ring */
	uint32_t asked;	   /* what epoll is asked for */
	bool eof;	   /* close after what waits */
	bool waiting;	   /* for streams_attach(): keep what comes */
	bool tty;
	bool is_sock; /* its end is the other side's end of file, not the descriptor's close */
};

struct stream_out {
	struct ev ev;
	struct streams *s;
	int fd;	     /* read end, non-blocking; -1 = closed */
	uint64_t id; /* link stream */
	bool tty;
	bool paused; /* waits for credit */
	bool eof_sent;
	bool limited; /* the process has ended: only @left more bytes are its own */
	bool drained; /* all that the process had written is with the link */
	bool discard; /* EXIT is out: somebody else's bytes */
	size_t left;
};

struct streams {
	struct agent *a;
	struct proc *p; /* NULL: a connection */
	uint64_t base;
	struct stream_in in;
	struct stream_out out[2];
	bool opened; /* in the link */
};

/* Opens the link's streams. The descriptors come later, with streams_attach(). */
int streams_open(struct agent *a, struct streams *s, struct proc *p, uint64_t base) MUST_CHECK;
/*
 * Takes the descriptors over in every case: @in written, @out and @err read (-1 = none). With @tty,
 * @in and @out are two descriptors of one pty master.
 */
int streams_attach(struct streams *s, int in, int out, int err, bool tty) MUST_CHECK;
/* The process has been reaped: what it wrote is to be sent, then streams_drained() is true. */
void streams_ended(struct streams *s);
bool streams_drained(const struct streams *s);
/* After EXIT: the streams leave the link; descendants that still write are read into nowhere. */
void streams_release(struct streams *s);
bool streams_idle(const struct streams *s); /* nothing open any more */
void streams_close(struct streams *s);	    /* everything, at once */
int streams_winsize(struct streams *s, uint16_t rows, uint16_t cols);

/* link_ops */
void streams_data(void *ctx, uint64_t stream, const void *buf, size_t len);
void streams_eof(void *ctx, uint64_t stream);
void streams_closed(void *ctx, uint64_t stream);
void streams_writable(void *ctx, uint64_t stream);

#endif
