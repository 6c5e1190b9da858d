/* SPDX-License-Identifier: Apache-2.0 */
/* See console.h. */
#include "runtime/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "base/fd.h"
#include "vmm/term.h"

/* The words are runc's: engines and their tests know them. */
int console_check(bool terminal, bool detach, const char *socket, struct err *e)
{
	if (detach && terminal && !socket)
		return err_set(e, -EINVAL,
			       "cannot allocate tty if husk will detach without setting console "
			       "socket");
	if ((!detach || !terminal) && socket)
		return err_set(e, -EINVAL,
			       "cannot use console socket if husk will not detach or allocate tty");
	return 0;
}

static void set_size(int fd, struct json_object *process)
{
	int64_t rows = json_i64(process, "consoleSize.height", 0);
	int64_t cols = json_i64(process, "consoleSize.width", 0);
	struct winsize ws = {0};

	if (rows < 1 || cols < 1 || rows > UINT16_MAX || cols > UINT16_MAX)
		return;
	ws.ws_row = (unsigned short)rows;
	ws.ws_col = (unsigned short)cols;
	(void)ioctl(fd, TIOCSWINSZ, &ws);
}

int console_open(struct console *c, struct json_object *process, struct err *e)
{
	struct termios t;
	int unlock = 0;

	c->slave = -1;
	c->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->master < 0)
		return err_sys(e, -errno, "terminal: /dev/ptmx");
	if (ioctl(c->master, TIOCSPTLCK, &unlock) < 0)
		return err_sys(e, -errno, "terminal: unlocking");
	c->slave = ioctl(c->master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (c->slave < 0)
		return err_sys(e, -errno, "terminal: opening");
	if (tcgetattr(c->slave, &t) < 0)
		return err_sys(e, -errno, "terminal");
	cfmakeraw(&t);
	if (tcsetattr(c->slave, TCSANOW, &t) < 0)
		return err_sys(e, -errno, "terminal");
	set_size(c->slave, process);
	return 0;
}

/* One descriptor and a name for it, to an engine that listens. @what names the socket in errors. */
static int send_one(const char *what, const char *path, const char *name, int fd, struct err *e)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	auto_fd s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ssize_t rc;

	if (s < 0)
		return err_sys(e, -errno, "%s socket", what);
	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(e, -ENAMETOOLONG, "%s socket '%.100s…': too long a path", what,
			       path);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (connect(s, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return err_sys(e, -errno, "%s socket '%s'", what, path);
	rc = fd_send(s, name, strlen(name), &fd, 1);
	return rc < 0 ? err_sys(e, (int)rc, "%s socket '%s'", what, path) : 0;
}

int console_send(struct console *c, const char *path, struct err *e)
{
	char name[32];
	unsigned n = 0;
	int rc;

	(void)ioctl(c->master, TIOCGPTN, &n);
	(void)snprintf(name, sizeof(name), "/dev/pts/%u", n);
	rc = send_one("console", path, name, c->master, e);
	if (rc == 0)
		fd_close(&c->master);
	return rc;
}

int console_send_pidfd(pid_t pid, const char *path, struct err *e)
{
	auto_fd fd = (int)syscall(SYS_pidfd_open, pid, 0u);

	return fd < 0 ? err_sys(e, -errno, "pidfd") : send_one("pidfd", path, "pidfd", fd, e);
}

void console_close(struct console *c)
{
	fd_close(&c->master);
	fd_close(&c->slave);
}

int console_own(struct err *e)
{
	int fd = -1;

	for (int i = 0; i < 3; i++)
		if (isatty(i)) {
			fd = fcntl(i, F_DUPFD_CLOEXEC, 3);
			return fd < 0 ? err_sys(e, -errno, "terminal") : fd;
		}
	fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -ENOTTY,
			       "process.terminal: none of stdin, stdout and stderr is a terminal, "
			       "and there is no /dev/tty");
	return fd;
}

void console_add_size(struct json_object *process, int tty_fd)
{
	struct json_object *size;
	uint16_t cols, rows;

	if (json_at(process, "consoleSize") || !term_size(tty_fd, &cols, &rows))
		return;
	size = json_object_new_object();
	json_add_i64(size, "height", rows);
	json_add_i64(size, "width", cols);
	(void)json_object_object_add(process, "consoleSize", size);
}
