/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries bytes between the two ports and the link. The ports are edge-triggered: a virtio-console
 * port reports a hang-up for as long as the host has not opened it, which level-triggered would
 * spin on.
 *
 * A read of 0 bytes means "the host is not there": before it has ever been there that is a reason
 * to wait, after that the link has failed and the machine is powered off, since nobody could use
 * it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/streams.h"

#define TURN_BYTES (256u << 10) /* of one port and direction, then the others get their turn */

static void port_event(struct ev *ev, uint32_t events)
{
	struct port *p = container_of(ev, struct port, ev);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		p->more_in = true;
	if (events & EPOLLOUT)
		p->ready_out = true;
}

static void port_input(struct agent *a, struct port *p, const char *name,
		       void (*take)(struct link *l, const void *buf, size_t len))
{
	static char buf[64u << 10];
	size_t done = 0;

	while (p->more_in && done < TURN_BYTES && !a->stop) {
		size_t len = 0;
		ssize_t n = 1;

		/* A read gives no more than a page: what is there is gathered for large writes. */
		while (n > 0 && len < sizeof(buf)) {
			n = read(p->fd, buf + len, sizeof(buf) - len);
			if (n < 0 && errno == EINTR)
				n = 1;
			else if (n > 0)
				len += (size_t)n;
		}
		if (n <= 0) {
			p->more_in = false;
			if (n < 0 && errno != EAGAIN)
				agent_stop(a, "port %s: %s", name, strerror(errno));
			else if (n == 0 && (p->seen || len))
				agent_stop(a, "port %s: the host has closed it", name);
		}
		if (len) {
			p->seen = true;
			done += len;
			take(a->link, buf, len);
		}
	}
}

static void port_output(struct agent *a, struct port *p, const char *name,
			const void *(*get)(struct link *l, size_t *len),
			void (*sent)(struct link *l, size_t len))
{
	size_t done = 0;

	while (p->ready_out && done < TURN_BYTES && !a->stop) {
		size_t len;
		const void *buf = get(a->link, &len);
		ssize_t n;

		if (!len)
			return;
		n = write(p->fd, buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0) {
			done += (size_t)n;
			sent(a->link, (size_t)n);
			continue;
		}
		p->ready_out = false;
		if (n < 0 && errno != EAGAIN)
			agent_stop(a, "port %s: %s", name, strerror(errno));
	}
}

static bool port_pending(struct agent *a, const struct port *p,
			 const void *(*get)(struct link *l, size_t *len))
{
	size_t len = 0;

	if (p->more_in)
		return true;
	(void)get(a->link, &len);
	return p->ready_out && len;
}

bool link_io_turn(struct agent *a)
{
	size_t len = 0;

	/* Control goes first both ways: it never waits behind data. */
	port_input(a, &a->ctl, LINK_PORT_CTL, link_ctl_input);
	port_output(a, &a->ctl, LINK_PORT_CTL, link_ctl_output, link_ctl_sent);
	port_input(a, &a->io, LINK_PORT_IO, link_io_input);
	port_output(a, &a->io, LINK_PORT_IO, link_io_output, link_io_sent);
	if (a->stop)
		return false;
	if (a->destroying) {
		(void)link_ctl_output(a->link, &len);
		if (!len)
			a->stop = true;
	}
	return port_pending(a, &a->ctl, link_ctl_output) || port_pending(a, &a->io, link_io_output);
}

static void link_up(void *ctx, const char *json, size_t len)
{
	(void)ctx;
	(void)json;
	(void)len;
}

static void link_broken(void *ctx, const char *why)
{
	struct agent *a = ctx;

	a->broken = true;
	agent_stop(a, "the link to the host broke: %s", why);
}

static const struct link_ops ops = {
    .up = link_up,
    .request = calls_request,
    .data = streams_data,
    .eof = streams_eof,
    .closed = streams_closed,
    .writable = streams_writable,
    .broken = link_broken,
};

/* Does the kernel run us from the image itself, without a copy in the page cache? Mount options only ask. */
static bool on_dax(void)
{
	struct statx st;

	return statx(AT_FDCWD, "/proc/self/exe", 0, STATX_BASIC_STATS, &st) == 0 &&
	       (st.stx_attributes & STATX_ATTR_DAX);
}

int link_io_start(struct agent *a, int ctl_fd, int io_fd)
{
	struct sysinfo si = {.mem_unit = 1};
	char hello[192];
	int rc;

	(void)sysinfo(&si);
	(void)snprintf(hello, sizeof(hello),
		       "{\"protocol\":{\"min\":1,\"max\":1},\"version\":\"" HUSK_VERSION
		       "\",\"dax\":%s,\"memory\":{\"total_kib\":%llu,\"free_kib\":%llu}}",
		       on_dax() ? "true" : "false",
		       (unsigned long long)si.totalram * si.mem_unit >> 10,
		       (unsigned long long)si.freeram * si.mem_unit >> 10);

	a->link = link_new(LINK_AGENT, &ops, a);
	if (!a->link)
		return -ENOMEM;
	a->ctl =
	    (struct port){.ev = {-1, port_event}, .fd = ctl_fd, .ready_out = true, .more_in = true};
	a->io =
	    (struct port){.ev = {-1, port_event}, .fd = io_fd, .ready_out = true, .more_in = true};
	rc = ev_add(a, &a->ctl.ev, ctl_fd, EPOLLIN | EPOLLOUT | EPOLLET);
	if (rc == 0)
		rc = ev_add(a, &a->io.ev, io_fd, EPOLLIN | EPOLLOUT | EPOLLET);
	if (rc == 0)
		rc = link_announce(a->link, hello);
	return rc;
}
