/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's epoll loop. A callback may delete any descriptor, also one whose event of the same
 * turn has not been delivered: ev_del() takes it out of the turn.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "agent/container.h"

#define TURN_EVENTS 32

int ev_add(struct agent *a, struct ev *ev, int fd, uint32_t events)
{
	struct epoll_event ee = {.events = events, .data.ptr = ev};

	if (epoll_ctl(a->epoll_fd, EPOLL_CTL_ADD, fd, &ee) < 0)
		return -errno;
	ev->fd = fd;
	return 0;
}

void ev_mod(struct agent *a, struct ev *ev, uint32_t events)
{
	struct epoll_event ee = {.events = events, .data.ptr = ev};

	if (ev->fd >= 0)
		(void)epoll_ctl(a->epoll_fd, EPOLL_CTL_MOD, ev->fd, &ee);
}

void ev_del(struct agent *a, struct ev *ev)
{
	if (ev->fd < 0)
		return;
	(void)epoll_ctl(a->epoll_fd, EPOLL_CTL_DEL, ev->fd, NULL);
	ev->fd = -1;
	for (int i = 0; i < a->batch_cnt; i++)
		if (a->batch[i] == ev)
			a->batch[i] = NULL;
}

void agent_stop(struct agent *a, const char *fmt, ...)
{
	va_list ap;

	if (a->stop)
		return;
	a->stop = true;
	va_start(ap, fmt);
	(void)vsnprintf(a->why, sizeof(a->why), fmt, ap);
	va_end(ap);
}

int agent_loop(struct agent *a)
{
	while (!a->stop) {
		struct epoll_event ee[TURN_EVENTS];
		struct ev *batch[TURN_EVENTS];
		bool more = link_io_turn(a);
		int n;

		if (a->stop)
			break;
		n = epoll_wait(a->epoll_fd, ee, TURN_EVENTS, more ? 0 : -1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		for (int i = 0; i < n; i++)
			batch[i] = ee[i].data.ptr;
		a->batch = batch;
		a->batch_cnt = n;
		for (int i = 0; i < n; i++) {
			struct ev *ev = batch[i];

			if (ev)
				ev->fn(ev, ee[i].events);
		}
		a->batch_cnt = 0;
		container_turn(a);
	}
	return 0;
}
