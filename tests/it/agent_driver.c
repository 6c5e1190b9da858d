/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives husk-agent from a script on stdin, without a VM: the agent runs as PID 1 of fresh name
 * spaces of this machine, with two socket pairs in place of the ports. Root only.
 *
 *   agent_driver AGENT < SCRIPT
 *
 * One command a line:
 *   req NAME JSON    send the request, wait for its reply: prints "NAME ok JSON" or "NAME error
 * JSON" send NAME JSON   send without waiting; the reply is printed when it comes open BASE open
 * the streams BASE and BASE + 1 close BASE       and forget them in BASE TEXT     stdin; \n in TEXT
 * is a newline flood BASE LEN   stdin: LEN bytes of 'x', as credit allows eof BASE         end of
 * stdin closed STREAM    "we read no more of it" hold STREAM      keep what comes, and give no
 * credit back release STREAM   give it back, now and from now on expect STREAM N  wait until N
 * bytes or more have come exit BASE        wait for the end: prints "exit BASE STATUS" out STREAM
 * print and forget what came: "out STREAM TEXT", newlines as \n len STREAM       print "len STREAM
 * BYTES" and forget them event wait until there was one more event dead             wait for the agent's
 * end: prints "dead STATUS" Anything that takes longer than TIMEOUT_S is an error.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/sched.h>

#include "base/clock.h"
#include "base/fd.h"
#include "mux/link.h"

#define TIMEOUT_S 30 /* AGENT_DRIVER_TIMEOUT in the environment overrides it */
#define SLOTS	  64

struct slot {
	uint64_t id;
	bool used, hold, exited, eof;
	uint32_t status;
	char *data;
	size_t len, owed;
	size_t flood; /* bytes of stdin still to be sent */
};

static struct driver {
	struct link *link;
	int ctl, io;
	pid_t agent;
	bool up, gone;
	unsigned events;  /* that nobody has waited for */
	uint32_t pending; /* reply that is waited for */
	struct {
		uint32_t id;
		char name[32];
	} asked[SLOTS];
	struct slot slots[SLOTS];
} drv;

static NORETURN void die(const char *what, const char *detail)
{
	(void)fflush(stdout);
	(void)fprintf(stderr, "agent_driver: %s: %s\n", what, detail);
	exit(1);
}

static struct slot *slot_of(uint64_t id, bool make)
{
	for (int i = 0; i < SLOTS; i++)
		if (drv.slots[i].used && drv.slots[i].id == id)
			return &drv.slots[i];
	for (int i = 0; make && i < SLOTS; i++) {
		if (drv.slots[i].used)
			continue;
		drv.slots[i] = (struct slot){.id = id, .used = true};
		return &drv.slots[i];
	}
	die("stream", "not open");
}

static void on_up(void *ctx, const char *json, size_t len)
{
	(void)ctx;
	drv.up = true;
	printf("ready %.*s\n", (int)len, json);
}

static void on_reply(void *ctx, uint32_t id, bool ok, const char *json, size_t len)
{
	(void)ctx;
	for (int i = 0; i < SLOTS; i++) {
		if (drv.asked[i].id != id)
			continue;
		printf("%s %s%s%.*s\n", drv.asked[i].name, ok ? "ok" : "error", len ? " " : "",
		       (int)len, json);
		drv.asked[i].id = 0;
	}
	if (id == drv.pending)
		drv.pending = 0;
}

static void on_event(void *ctx, const char *json, size_t len)
{
	(void)ctx;
	printf("event %.*s\n", (int)len, json);
	drv.events++;
}

static void on_data(void *ctx, uint64_t stream, const void *buf, size_t len)
{
	struct slot *s = slot_of(stream, false);

	(void)ctx;
	s->data = realloc(s->data, s->len + len + 1);
	if (!s->data)
		die("memory", "none");
	memcpy(s->data + s->len, buf, len);
	s->len += len;
	if (s->hold)
		s->owed += len;
	else
		link_consumed(drv.link, stream, len);
}

static void on_eof(void *ctx, uint64_t stream)
{
	(void)ctx;
	slot_of(stream, false)->eof = true;
}

static void pump(struct slot *s)
{
	static char x[65536];
	size_t n = 1;

	memset(x, 'x', sizeof(x));
	while (s->flood && n) {
		n = link_send(drv.link, s->id, x, MIN(sizeof(x), s->flood));
		s->flood -= n;
	}
}

static void on_closed(void *ctx, uint64_t stream)
{
	(void)ctx;
	slot_of(stream, false)->flood = 0;
	printf("closed %" PRIu64 "\n", stream);
}

static void on_writable(void *ctx, uint64_t stream)
{
	(void)ctx;
	pump(slot_of(stream, false));
}

static void on_exited(void *ctx, uint64_t stream, uint32_t status)
{
	struct slot *s = slot_of(stream, false);

	(void)ctx;
	s->exited = true;
	s->status = status;
}

static void on_broken(void *ctx, const char *why)
{
	(void)ctx;
	die("link", why);
}

static const struct link_ops ops = {
    .up = on_up,
    .reply = on_reply,
    .event = on_event,
    .data = on_data,
    .eof = on_eof,
    .closed = on_closed,
    .writable = on_writable,
    .exited = on_exited,
    .broken = on_broken,
};

static void move(int fd, const void *(*get)(struct link *, size_t *),
		 void (*sent)(struct link *, size_t),
		 void (*take)(struct link *, const void *, size_t))
{
	static char buf[65536];
	const void *p;
	size_t len;
	ssize_t n;

	while ((p = get(drv.link, &len)) != NULL && len) {
		n = send(fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			break;
		sent(drv.link, (size_t)n);
	}
	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		take(drv.link, buf, (size_t)n);
	if (n == 0)
		drv.gone = true;
}

static void step(uint64_t end)
{
	struct pollfd pfd[2] = {{.fd = drv.ctl, .events = POLLIN},
				{.fd = drv.io, .events = POLLIN}};
	uint64_t now = clock_ns();
	size_t len;

	if (now >= end)
		die("timeout", "nothing happened");
	(void)link_ctl_output(drv.link, &len);
	pfd[0].events |= len ? POLLOUT : 0;
	(void)link_io_output(drv.link, &len);
	pfd[1].events |= len ? POLLOUT : 0;
	(void)poll(pfd, 2, (int)((end - now) / NS_PER_MS) + 1);
	move(drv.ctl, link_ctl_output, link_ctl_sent, link_ctl_input);
	move(drv.io, link_io_output, link_io_sent, link_io_input);
}

static uint64_t deadline(void)
{
	const char *s = getenv("AGENT_DRIVER_TIMEOUT");

	return clock_ns() + (s ? strtoull(s, NULL, 10) : TIMEOUT_S) * NS_PER_SEC;
}

#define wait_for(cond)                                                                             \
	do {                                                                                       \
		uint64_t end_ = deadline();                                                        \
		while (!(cond)) {                                                                  \
			if (drv.gone)                                                              \
				die("agent", "gone");                                              \
			step(end_);                                                                \
		}                                                                                  \
	} while (0)

static uint32_t command(const char *name)
{
	static const struct {
		const char *name;
		uint32_t cmd;
	} names[] = {{"STARTPOD", LINK_STARTPOD},
		     {"DESTROYPOD", LINK_DESTROYPOD},
		     {"EXECCMD", LINK_EXECCMD},
		     {"WINSIZE", LINK_WINSIZE},
		     {"PING", LINK_PING},
		     {"NEWCONTAINER", LINK_NEWCONTAINER},
		     {"KILLCONTAINER", LINK_KILLCONTAINER},
		     {"REMOVECONTAINER", LINK_REMOVECONTAINER},
		     {"PSCONTAINER", LINK_PSCONTAINER},
		     {"PAUSECONTAINER", LINK_PAUSECONTAINER},
		     {"RESUMECONTAINER", LINK_RESUMECONTAINER},
		     {"UPDATECONTAINER", LINK_UPDATECONTAINER},
		     {"STATSCONTAINER", LINK_STATSCONTAINER},
		     {"SETUPINTERFACE", LINK_SETUPINTERFACE},
		     {"DNSANSWER", LINK_DNSANSWER},
		     {"DIAL", LINK_DIAL},
		     {"BOGUS", 77}};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(name, names[i].name) == 0)
			return names[i].cmd;
	die("command", name);
}

static void request(char *rest, bool wait)
{
	char *json = rest + strcspn(rest, " ");
	uint32_t id = 0;
	int slot = 0;

	if (*json)
		*json++ = '\0';
	if (link_request(drv.link, command(rest), *json ? json : NULL, &id) < 0)
		die("request", rest);
	while (slot < SLOTS && drv.asked[slot].id)
		slot++;
	if (slot == SLOTS)
		die("request", "too many");
	drv.asked[slot].id = id;
	(void)snprintf(drv.asked[slot].name, sizeof(drv.asked[slot].name), "%s", rest);
	if (!wait)
		return;
	drv.pending = id;
	wait_for(!drv.pending);
}

static void send_text(uint64_t id, char *text)
{
	char *w = text;

	for (char *r = text; *r; r++) {
		if (r[0] == '\\' && r[1] == 'n') {
			*w++ = '\n';
			r++;
		} else {
			*w++ = *r;
		}
	}
	if (link_send(drv.link, id, text, (size_t)(w - text)) != (size_t)(w - text))
		die("in", "no credit");
}

static void print_out(struct slot *s)
{
	printf("out %" PRIu64 " ", s->id);
	for (size_t i = 0; i < s->len; i++) {
		if (s->data[i] == '\n')
			(void)fputs("\\n", stdout);
		else if (s->data[i] != '\r')
			(void)putchar(s->data[i]);
	}
	(void)putchar('\n');
	s->len = 0;
}

static void await_death(void)
{
	uint64_t end = deadline();
	int ws;

	while (!drv.gone)
		step(end);
	if (waitpid(drv.agent, &ws, 0) != drv.agent)
		die("agent", strerror(errno));
	printf("dead %d\n", WIFEXITED(ws) ? WEXITSTATUS(ws) : 128 + WTERMSIG(ws));
}

static void stream_command(const char *verb, uint64_t id, char *rest)
{
	struct slot *s = slot_of(id, strcmp(verb, "open") == 0);

	if (strcmp(verb, "open") == 0) {
		(void)slot_of(id + 1, true);
		if (link_open(drv.link, id) < 0 || link_open(drv.link, id + 1) < 0)
			die("open", "refused");
	} else if (strcmp(verb, "close") == 0) {
		link_close(drv.link, id);
		link_close(drv.link, id + 1);
		s->used = slot_of(id + 1, false)->used = false;
	} else if (strcmp(verb, "in") == 0) {
		send_text(id, rest);
	} else if (strcmp(verb, "flood") == 0) {
		s->flood = strtoull(rest, NULL, 10);
		pump(s);
	} else if (strcmp(verb, "eof") == 0) {
		wait_for(!s->flood);
		link_send_eof(drv.link, id);
	} else if (strcmp(verb, "closed") == 0) {
		link_send_closed(drv.link, id);
	} else if (strcmp(verb, "hold") == 0) {
		s->hold = true;
	} else if (strcmp(verb, "release") == 0) {
		s->hold = false;
		link_consumed(drv.link, id, s->owed);
		s->owed = 0;
	} else if (strcmp(verb, "expect") == 0) {
		wait_for(s->len >= strtoull(rest, NULL, 10));
	} else if (strcmp(verb, "exit") == 0) {
		wait_for(s->exited);
		printf("exit %" PRIu64 " %u\n", id, s->status);
	} else if (strcmp(verb, "out") == 0) {
		print_out(s);
	} else if (strcmp(verb, "len") == 0) {
		printf("len %" PRIu64 " %zu\n", id, s->len);
		s->len = 0;
	} else {
		die("command", verb);
	}
}

static void run_line(char *line)
{
	char *rest = line + strcspn(line, " "), *arg;

	if (!line[0] || line[0] == '#')
		return;
	if (*rest)
		*rest++ = '\0';
	if (strcmp(line, "req") == 0 || strcmp(line, "send") == 0) {
		request(rest, line[0] == 'r');
	} else if (strcmp(line, "event") == 0) {
		wait_for(drv.events);
		drv.events--;
	} else if (strcmp(line, "dead") == 0) {
		await_death();
	} else {
		arg = rest + strcspn(rest, " ");
		if (*arg)
			*arg++ = '\0';
		stream_command(line, strtoull(rest, NULL, 10), arg);
	}
}

static void start_agent(const char *path)
{
	struct clone_args args = {
	    .flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET,
	    .exit_signal = SIGCHLD,
	};
	int ctl[2], io[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ctl) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, io) < 0)
		die("socketpair", strerror(errno));
	drv.agent = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (drv.agent < 0)
		die("clone3", strerror(errno));
	if (drv.agent == 0) {
		char a[16], b[16];

		(void)snprintf(a, sizeof(a), "%d", dup(ctl[1]));
		(void)snprintf(b, sizeof(b), "%d", dup(io[1]));
		(void)execl(path, path, "--ctl-fd", a, "--io-fd", b, (char *)NULL);
		_exit(127);
	}
	(void)close(ctl[1]);
	(void)close(io[1]);
	drv.ctl = ctl[0];
	drv.io = io[0];
}

int main(int argc, char **argv)
{
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: agent_driver AGENT < SCRIPT\n");
		return 2;
	}
	start_agent(argv[1]);
	drv.link = link_new(LINK_HOST, &ops, NULL);
	if (!drv.link)
		die("memory", "none");
	wait_for(drv.up);
	while ((n = getline(&line, &cap, stdin)) > 0) {
		line[strcspn(line, "\n")] = '\0';
		run_line(line);
		(void)fflush(stdout);
	}
	free(line);
	/* Closing the ports ends an agent that is still there. */
	(void)close(drv.ctl);
	(void)close(drv.io);
	(void)waitpid(drv.agent, NULL, 0);
	for (int i = 0; i < SLOTS; i++)
		free(drv.slots[i].data);
	link_free(drv.link);
	return 0;
}
