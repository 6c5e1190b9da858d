/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network cards of `vmm run`: taps, and passt behind a socket. See run_dev.h.
 *
 * A tap exists already: creating one would leave a card that nothing is connected to, and takes rights that
 * the user of a tap need not have. passt is started here unless its socket is given: it puts itself into
 * the background when it is ready, and ends when our end of the socket closes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fd.h"
#include "virtio/devices.h"
#include "vmm/run_dev.h"

extern char **environ;

/* ---- taps ------------------------------------------------------------------------------------------- */

/* One queue more of the tap. The header in front of frames is that of virtio 1.x, 12 bytes (5.1.6). */
static int open_queue(const char *name, short flags)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags)};
	auto_fd fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	int hdr = 12;

	(void)strcpy(ifr.ifr_name, name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0)
		return -errno;
	return fd_take(&fd);
}

static uint16_t mtu_of(const char *name)
{
	auto_fd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	(void)strcpy(ifr.ifr_name, name);
	return fd >= 0 && ioctl(fd, SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu > 0
		   ? (uint16_t)MIN(ifr.ifr_mtu, (int)UINT16_MAX)
		   : 0;
}

static int open_tap(const struct run_net *n, struct net_config *cfg, struct err *e)
{
	unsigned want = cfg->queues;

	if (strlen(n->tap) >= IFNAMSIZ)
		return err_set(e, -EINVAL, "tap '%s': a name has at most %d characters", n->tap,
			       IFNAMSIZ - 1);
	if (if_nametoindex(n->tap) == 0)
		return err_set(e, -ENODEV, "tap '%s': there is no such interface", n->tap);
	for (unsigned i = 0; i < want; i++) {
		int fd = open_queue(n->tap, want > 1 ? IFF_MULTI_QUEUE : 0);

		/* A tap of several queues has to be told so even if one is enough for us. */
		if (fd == -EINVAL && want == 1)
			fd = open_queue(n->tap, IFF_MULTI_QUEUE);
		if (fd == -EINVAL)
			fd = err_set(e, fd, "tap '%s': not a tap%s", n->tap,
				     want > 1 ? " of several queues" : "");
		else if (fd < 0)
			fd = err_sys(e, fd, "tap '%s'", n->tap);
		if (fd < 0) {
			while (i--)
				fd_close(&cfg->fd[i]);
			return fd;
		}
		cfg->fd[i] = fd;
	}
	if (!cfg->mtu)
		cfg->mtu = mtu_of(n->tap);
	return 0;
}

/* ---- passt ------------------------------------------------------------------------------------------ */

static int connect_passt(const char *path, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	auto_fd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, -ENAMETOOLONG,
			       "passt '%s': the path of a socket has at most %zu bytes", path,
			       sizeof(sa.sun_path) - 1);
	(void)strcpy(sa.sun_path, path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0)
		return fd_take(&fd);
	rc = -errno;
	return err_sys(e, rc, "passt '%s'", path);
}

/* Waits until passt has put itself into the background, or has said why not. */
static int run_passt(int sock, struct err *e)
{
	static char name[] = "passt", quiet[] = "--quiet", opt[] = "--fd", num[] = "3";
	char *argv[] = {name, quiet, opt, num, NULL};
	posix_spawn_file_actions_t act;
	int rc = posix_spawn_file_actions_init(&act), status = 0;
	pid_t pid;

	if (rc == 0)
		rc = posix_spawn_file_actions_adddup2(&act, sock, 3);
	if (rc == 0)
		rc = posix_spawnp(&pid, name, &act, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&act);
	if (rc != 0)
		return err_sys(e, -rc, "starting passt");
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return err_sys(e, -errno, "waiting for passt");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(e, -EIO, "passt did not start: %s %d",
			       WIFEXITED(status) ? "status" : "signal",
			       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return 0;
}

static int start_passt(struct err *e)
{
	int sv[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
		rc = -errno;
		return err_sys(e, rc, "passt: socketpair");
	}
	rc = run_passt(sv[1], e);
	fd_close(&sv[1]);
	if (rc < 0)
		fd_close(&sv[0]);
	return rc < 0 ? rc : sv[0];
}

/* ---- cards ------------------------------------------------------------------------------------------ */

/* The same name gives the same address: locally administered, unicast. FNV-1a. */
static void mac_of_name(const char *name, unsigned nth, uint8_t mac[6])
{
	uint64_t h = 0xcbf29ce484222325ull + nth;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)(h >> (8 * i));
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 0x02);
}

int run_add_net(struct machine *m, const struct run_net *n, unsigned nth, struct err *e)
{
	struct net_config cfg = {.queues = MAX(n->queues, 1u),
				 .stream = n->passt != NULL,
				 .filter = n->passt == NULL,
				 .mtu = (uint16_t)n->mtu};
	const char *what = n->passt ? "passt" : n->tap;
	struct virtio_dev *dev;
	char name[16];
	int rc;

	if (!n->passt)
		rc = open_tap(n, &cfg, e);
	else
		rc = cfg.fd[0] = n->passt[0] ? connect_passt(n->passt, e) : start_passt(e);
	if (rc < 0)
		return rc;
	if (n->has_mac)
		memcpy(cfg.mac, n->mac, sizeof(cfg.mac));
	else
		mac_of_name(what, n->passt ? nth : 0, cfg.mac);
	(void)snprintf(name, sizeof(name), "net%u", nth);
	rc = net_new(&dev, name, &cfg, e);
	if (rc < 0)
		return err_wrap(e, "%s '%s'", n->passt ? "net" : "tap", what);
	return machine_plug(m, dev, NULL, e);
}
