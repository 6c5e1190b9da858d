/* SPDX-License-Identifier: Apache-2.0 */
/* A process's pipes or pty and the link's streams: see streams.h. Loop thread. */
#include "agent/streams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "agent/container.h"
#include "agent/dial.h"
#include "base/fd.h"

#define TURN_READS 4 /* of one output, then the others get their turn */
#define TTY_BACKLOG                                                                                \
	(256u                                                                                      \
	 << 10) /* more than a pty can hold back: output of survivors beyond it               \
		      */

static char scratch[LINK_IO_MAX];

static struct streams *find(struct agent *a, uint64_t stream)
{
	struct proc *p = proc_by_stream(a, stream);

	return p ? &p->streams : dial_streams(a, stream);
}

/* What waits for these streams looks whether that is over. The caller's last act: they may be gone. */
static void progress(struct streams *s)
{
	if (s->p)
		proc_progress(s->p);
	else
		dial_progress(s);
}

/* ---- towards the process --------------------------------------------------------------------- */

static void in_close(struct streams *s)
{
	struct stream_in *in = &s->in;

	ev_del(s->a, &in->ev);
	if (in->is_sock && in->fd >= 0)
		(void)shutdown(in->fd, SHUT_WR);
	fd_close(&in->fd);
	in->waiting = false;
	/* What the process never took is accounted for all the same, or the host's window shrinks.
	 */
	if (in->len && s->opened)
		link_consumed(s->a->link, s->base, in->len);
	in->len = 0;
	free(in->buf);
	in->buf = NULL;
}

/* Mostly nothing changes, and then it costs no system call. */
static void in_ask(struct streams *s, uint32_t events)
{
	struct stream_in *in = &s->in;

	if (in->asked == events)
		return;
	in->asked = events;
	ev_mod(s->a, &in->ev, events);
}

static void in_flush(struct streams *s)
{
	struct stream_in *in = &s->in;

	while (in->fd >= 0 && in->len) {
		size_t run = MIN(in->len, LINK_WINDOW - in->start);
		ssize_t n = write(in->fd, in->buf + in->start, run);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			in_ask(s, EPOLLOUT);
			return;
		}
		if (n <= 0) {
			/* Nobody reads it any more. */
			in_close(s);
			link_send_closed(s->a->link, s->base);
			return;
		}
		in->start = (in->start + (size_t)n) % LINK_WINDOW;
		in->len -= (size_t)n;
		link_consumed(s->a->link, s->base, (size_t)n);
	}
	if (in->fd < 0)
		return;
	in_ask(s, 0);
	if (in->eof && !in->tty)
		in_close(s);
}

static void in_event(struct ev *ev, uint32_t events)
{
	struct streams *s = container_of(ev, struct stream_in, ev)->s;

	if (s->in.len) {
		in_flush(s);
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		in_close(s);
		/* A pty hangs up when its last user went; a pipe when the process closed stdin. */
		if (s->opened)
			link_send_closed(s->a->link, s->base);
	}
	if (!s->p)
		dial_progress(s);
}

static void in_data(struct streams *s, const uint8_t *p, size_t len)
{
	struct stream_in *in = &s->in;
	size_t end, run;

	if ((in->fd >= 0 || in->waiting) && !in->buf)
		in->buf = malloc(LINK_WINDOW);
	/* The link holds the host to its window; without memory the stream ends, not the agent. */
	if ((in->fd >= 0 || in->waiting) && (!in->buf || len > LINK_WINDOW - in->len)) {
		in_close(s);
		link_send_closed(s->a->link, s->base);
	}
	if (in->fd < 0 && !in->waiting) {
		link_consumed(s->a->link, s->base, len);
		return;
	}
	end = (in->start + in->len) % LINK_WINDOW;
	run = MIN(len, LINK_WINDOW - end);
	memcpy(in->buf + end, p, run);
	memcpy(in->buf, p + run, len - run);
	in->len += len;
	in_flush(s);
}

/* ---- from the process ------------------------------------------------------------------------ */

static void out_end(struct streams *s, struct stream_out *o)
{
	ev_del(s->a, &o->ev);
	fd_close(&o->fd);
	o->drained = true;
	if (!o->eof_sent && s->opened) {
		o->eof_sent = true;
		link_send_eof(s->a->link, o->id);
	}
}

static void out_resume(struct streams *s, struct stream_out *o)
{
	if (!o->paused || o->fd < 0)
		return;
	o->paused = false;
	if (ev_add(s->a, &o->ev, o->fd, EPOLLIN) < 0)
		out_end(s, o);
}

/* Bytes of descendants after EXIT: nobody wants them, but their writer need not die of it. */
static void out_discard(struct streams *s, struct stream_out *o)
{
	for (int i = 0; i < TURN_READS; i++) {
		ssize_t n = read(o->fd, scratch, sizeof(scratch));

		if (n > 0 || (n < 0 && errno == EINTR))
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		out_end(s, o);
		return;
	}
}

static void out_pump(struct streams *s, struct stream_out *o)
{
	for (int i = 0; i < TURN_READS && o->fd >= 0 && !o->drained; i++) {
		size_t room = MIN(link_send_room(s->a->link, o->id), sizeof(scratch));
		ssize_t n;

		if (o->limited)
			room = MIN(room, o->left);
		if (o->limited && !o->left) {
			o->drained = true;
			return;
		}
		if (!room) {
			/* Having asked for room, writable() comes when there is some. */
			o->paused = true;
			/* Out of the loop: a hang-up would be reported whatever is asked for. */
			ev_del(s->a, &o->ev);
			return;
		}
		n = read(o->fd, scratch, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			o->drained = o->limited;
			return;
		}
		/* A pty whose last user has gone reads as EIO. */
		if (n <= 0) {
			out_end(s, o);
			return;
		}
		(void)link_send(s->a->link, o->id, scratch, (size_t)n);
		if (o->limited)
			o->left -= (size_t)n;
	}
}

static void out_event(struct ev *ev, uint32_t events)
{
	struct stream_out *o = container_of(ev, struct stream_out, ev);
	struct streams *s = o->s;

	(void)events;
	if (o->discard) {
		out_discard(s, o);
		return;
	}
	out_pump(s, o);
	progress(s);
}

/* ---- life ------------------------------------------------------------------------------------ */

int streams_open(struct agent *a, struct streams *s, struct proc *p, uint64_t base)
{
	int rc;

	memset(s, 0, sizeof(*s));
	s->a = a;
	s->p = p;
	s->base = base;
	s->in = (struct stream_in){.ev = {-1, in_event}, .s = s, .fd = -1, .waiting = true};
	for (int i = 0; i < 2; i++)
		s->out[i] = (struct stream_out){.ev = {-1, out_event},
						.s = s,
						.fd = -1,
						.id = base + (unsigned)i,
						.drained = true};
	rc = link_open(a->link, base);
	if (rc < 0)
		return rc;
	rc = link_open(a->link, base + 1);
	if (rc < 0)
		link_close(a->link, base);
	else
		s->opened = true;
	return rc;
}

int streams_attach(struct streams *s, int in, int out, int err, bool tty)
{
	const int fds[2] = {out, err};
	int rc = 0;

	s->in.fd = in;
	s->in.tty = tty;
	s->in.waiting = false;
	if (in >= 0)
		rc = ev_add(s->a, &s->in.ev, in, 0);
	for (int i = 0; i < 2; i++) {
		struct stream_out *o = &s->out[i];

		o->fd = fds[i];
		o->tty = tty;
		o->drained = fds[i] < 0;
		if (rc == 0 && fds[i] >= 0)
			rc = ev_add(s->a, &o->ev, fds[i], EPOLLIN);
	}
	if (rc == 0)
		in_flush(s);
	return rc;
}

void streams_ended(struct streams *s)
{
	for (int i = 0; i < 2; i++) {
		struct stream_out *o = &s->out[i];
		int n = 0;

		if (o->fd < 0)
			continue;
		o->limited = true;
		/* A pty counts only what its line discipline has seen: it is read until it is
		 * empty. */
		o->left = TTY_BACKLOG;
		if (!o->tty && ioctl(o->fd, FIONREAD, &n) == 0)
			o->left = (size_t)n;
		out_pump(s, o);
	}
}

bool streams_drained(const struct streams *s)
{
	return s->out[0].drained && s->out[1].drained;
}

void streams_release(struct streams *s)
{
	in_close(s);
	for (int i = 0; i < 2; i++) {
		struct stream_out *o = &s->out[i];

		o->discard = true;
		out_resume(s, o);
	}
	if (!s->opened)
		return;
	s->opened = false;
	link_close(s->a->link, s->base);
	link_close(s->a->link, s->base + 1);
}

bool streams_idle(const struct streams *s)
{
	return s->in.fd < 0 && s->out[0].fd < 0 && s->out[1].fd < 0;
}

void streams_close(struct streams *s)
{
	streams_release(s);
	for (int i = 0; i < 2; i++)
		out_end(s, &s->out[i]);
}

int streams_winsize(struct streams *s, uint16_t rows, uint16_t cols)
{
	struct winsize ws = {.ws_row = rows, .ws_col = cols};

	if (s->out[0].fd < 0 || !s->out[0].tty)
		return -ENOTTY;
	return ioctl(s->out[0].fd, TIOCSWINSZ, &ws) < 0 ? -errno : 0;
}

/* ---- link_ops -------------------------------------------------------------------------------- */

void streams_data(void *ctx, uint64_t stream, const void *buf, size_t len)
{
	struct streams *s = find(ctx, stream);
	struct agent *a = ctx;

	if (!s || s->base != stream) {
		link_consumed(a->link, stream, len);
		return;
	}
	in_data(s, buf, len);
	if (!s->p)
		dial_progress(s);
}

void streams_eof(void *ctx, uint64_t stream)
{
	struct streams *s = find(ctx, stream);

	if (!s || s->base != stream)
		return;
	/* A terminal has no end of input: that is a character that people type. */
	s->in.eof = true;
	in_flush(s);
	if (!s->p)
		dial_progress(s);
}

void streams_closed(void *ctx, uint64_t stream)
{
	struct streams *s = find(ctx, stream);
	struct stream_out *o;

	if (!s)
		return;
	o = &s->out[stream - s->base];
	/* Its writer gets EPIPE. A pty stays: it is the input too. */
	o->discard = o->tty;
	if (o->tty)
		out_resume(s, o);
	else
		out_end(s, o);
	o->drained = true;
	progress(s);
}

void streams_writable(void *ctx, uint64_t stream)
{
	struct streams *s = find(ctx, stream);
	struct stream_out *o;

	if (!s)
		return;
	o = &s->out[stream - s->base];
	if (!o->paused || o->fd < 0 || o->discard)
		return;
	out_resume(s, o);
	if (o->limited)
		out_pump(s, o);
	progress(s);
}
