/* SPDX-License-Identifier: Apache-2.0 */
/*
 * labio-host: what tests/lab/run becomes (exec) once the VM's command line is known.
 *
 *   labio-host [options] NQ QEMU-WORD*NQ COMMAND [ARG...]
 *   labio-host --tsc-khz           the rate of this machine's time stamp counter
 *
 * Starts QEMU, hands the command to labio-guest, copies output as it comes and exits with the
 * command's status. Keeps nothing in the file system: console and port are socket pairs, and QEMU
 * gets SIGKILL should this process die in whatever way. One thread; signals are taken in ppoll()
 * only, so a reader that does not read cannot hold up Ctrl-C or the timeout.
 */
#include "labio.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

#define STATUS_TIMEOUT 124
#define STATUS_LAB     125  /* the lab itself failed */
#define TAIL_SIZE      4096 /* of the console, shown when the VM dies */
/* poll() before each write promises room for this much in a pipe. */
#define CHUNK 4096

enum { END_SHOW = 64 };

static struct {
	unsigned timeout;
	bool use_stdin, tty, verbose;
	const char *console; /* --console FILE */
	const char *show[END_SHOW];
	unsigned show_cnt;
	const char *env[256];
	unsigned env_cnt;
} opt = {.timeout = 540};

static pid_t qemu = -1;
static int port[2] = {-1, -1}, con[2] = {-1, -1}, con_file = -1;
static char tail[TAIL_SIZE];
static size_t tail_len;
static volatile sig_atomic_t got_signal, got_child, got_winch;
static sigset_t unblocked;
static struct termios tty_saved;
static bool tty_raw;
static struct timespec t0;
static double t_up;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)(t.tv_sec - t0.tv_sec) + (double)(t.tv_nsec - t0.tv_nsec) / 1e9;
}

static void on_signal(int sig)
{
	if (sig == SIGCHLD)
		got_child = 1;
	else if (sig == SIGWINCH)
		got_winch = 1;
	else if (!got_signal)
		got_signal = sig;
}

/* SIGTERM first: QEMU then flushes disks. ppoll is interrupted by SIGCHLD. */
static void end_qemu(void)
{
	struct timespec wait = {.tv_sec = 5};
	sigset_t chld;

	if (qemu <= 0)
		return;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	kill(qemu, SIGTERM);
	while (waitpid(qemu, NULL, WNOHANG) == 0) {
		if (sigtimedwait(&chld, NULL, &wait) < 0 && errno == EAGAIN)
			kill(qemu, SIGKILL);
	}
	qemu = -1;
}

static void __attribute__((noreturn)) finish(int status)
{
	end_qemu();
	if (tty_raw)
		tcsetattr(0, TCSADRAIN, &tty_saved);
	exit(status);
}

static void __attribute__((noreturn, format(printf, 2, 3))) fail(int status, const char *fmt, ...)
{
	va_list ap;

	end_qemu();
	if (tty_raw)
		tcsetattr(0, TCSADRAIN, &tty_saved);
	tty_raw = false;
	fputs("lab: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(status);
}

static void check_signal(void)
{
	int sig = got_signal;

	if (sig == SIGALRM)
		fail(STATUS_TIMEOUT, "%s within %u s: VM stopped",
		     t_up > 0 ? "the command did not end" : "the VM did not start", opt.timeout);
	if (sig)
		fail(128 + sig, "ended by signal %d (%s)", sig, strsignal(sig));
}

/* ppoll with signals open. */
static void wait_for(struct pollfd *p, nfds_t n)
{
	check_signal();
	if (ppoll(p, n, NULL, &unblocked) < 0) {
		if (errno != EINTR)
			fail(STATUS_LAB, "poll: %s", strerror(errno));
		for (nfds_t i = 0; i < n; i++)
			p[i].revents = 0;
	}
	check_signal();
}

static void put(int fd, const char *data, size_t len)
{
	while (len) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		ssize_t n;

		wait_for(&p, 1);
		if (!p.revents)
			continue;
		n = write(fd, data, len < CHUNK ? len : CHUNK);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0 && errno == EPIPE)
			finish(128 + SIGPIPE);
		if (n < 0)
			fail(STATUS_LAB, "writing to %s: %s", fd == 1 ? "stdout" : "stderr",
			     strerror(errno));
		data += n;
		len -= (size_t)n;
	}
}

/* Read the console: keep its end, and all of it where --console wants it. False at its end. */
static bool console_read(void)
{
	char buf[4096];
	ssize_t n = read(con[0], buf, sizeof(buf));

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	if (con_file >= 0 && lab_write_all(con_file, buf, (size_t)n))
		fail(STATUS_LAB, "console file '%s': %s", opt.console, strerror(errno));
	if ((size_t)n > TAIL_SIZE - tail_len) {
		size_t drop = (size_t)n - (TAIL_SIZE - tail_len);

		memmove(tail, tail + drop, tail_len - drop);
		tail_len -= drop;
	}
	memcpy(tail + tail_len, buf, (size_t)n);
	tail_len += (size_t)n;
	return true;
}

static void __attribute__((noreturn)) vm_gone(void)
{
	char what[64] = "QEMU is gone";
	int ws;

	if (qemu > 0 && waitpid(qemu, &ws, 0) == qemu) {
		if (WIFSIGNALED(ws))
			snprintf(what, sizeof(what), "QEMU died of signal %d", WTERMSIG(ws));
		else
			snprintf(what, sizeof(what), "QEMU exited with status %d", WEXITSTATUS(ws));
	}
	qemu = -1;
	while (console_read())
		;
	if (tail_len)
		fprintf(stderr, "lab: the end of its console:\n%.*s\n", (int)tail_len, tail);
	fail(STATUS_LAB, "the VM ended before the command did (%s)", what);
}

static void send_frame(enum lab_type type, const void *data, size_t len)
{
	int err = lab_send(port[0], type, data, len);

	if (err == -E2BIG)
		fail(STATUS_LAB, "argument longer than %u bytes", LAB_FRAME_MAX);
	if (err)
		vm_gone();
}

static void send_winsize(void)
{
	struct winsize ws = {.ws_row = 24, .ws_col = 80};

	ioctl(0, TIOCGWINSZ, &ws);
	send_frame(LAB_TTY, &ws, sizeof(ws));
}

static void send_command(char **cmd)
{
	char cwd[4096];

	for (unsigned i = 0; i < opt.env_cnt; i++)
		send_frame(LAB_ENV, opt.env[i], strlen(opt.env[i]));
	for (unsigned i = 0; i < opt.show_cnt; i++)
		send_frame(LAB_SHOW, opt.show[i], strlen(opt.show[i]));
	if (!getcwd(cwd, sizeof(cwd)))
		fail(STATUS_LAB, "current directory: %s", strerror(errno));
	send_frame(LAB_CWD, cwd, strlen(cwd));
	if (opt.tty)
		send_winsize();
	for (; *cmd; cmd++)
		send_frame(LAB_ARG, *cmd, strlen(*cmd));
	send_frame(LAB_GO, NULL, 0);
	if (!opt.use_stdin && !opt.tty)
		send_frame(LAB_STDIN, NULL, 0);
}

static void start_qemu(char **words, int cnt)
{
	char **argv = calloc((size_t)cnt + 5, sizeof(*argv));
	char port_arg[64], con_arg[64];
	pid_t parent = getpid();
	int n = 0;

	if (!argv || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, port) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, con))
		fail(STATUS_LAB, "socketpair: %s", strerror(errno));
	snprintf(port_arg, sizeof(port_arg), "socket,id=labport,fd=%d", port[1]);
	snprintf(con_arg, sizeof(con_arg), "socket,id=labcon,fd=%d", con[1]);
	argv[n++] = words[0];
	argv[n++] = (char[]){"-chardev"};
	argv[n++] = port_arg;
	argv[n++] = (char[]){"-chardev"};
	argv[n++] = con_arg;
	for (int i = 1; i < cnt; i++)
		argv[n++] = words[i];
	qemu = fork();
	if (qemu < 0)
		fail(STATUS_LAB, "fork: %s", strerror(errno));
	if (qemu == 0) {
		int null = open("/dev/null", O_RDWR);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		setpgid(0, 0); /* Ctrl-C is for labio-host, which ends QEMU */
		dup2(null, 0);
		/* What QEMU says belongs to the console, shown when the VM dies. */
		dup2(con[1], 1);
		dup2(con[1], 2);
		fcntl(port[1], F_SETFD, 0);
		fcntl(con[1], F_SETFD, 0);
		for (int sig = 1; sig < NSIG; sig++)
			signal(sig, SIG_DFL);
		sigprocmask(SIG_SETMASK, &unblocked, NULL);
		execvp(argv[0], argv);
		dprintf(2, "lab: exec '%s': %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	free(argv);
	close(port[1]);
	close(con[1]);
}

/* One frame from the lab. It is sent as a whole, so reading it blocks for moments only. */
static void take_frame(char **cmd)
{
	static char buf[LAB_FRAME_MAX];
	struct lab_frame f;
	int32_t status;

	if (lab_read_all(port[0], &f, sizeof(f)) || f.len > sizeof(buf) ||
	    lab_read_all(port[0], buf, f.len))
		vm_gone();
	switch (f.type) {
	case LAB_UP:
		t_up = seconds();
		if (opt.verbose)
			fprintf(stderr, "lab: up after %.1f s\n", t_up);
		send_command(cmd);
		break;
	case LAB_STDOUT:
		put(1, buf, f.len);
		break;
	case LAB_STDERR:
		put(2, buf, f.len);
		break;
	case LAB_EXIT:
		memcpy(&status, buf, sizeof(status));
		if (opt.verbose)
			fprintf(stderr, "lab: command ended after %.1f s, status %d\n",
				seconds() - t_up, status);
		finish(status);
	default:
		fail(STATUS_LAB, "unknown frame 0x%02x from the lab", f.type);
	}
}

static void __attribute__((noreturn)) loop(char **cmd)
{
	bool in_open = opt.use_stdin || opt.tty, con_open = true;

	for (;;) {
		char buf[CHUNK];
		struct pollfd p[] = {
		    {.fd = port[0], .events = POLLIN},
		    {.fd = con_open ? con[0] : -1, .events = POLLIN},
		    {.fd = in_open && t_up > 0 ? 0 : -1, .events = POLLIN},
		};

		wait_for(p, 3);
		if (got_winch && opt.tty && t_up > 0) {
			got_winch = 0;
			send_winsize();
		}
		if (p[1].revents)
			con_open = console_read();
		if (p[0].revents) {
			take_frame(cmd);
			continue;
		}
		if (got_child)
			vm_gone();
		if (p[2].revents) {
			/* Only while the lab takes it: then CHUNK fits, and writing cannot block. */
			p[0].events |= POLLOUT;
			wait_for(p, 1);
			if (!(p[0].revents & POLLOUT))
				continue;
			ssize_t n = read(0, buf, sizeof(buf));

			if (n < 0 && (errno == EINTR || errno == EAGAIN))
				continue;
			send_frame(LAB_STDIN, buf, n > 0 ? (size_t)n : 0);
			in_open = n > 0;
		}
	}
}

static void take_signals(void)
{
	static const int sigs[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGCHLD, SIGWINCH};
	struct sigaction sa = {.sa_handler = on_signal};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		sigaction(sigs[i], &sa, NULL);
		sigaddset(&set, sigs[i]);
	}
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_SETMASK, NULL, &unblocked);
	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigdelset(&unblocked, sigs[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int parse(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && !strncmp(argv[i], "--", 2); i++) {
		const char *val = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(argv[i], "--stdin")) {
			opt.use_stdin = true;
			continue;
		} else if (!strcmp(argv[i], "--tty")) {
			opt.tty = true;
			continue;
		} else if (!strcmp(argv[i], "--verbose")) {
			opt.verbose = true;
			continue;
		} else if (!strcmp(argv[i], "--timeout")) {
			opt.timeout = (unsigned)strtoul(val, NULL, 10);
		} else if (!strcmp(argv[i], "--console")) {
			opt.console = val;
		} else if (!strcmp(argv[i], "--show") && opt.show_cnt < END_SHOW) {
			opt.show[opt.show_cnt++] = val;
		} else if (!strcmp(argv[i], "--env") && opt.env_cnt < 256) {
			opt.env[opt.env_cnt++] = val;
		} else {
			fail(STATUS_LAB, "option '%s': unknown or given too often", argv[i]);
		}
		i++;
	}
	return i;
}

#ifdef __x86_64__
/* Counter and clock at the same moment: of many tries the one that was least disturbed. Nanoseconds. */
static uint64_t tsc_at(uint64_t *ns)
{
	uint64_t best = UINT64_MAX, tsc = 0;

	for (int i = 0; i < 1000; i++) {
		struct timespec t;
		uint64_t before = __builtin_ia32_rdtsc(), after;

		clock_gettime(CLOCK_MONOTONIC_RAW, &t);
		after = __builtin_ia32_rdtsc();
		if (after - before >= best)
			continue;
		best = after - before;
		tsc = before + best / 2;
		*ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	}
	return tsc;
}

/*
 * QEMU's emulation shows its guest this machine's counter. The guest's kernel would compare it with the PIT in
 * moments in which a busy machine does not run it, and has been several times too fast from then on.
 */
static void print_tsc_khz(void)
{
	struct timespec pause = {.tv_nsec = 50000000};
	uint64_t from_ns, to_ns, from = tsc_at(&from_ns), to;

	nanosleep(&pause, NULL);
	to = tsc_at(&to_ns);
	printf("%llu\n", (unsigned long long)((to - from) * 1000000u / (to_ns - from_ns)));
}
#else
static void print_tsc_khz(void)
{
}
#endif

int main(int argc, char **argv)
{
	int i, words;

	if (argc == 2 && strcmp(argv[1], "--tsc-khz") == 0) {
		print_tsc_khz();
		return 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	i = parse(argc, argv);
	words = i < argc ? atoi(argv[i]) : 0;
	if (words < 1 || words >= argc - i - 1)
		fail(STATUS_LAB, "labio-host is started by tests/lab/run only");
	i++;
	if (opt.console) {
		con_file = open(opt.console, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (con_file < 0)
			fail(STATUS_LAB, "console file '%s': %s", opt.console, strerror(errno));
	}
	take_signals();
	alarm(opt.timeout);
	if (opt.tty) {
		struct termios raw;

		if (tcgetattr(0, &tty_saved) != 0)
			fail(STATUS_LAB, "--interactive: stdin is not a terminal");
		raw = tty_saved;
		cfmakeraw(&raw);
		tcsetattr(0, TCSADRAIN, &raw);
		tty_raw = true;
	}
	start_qemu(argv + i, words);
	loop(argv + i + words);
}
