/* SPDX-License-Identifier: Apache-2.0 */
/*
 * labio-guest: PID 1 of the lab, started by initrd/init once everything is mounted.
 *
 * Reads the command from the virtio-serial port, runs it, sends what it prints and its status
 * back, and reaps whatever daemons it leaves behind. One thread, one poll loop; the VM is ended
 * from outside, so this never returns.
 */
#include "labio.h"

#include <fcntl.h>
#include <glob.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <utmp.h>

#define HOST_VIEW                                                                                  \
	"/run/lab/host" /* the root without the tmpfs mounts on top; made by initrd/init */
#define MAX_ARGS 4096

static char *args[MAX_ARGS + 1];
static unsigned arg_cnt;
static bool tty;
static struct winsize tty_size;
static int port = -1;

static char in_buf[LAB_FRAME_MAX + 1]; /* payload of the last frame read; zero-terminated */
static size_t in_len, in_off;	       /* a LAB_STDIN payload not yet given to the command */
static bool in_eof;

static void __attribute__((noreturn)) stop(const char *what, int err)
{
	/* Exit of PID 1 panics the kernel, which ends the VM; run then shows this console line. */
	dprintf(2, "lab: %s: %s\n", what, strerror(err));
	_exit(1);
}

/* The node of the port named LAB_PORT_NAME; its number depends on what else the VM has. */
static int open_port(void)
{
	glob_t g = {0};
	char name[64] = "", node[128];

	if (glob("/sys/class/virtio-ports/*", 0, NULL, &g))
		return -ENODEV;
	for (size_t i = 0; i < g.gl_pathc; i++) {
		char path[160];
		FILE *f;

		snprintf(path, sizeof(path), "%s/name", g.gl_pathv[i]);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (!fgets(name, sizeof(name), f))
			name[0] = 0;
		fclose(f);
		name[strcspn(name, "\n")] = 0;
		if (strcmp(name, LAB_PORT_NAME) != 0)
			continue;
		snprintf(node, sizeof(node), "/dev/%s", strrchr(g.gl_pathv[i], '/') + 1);
		globfree(&g);
		return open(node, O_RDWR | O_CLOEXEC);
	}
	globfree(&g);
	return -ENODEV;
}

/* Bind what the machine has at @path over the empty tmpfs that hides it. */
static void show(const char *path)
{
	char from[4096], dir[4096];
	struct stat st;

	if (strlen(path) > 2048)
		return;
	strcpy(stpcpy(from, HOST_VIEW), path);
	if (stat(from, &st) != 0 || !S_ISDIR(st.st_mode))
		return;
	strcpy(dir, path);
	for (char *p = dir + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		mkdir(dir, 0755);
		*p = '/';
	}
	mkdir(dir, st.st_mode & 07777);
	if (mount(from, dir, NULL, MS_BIND, NULL) != 0)
		dprintf(2, "lab: show '%s': %s\n", path, strerror(errno));
}

static enum lab_type read_frame(void)
{
	struct lab_frame f;
	int err = lab_read_all(port, &f, sizeof(f));

	if (!err && f.len > LAB_FRAME_MAX)
		err = -EPROTO;
	if (!err)
		err = lab_read_all(port, in_buf, f.len);
	if (err)
		stop("port", -err);
	in_len = f.len;
	in_off = 0;
	in_buf[in_len] = 0;
	return (enum lab_type)f.type;
}

static void read_command(void)
{
	for (;;) {
		switch (read_frame()) {
		case LAB_ARG:
			if (arg_cnt == MAX_ARGS)
				stop("command", E2BIG);
			args[arg_cnt++] = strdup(in_buf);
			break;
		case LAB_ENV:
			putenv(strdup(in_buf));
			break;
		case LAB_SHOW:
			show(in_buf);
			break;
		case LAB_CWD:
			if (chdir(in_buf) != 0)
				dprintf(2, "lab: chdir '%s': %s\n", in_buf, strerror(errno));
			break;
		case LAB_TTY:
			tty = true;
			memcpy(&tty_size, in_buf, sizeof(tty_size));
			break;
		case LAB_GO:
			in_len = 0;
			return;
		default:
			stop("command", EPROTO);
		}
	}
}

static void __attribute__((noreturn)) child(int in, int out, int err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (tty) {
		login_tty(in);
	} else {
		setsid();
		dup2(in, 0);
		dup2(out, 1);
		dup2(err, 2);
	}
	execvp(args[0], args);
	dprintf(2, "lab: exec '%s': %s\n", args[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* Fork the command. fds[0] is where its stdin is written, fds[1] and [2] where output is read. */
static pid_t spawn(int fds[3])
{
	int in[2], out[2], err[2] = {-1, -1};
	pid_t pid;

	if (tty) {
		if (openpty(&out[0], &out[1], NULL, NULL, &tty_size) != 0)
			stop("openpty", errno);
		in[0] = out[1];
		in[1] = dup(out[0]);
	} else if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
		stop("pipe", errno);
	}
	for (int i = 0; i < 2; i++) {
		fcntl(in[i], F_SETFD, FD_CLOEXEC);
		fcntl(out[i], F_SETFD, FD_CLOEXEC);
	}
	pid = fork();
	if (pid < 0)
		stop("fork", errno);
	if (pid == 0)
		child(in[0], out[1], err[1]);
	close(out[1]);
	if (!tty) {
		close(in[0]);
		close(err[1]);
	}
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fds[0] = in[1];
	fds[1] = out[0];
	fds[2] = err[0];
	return pid;
}

/* Pass on one read of @fd. False at its end (a pty says EIO when its last slave is closed). */
static bool forward(int fd, enum lab_type type)
{
	static char buf[LAB_FRAME_MAX];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (n <= 0)
		return false;
	n = lab_send(port, type, buf, (size_t)n);
	if (n < 0)
		stop("port", (int)-n);
	return true;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Give the command as much of the pending LAB_STDIN payload as it takes. */
static void feed(int fds[3])
{
	while (fds[0] >= 0 && in_off < in_len) {
		ssize_t n = write(fds[0], in_buf + in_off, in_len - in_off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			close_fd(&fds[0]);
		else
			in_off += (size_t)n;
	}
	in_len = in_off = 0;
	if (in_eof && !tty)
		close_fd(&fds[0]);
}

static void take_frame(int fds[3])
{
	switch (read_frame()) {
	case LAB_STDIN:
		in_eof |= in_len == 0;
		feed(fds);
		break;
	case LAB_TTY:
		memcpy(&tty_size, in_buf, sizeof(tty_size));
		ioctl(fds[1], TIOCSWINSZ, &tty_size);
		in_len = 0;
		break;
	default:
		stop("port", EPROTO);
	}
}

/* Reap everything; true once @pid is among it, its shell-style status in *status. */
static bool reap(pid_t pid, int32_t *status)
{
	bool found = false;
	int ws;
	pid_t p;

	while ((p = waitpid(-1, &ws, WNOHANG)) > 0) {
		if (p != pid)
			continue;
		found = true;
		*status = WIFSIGNALED(ws) ? 128 + WTERMSIG(ws) : WEXITSTATUS(ws);
	}
	return found;
}

/*
 * The command's end is the end: what it left running is killed, so that nobody holds the pipes,
 * and what is in them still is sent before the status.
 */
static int32_t run_command(int sig_fd)
{
	int fds[3];
	pid_t pid = spawn(fds);
	int32_t status = 0;

	while (pid || fds[1] >= 0 || fds[2] >= 0) {
		bool pending = in_off < in_len;
		struct pollfd p[] = {
		    {.fd = fds[1], .events = POLLIN},
		    {.fd = fds[2], .events = POLLIN},
		    {.fd = sig_fd, .events = POLLIN},
		    {.fd = pending ? -1 : port, .events = POLLIN},
		    {.fd = pending ? fds[0] : -1, .events = POLLOUT},
		};

		if (poll(p, 5, -1) < 0)
			continue;
		if (p[0].revents && !forward(fds[1], LAB_STDOUT))
			close_fd(&fds[1]);
		if (p[1].revents && !forward(fds[2], LAB_STDERR))
			close_fd(&fds[2]);
		if (p[2].revents) {
			struct signalfd_siginfo si;

			if (read(sig_fd, &si, sizeof(si)) > 0 && reap(pid, &status)) {
				pid = 0;
				kill(-1, SIGKILL);
			}
		}
		if (p[3].revents)
			take_frame(fds);
		if (p[4].revents)
			feed(fds);
	}
	return status;
}

/*
 * Keeps one VM with one vCPU that never runs, for as long as the lab lives. The first and the last VM
 * of a host switch static keys of KVM and of the scheduler (preempt_notifier_key, apic_sw_disabled):
 * code patched through int3. QEMU's TCG with several threads may go on running the int3 that it had
 * translated, on every CPU, in __schedule(): the lab then stands still. With this VM the keys stay.
 * Nothing is lost without it (no kvm module): other work does not touch these keys.
 */
static void keep_vm(void)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm >= 0 && ioctl(vm, KVM_ENABLE_CAP, &split) == 0)
		(void)ioctl(vm, KVM_CREATE_VCPU, 0);
	if (kvm >= 0)
		close(kvm);
}

int main(void)
{
	/* The limits systemd gives a service: engines expect to be able to raise theirs. */
	struct rlimit nofile = {.rlim_cur = 1024, .rlim_max = 524288};
	struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	sigset_t chld;
	int32_t status;
	int sig_fd, err;

	setrlimit(RLIMIT_NOFILE, &nofile);
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	setrlimit(RLIMIT_NPROC, &unlimited);
	umask(022);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	sig_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	port = open_port();
	if (port < 0 || sig_fd < 0)
		stop("port '" LAB_PORT_NAME "'", port < 0 ? -port : errno);
	clearenv();
	keep_vm();
	err = lab_send(port, LAB_UP, NULL, 0);
	if (err)
		stop("port", -err);
	read_command();
	if (arg_cnt == 0)
		stop("command", EINVAL);
	status = run_command(sig_fd);
	sync(); /* mmap()ed files of the --out share; disks given with --qemu-arg */
	err = lab_send(port, LAB_EXIT, &status, sizeof(status));
	if (err)
		stop("port", -err);
	for (;;)
		pause();
}
