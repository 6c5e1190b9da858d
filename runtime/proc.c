/* SPDX-License-Identifier: Apache-2.0 */
/* Processes of the guest and their streams. See proc.h. */
#include "runtime/proc.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

static uint64_t out_stream(const struct proc_out *o)
{
	return o->p->base + (o == &o->p->err ? 1 : 0);
}

static void flush(struct proc *p)
{
	p->all->ops->flush(p->all->ctx);
}

/* ---- ops of source and sinks ----------------------------------------------------------------- */

static size_t in_take(void *ctx, const void *buf, size_t len)
{
	struct proc *p = ctx;
	size_t n = link_send(p->all->link, p->base, buf, len);

	flush(p);
	return n;
}

static void in_close(struct proc *p)
{
	source_end(p->in);
	p->in = NULL;
}

static void in_eof(void *ctx)
{
	struct proc *p = ctx;

	link_send_eof(p->all->link, p->base);
	flush(p);
	in_close(p);
}

static void out_consumed(void *ctx, size_t len)
{
	struct proc_out *o = ctx;
	size_t said = MIN(len, o->said);

	/* Roughly in order: the sum is right once all has been written. */
	o->said -= said;
	len -= said;
	if (!o->p->base || !len)
		return;
	link_consumed(o->p->all->link, out_stream(o), len);
	flush(o->p);
}

static void out_broken(void *ctx)
{
	struct proc_out *o = ctx;

	if (!o->p->base)
		return;
	link_send_closed(o->p->all->link, out_stream(o));
	flush(o->p);
}

/* Not from inside of a source or a sink: these go on working with what would be freed. */
static void reap_later(struct proc *p)
{
	loop_post(p->all->loop, &p->reap);
}

static void out_idle(void *ctx)
{
	reap_later(((struct proc_out *)ctx)->p);
}

static const struct source_ops in_ops = {.take = in_take, .eof = in_eof};
static const struct sink_ops out_ops = {
    .consumed = out_consumed, .broken = out_broken, .idle = out_idle};

/* ---- end ------------------------------------------------------------------------------------- */

static bool out_is_idle(const struct proc_out *o)
{
	return !o->sink || sink_is_idle(o->sink);
}

static void out_close(struct proc_out *o)
{
	sink_end(o->sink);
	o->sink = NULL;
}

bool proc_is_drained(const struct proc *p)
{
	return out_is_idle(&p->out) && out_is_idle(&p->err);
}

static void close_all(struct proc *p)
{
	in_close(p);
	out_close(&p->out);
	out_close(&p->err);
	if (!p->base || !p->all->link)
		return;
	link_close(p->all->link, p->base);
	link_close(p->all->link, p->base + 1);
}

static void reap_work(struct loop_work *w)
{
	struct proc *p = container_of(w, struct proc, reap);

	if (p->over)
		return;
	/* A pty stays: its input may still be wanted. */
	if (!p->tty && !p->unsure && p->out.eof && out_is_idle(&p->out))
		out_close(&p->out);
	if (p->err.eof && !p->unsure && out_is_idle(&p->err))
		out_close(&p->err);
	if (!p->ended || !proc_is_drained(p))
		return;
	p->over = true;
	close_all(p);
	p->all->ops->over(p->all->ctx, p);
}

void proc_started(struct proc *p)
{
	if (p->started || p->ended)
		return;
	p->started = true;
	if (p->in)
		source_start(p->in);
	if (p->exited)
		proc_end(p, p->status);
}

void proc_end(struct proc *p, int status)
{
	if (p->ended)
		return;
	p->ended = true;
	p->status = status;
	in_close(p);
	reap_later(p);
}

void proc_say(struct proc *p, const char *text)
{
	struct proc_out *o = p->tty ? &p->out : &p->err;
	const char *end = p->tty ? "\r\n" : "\n";

	if (p->ended || !o->sink)
		return;
	o->said += strlen(text) + strlen(end);
	sink_write(o->sink, text, strlen(text));
	sink_write(o->sink, end, strlen(end));
}

void proc_sure(struct proc *p)
{
	p->unsure = false;
	reap_later(p);
}

void proc_discard(struct proc *p)
{
	sink_discard(p->out.sink);
	sink_discard(p->err.sink);
	reap_later(p);
}

/* ---- life ------------------------------------------------------------------------------------ */

void procs_init(struct procs *all, struct loop *loop, int proc_fd, const struct procs_ops *ops,
		void *ctx)
{
	*all = (struct procs){.loop = loop, .proc_fd = proc_fd, .ops = ops, .ctx = ctx};
	list_init(&all->list);
}

void procs_free(struct procs *all)
{
	if (!all->list.next)
		return;
	list_for_each_safe (pos, next, &all->list)
		proc_free(list_entry(pos, struct proc, node));
}

struct proc *proc_new(struct procs *all, int fds[3], bool tty)
{
	struct proc *p = all->cnt < PROCS_MAX ? calloc(1, sizeof(*p)) : NULL;

	if (!p)
		goto fail;
	p->all = all;
	p->tty = tty;
	p->out.p = p->err.p = p;
	p->reap.fn = reap_work;
	list_add_tail(&all->list, &p->node);
	all->cnt++;
	p->in = source_new(all->loop, fd_take(&fds[0]), all->proc_fd, &in_ops, p);
	p->out.sink = sink_new(all->loop, fd_take(&fds[1]), all->proc_fd, &out_ops, &p->out);
	if (!tty)
		p->err.sink =
		    sink_new(all->loop, fd_take(&fds[2]), all->proc_fd, &out_ops, &p->err);
	if (p->in && p->out.sink && (tty || p->err.sink))
		return p;
fail:
	for (int i = 0; i < 3; i++)
		fd_close(&fds[i]);
	proc_free(p);
	return NULL;
}

int proc_open(struct proc *p, uint64_t base)
{
	int rc = link_open(p->all->link, base);

	if (rc < 0)
		return rc;
	rc = link_open(p->all->link, base + 1);
	if (rc < 0)
		link_close(p->all->link, base);
	else
		p->base = base;
	return rc;
}

void proc_free(struct proc *p)
{
	if (!p)
		return;
	close_all(p);
	(void)json_object_put(p->process);
	loop_unpost(p->all->loop, &p->reap);
	list_del(&p->node);
	p->all->cnt--;
	free(p);
}

struct proc *proc_find(const struct procs *all, uint64_t base)
{
	list_for_each (pos, &all->list) {
		struct proc *p = list_entry(pos, struct proc, node);

		if (p->base && p->base == base)
			return p;
	}
	return NULL;
}

struct proc *proc_of_client(const struct procs *all, proxy_client_t client)
{
	list_for_each (pos, &all->list) {
		struct proc *p = list_entry(pos, struct proc, node);

		if (client && p->client == client)
			return p;
	}
	return NULL;
}

/* ---- from the link --------------------------------------------------------------------------- */

/* The output that @stream is, or NULL. Bases are odd (proxy_next_base()): the other is stderr. */
static struct proc_out *out_of(const struct procs *all, uint64_t stream)
{
	bool is_err = !(stream & 1);
	struct proc *p = proc_find(all, stream - is_err);

	if (!p)
		return NULL;
	return is_err ? &p->err : &p->out;
}

bool procs_data(struct procs *all, uint64_t stream, const void *buf, size_t len)
{
	struct proc_out *o = out_of(all, stream);

	if (!o)
		return false;
	if (o->sink)
		sink_write(o->sink, buf, len);
	else
		link_consumed(all->link, stream, len);
	return true;
}

bool procs_eof(struct procs *all, uint64_t stream)
{
	struct proc_out *o = out_of(all, stream);

	if (!o)
		return false;
	o->eof = true;
	reap_later(o->p);
	return true;
}

bool procs_closed(struct procs *all, uint64_t stream)
{
	struct proc *p = proc_find(all, stream);

	if (!p)
		return false;
	/* It has closed its stdin: whoever writes there shall hear of it. */
	in_close(p);
	return true;
}

bool procs_writable(struct procs *all, uint64_t stream)
{
	struct proc *p = proc_find(all, stream);

	if (!p)
		return false;
	if (p->in)
		source_resume(p->in);
	return true;
}

bool procs_exited(struct procs *all, uint64_t stream, uint32_t status)
{
	struct proc *p = proc_find(all, stream);

	if (!p)
		return false;
	if (p->exited || p->ended)
		return true;
	p->exited = true;
	p->status = (int)(status & 0xff);
	if (p->started)
		proc_end(p, p->status);
	return true;
}
