/* SPDX-License-Identifier: Apache-2.0 */
/* See shim_in.h. */
#include "runtime/shim_in.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

struct waiting {
	struct list node;
	uint64_t base;
	bool closed; /* its process takes no more: nothing waits, what comes is dropped */
	size_t off, len;
	uint8_t data[];
};

void shim_in_init(struct shim_in *s, struct link *l, struct proxy *p)
{
	s->link = l;
	s->proxy = p;
	list_init(&s->waiting);
}

static void drop(struct waiting *w)
{
	list_del(&w->node);
	free(w);
}

void shim_in_end(struct shim_in *s)
{
	if (!s->link)
		return;
	list_for_each_safe (pos, next, &s->waiting)
		drop(list_entry(pos, struct waiting, node));
}

static struct waiting *waiting_of(struct shim_in *s, uint64_t base)
{
	list_for_each_safe (pos, next, &s->waiting) {
		struct waiting *w = list_entry(pos, struct waiting, node);

		if (w->base == base)
			return w;
	}
	return NULL;
}

static struct waiting *waiting_new(struct shim_in *s, uint64_t base, const void *buf, size_t len)
{
	struct waiting *w = malloc(sizeof(*w) + len);

	if (!w)
		return NULL;
	*w = (struct waiting){.base = base, .len = len};
	if (len)
		memcpy(w->data, buf, len);
	list_add_tail(&s->waiting, &w->node);
	return w;
}

void shim_in_stdin(struct shim_in *s, uint64_t base, const void *buf, size_t len)
{
	struct waiting *w = waiting_of(s, base);
	size_t n;

	if (w) /* closed: while something waits, the proxy does not call */
		return;
	if (len == 0) {
		link_send_eof(s->link, base);
		return;
	}
	n = link_send(s->link, base, buf, len);
	if (n == len)
		return;
	w = waiting_new(s, base, (const uint8_t *)buf + n, len - n);
	if (!w) { /* bytes are missing: better the end than others */
		link_send_eof(s->link, base);
		return;
	}
	proxy_stdin_hold(s->proxy, base, true);
}

void shim_in_writable(struct shim_in *s, uint64_t base)
{
	struct waiting *w = waiting_of(s, base);

	if (!w || w->closed)
		return;
	w->off += link_send(s->link, base, w->data + w->off, w->len - w->off);
	if (w->off < w->len)
		return;
	drop(w);
	proxy_stdin_hold(s->proxy, base, false); /* may come back with more at once */
}

void shim_in_closed(struct shim_in *s, uint64_t base)
{
	struct waiting *w = waiting_of(s, base);

	if (!w)
		w = waiting_new(s, base, NULL, 0);
	if (!w)
		return; /* out of memory: its shim's stdin stalls, at worst */
	w->closed = true;
	proxy_stdin_hold(s->proxy, base, false);
}

void shim_in_over(struct shim_in *s, uint64_t base)
{
	struct waiting *w = waiting_of(s, base);

	if (w)
		drop(w);
}
