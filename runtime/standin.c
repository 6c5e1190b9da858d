/* SPDX-License-Identifier: Apache-2.0 */
/* Stand-ins of execs. See standin.h. */
#include "runtime/standin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/fd.h"
#include "base/sigfd.h"
#include "mux/proxy.h"
#include "runtime/confine.h"

/* ---- what the sandbox process says ----------------------------------------------------------- */

/* Frames in pieces: all but one are skipped. */
struct hears {
	uint8_t head[PROXY_HEADER_LEN];
	size_t head_len, skip;
	bool exited; /* the next byte is the status */
};

/* Goes on to the end of @len bytes: the status, or -1 when it was not among them, or -EPROTO. */
static int hear(struct hears *h, const uint8_t *p, size_t len)
{
	while (len) {
		struct proxy_header f;
		size_t n;

		if (h->exited)
			return *p;
		n = MIN(len, h->skip ? h->skip : sizeof(h->head) - h->head_len);
		if (!h->skip) {
			memcpy(h->head + h->head_len, p, n);
			h->head_len += n;
		} else {
			h->skip -= n;
		}
		p += n;
		len -= n;
		if (h->head_len < sizeof(h->head) || h->skip)
			continue;
		h->head_len = 0;
		if (proxy_get_header(h->head, sizeof(h->head), &f) != 1 ||
		    f.header_len != sizeof(h->head))
			return -EPROTO;
		h->exited =
		    f.type == PROXY_NOTIFY && f.opcode == PROXY_EXITED && f.payload_len == 1;
		h->skip = h->exited ? 0 : f.payload_len;
	}
	return -1;
}

/* ---- what it is told ------------------------------------------------------------------------- */

static void say(int sock, const char *json)
{
	uint8_t buf[PROXY_HEADER_LEN + 96];
	size_t len = strlen(json);

	proxy_put_header(buf, PROXY_COMMAND, PROXY_HUSK, false, (uint32_t)len);
	memcpy(buf + PROXY_HEADER_LEN, json, len);
	/* A sandbox process that is gone is seen where it is read from. */
	(void)!send(sock, buf, PROXY_HEADER_LEN + len, MSG_NOSIGNAL);
}

static bool say_size(int sock, int tty_fd, struct winsize *last)
{
	struct winsize ws;
	char json[96];

	if (ioctl(tty_fd, TIOCGWINSZ, &ws) < 0 || !ws.ws_row || !ws.ws_col ||
	    (ws.ws_row == last->ws_row && ws.ws_col == last->ws_col))
		return false;
	*last = ws;
	(void)snprintf(json, sizeof(json), "{\"op\":\"winsize\",\"row\":%u,\"column\":%u}",
		       ws.ws_row, ws.ws_col);
	say(sock, json);
	return true;
}

static void say_signal(int sock, unsigned signo)
{
	char json[96];

	(void)snprintf(json, sizeof(json), "{\"op\":\"signal\",\"signal\":%u}", signo);
	say(sock, json);
}

int standin_wait(int sock, int sig_fd, int tty_fd)
{
	struct hears h = {.skip = 0};
	struct winsize last = {0};
	uint8_t buf[512];

	/* The engine may have set it before anybody heard of it. */
	if (tty_fd >= 0)
		(void)say_size(sock, tty_fd, &last);
	for (;;) {
		struct pollfd p[2] = {{.fd = sock, .events = POLLIN},
				      {.fd = sig_fd, .events = POLLIN}};
		struct signalfd_siginfo si;
		ssize_t n;
		int status;

		if (poll(p, 2, -1) < 0)
			continue; /* EINTR: stopped and continued */
		if (p[1].revents && read(sig_fd, &si, sizeof(si)) == (ssize_t)sizeof(si) &&
		    !(si.ssi_signo == SIGWINCH && tty_fd >= 0 && say_size(sock, tty_fd, &last)))
			say_signal(sock, si.ssi_signo);
		if (!p[0].revents)
			continue;
		n = read(sock, buf, sizeof(buf));
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		status = n > 0 ? hear(&h, buf, (size_t)n) : STANDIN_LOST;
		if (status != -1)
			return status < 0 ? STANDIN_LOST : status;
	}
}

/* ---- a process of its own -------------------------------------------------------------------- */

/* Nothing of the CLI stays open: the engine waits for the end of its pipes. */
static int close_all_but(int *sock, int *chan)
{
	int s = fcntl(*sock, F_DUPFD_CLOEXEC, 10), c = fcntl(*chan, F_DUPFD_CLOEXEC, 10);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), rc = 0;

	if (s < 0 || c < 0 || null < 0)
		return -errno;
	for (int i = 0; i < 3; i++)
		rc = dup2(null, i) < 0 ? -errno : rc;
	if (rc < 0)
		return rc;
	*sock = dup2(s, 3);
	*chan = dup2(c, 4);
	if (*sock < 0 || *chan < 0 || syscall(SYS_close_range, 5u, ~0u, 0u) < 0)
		return -errno;
	return 0;
}

/* Says that signals may come, and waits until the CLI has committed. */
static int await_commit(int chan, int *ret_slave)
{
	unsigned nfds = 1;
	char c = 0;
	ssize_t n = fd_send(chan, "R", 1, NULL, 0);

	if (n == 1)
		n = fd_recv(chan, &c, 1, ret_slave, &nfds);
	else
		nfds = 0;

	if (nfds == 0)
		*ret_slave = -1;
	return n == 1 ? 0 : -ECANCELED;
}

static int standin_main(int sock, int chan, const struct cgroup *cgroup)
{
	int sig_fd, slave = -1;
	struct err e = {0};

	(void)setsid();
	/* Where the container is counted and ended; in the caller's it would only be miscounted. */
	(void)!cgroup_join(cgroup, 0);
	if (close_all_but(&sock, &chan) < 0)
		return STANDIN_LOST;
	(void)prctl(PR_SET_DUMPABLE, 0);
	sig_fd = sigfd_open(NULL, 0, &e);
	if (sig_fd < 0 || await_commit(chan, &slave) < 0)
		return STANDIN_LOST;
	(void)close(chan);
	if (slave >= 0)
		(void)ioctl(slave, TIOCSCTTY, 0);
	if (confine_standin(&e) < 0)
		return STANDIN_LOST;
	return standin_wait(sock, sig_fd, slave);
}

int standin_fork(struct standin *s, int sock, const struct cgroup *cgroup, struct err *e)
{
	int pair[2];

	*s = (struct standin){.pid = -1, .chan = -1};
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_sys(e, -errno, "socket pair");
	(void)fflush(NULL); /* nothing buffered that both would write */
	s->pid = fork();
	if (s->pid == 0) {
		(void)close(pair[0]);
		/* By hand: a sanitizer's _exit() does more than the filter allows. */
		(void)syscall(SYS_exit_group, standin_main(sock, pair[1], cgroup));
	}
	(void)close(pair[1]);
	s->chan = pair[0];
	if (s->pid > 0)
		return 0;
	fd_close(&s->chan);
	return err_sys(e, -errno, "fork");
}

int standin_commit(struct standin *s, int slave, struct err *e)
{
	ssize_t n;
	char c;

	/* Before anybody knows its pid it has to be ready for signals, and in its place. */
	do {
		n = recv(s->chan, &c, 1, 0);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		n = fd_send(s->chan, "C", 1, &slave, slave >= 0 ? 1 : 0);
	if (n != 1)
		return err_set(e, -ECHILD, "the exec's stand-in died");
	fd_close(&s->chan);
	s->pid = -1;
	return 0;
}

void standin_cancel(struct standin *s)
{
	fd_close(&s->chan);
	while (s->pid > 0 && waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
		;
	s->pid = -1;
}
