/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's link over two console ports. See agentlink.h. */
#include "runtime/agentlink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "virtio/devices.h"

enum { PORT_CONSOLE, PORT_CTL, PORT_IO, PORT_CNT };

#define LINE_MAX_LEN 240u

struct agentlink {
	struct loop *loop;
	struct link *link;
	struct virtio_dev *dev;
	struct loop_work flush; /* posted: link callbacks must not re-enter the link */
	char line[LINE_MAX_LEN + 1];
	size_t line_len;
	char last[LINE_MAX_LEN + 1]; /* the line before */
	struct log_limit limit;
};

static void console_line(struct agentlink *a)
{
	a->line[a->line_len] = '\0';
	if (a->line_len) {
		log_limited(&a->limit, LOG_LVL_DEBUG, "guest: %s", a->line);
		memcpy(a->last, a->line, a->line_len + 1);
	}
	a->line_len = 0;
}

static size_t console_output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct agentlink *a = ctx;

	for (unsigned i = 0; i < cnt; i++) {
		const char *p = iov[i].iov_base;

		for (size_t k = 0; k < iov[i].iov_len; k++) {
			char c = p[k];

			if (c == '\n' || a->line_len == LINE_MAX_LEN)
				console_line(a);
			if (c >= ' ' && c < 0x7f)
				a->line[a->line_len++] = c;
		}
	}
	return len;
}

/* The link takes everything: its own limits bound what it keeps. */
static size_t ctl_output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct agentlink *a = ctx;

	for (unsigned i = 0; i < cnt; i++)
		link_ctl_input(a->link, iov[i].iov_base, iov[i].iov_len);
	agentlink_flush(a);
	return len;
}

static size_t io_output(void *ctx, const struct iovec *iov, unsigned cnt, size_t len)
{
	struct agentlink *a = ctx;

	for (unsigned i = 0; i < cnt; i++)
		link_io_input(a->link, iov[i].iov_base, iov[i].iov_len);
	agentlink_flush(a);
	return len;
}

static void input_room(void *ctx)
{
	agentlink_flush(ctx);
}

static const struct vcon_port_ops console_ops = {.output = console_output};
static const struct vcon_port_ops ctl_ops = {.output = ctl_output, .input_room = input_room};
static const struct vcon_port_ops io_ops = {.output = io_output, .input_room = input_room};

static void flush_one(struct agentlink *a, unsigned port,
		      const void *(*output)(struct link *l, size_t *len),
		      void (*sent)(struct link *l, size_t len))
{
	size_t len, n;
	const void *p;

	while ((p = output(a->link, &len)) && len) {
		n = vcon_send(a->dev, port, p, len);
		if (n == 0)
			return; /* input_room() comes */
		sent(a->link, n);
	}
}

static void flush_work(struct loop_work *w)
{
	struct agentlink *a = container_of(w, struct agentlink, flush);

	flush_one(a, PORT_CTL, link_ctl_output, link_ctl_sent);
	flush_one(a, PORT_IO, link_io_output, link_io_sent);
}

void agentlink_flush(struct agentlink *a)
{
	loop_post(a->loop, &a->flush);
}

int agentlink_new(struct agentlink **ret, struct machine *m, struct loop *loop,
		  const struct link_ops *ops, void *ctx, struct err *e)
{
	struct agentlink *a = calloc(1, sizeof(*a));
	const struct vcon_port_config ports[PORT_CNT] = {
	    [PORT_CONSOLE] = {.console = true, .ops = &console_ops, .ctx = a},
	    [PORT_CTL] = {.name = LINK_PORT_CTL, .ops = &ctl_ops, .ctx = a},
	    [PORT_IO] = {.name = LINK_PORT_IO, .drained = true, .ops = &io_ops, .ctx = a},
	};
	int rc;

	if (!a)
		return err_set(e, -ENOMEM, "agent link: out of memory");
	a->loop = loop;
	a->flush.fn = flush_work;
	a->link = link_new(LINK_HOST, ops, ctx);
	if (!a->link) {
		free(a);
		return err_set(e, -ENOMEM, "agent link: out of memory");
	}
	rc = vcon_new(&a->dev, "console0", ports, PORT_CNT, e);
	if (rc == 0)
		rc = machine_plug(m, a->dev, NULL, e);
	if (rc < 0) {
		link_free(a->link);
		free(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void agentlink_free(struct agentlink *a)
{
	if (!a)
		return;
	loop_unpost(a->loop, &a->flush);
	link_free(a->link);
	free(a);
}

struct link *agentlink_link(struct agentlink *a)
{
	return a->link;
}

void agentlink_last_words(const struct agentlink *a, char *buf, size_t len)
{
	(void)snprintf(buf, len, "%s", a->line_len ? a->line : a->last);
}
