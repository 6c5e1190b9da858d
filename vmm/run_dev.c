/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of `vmm run`. See run_dev.h. */
#include "vmm/run_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/fd.h"
#include "virtio/devices.h"

_Static_assert(RUN_TAG_MAX == 36, "what p9_new() takes");

int run_open(const char *what, const char *path, int flags, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC, 0644), rc;

	if (fd >= 0)
		return fd;
	rc = -errno;
	return err_sys(e, rc, "%s '%s'", what, path);
}

static int add_disk(struct machine *m, const struct run_disk *d, unsigned n, struct err *e)
{
	struct blk_config cfg = {.readonly = d->readonly};
	struct virtio_dev *dev;
	char name[16];
	int rc;

	cfg.fd = run_open("disk", d->path, d->readonly ? O_RDONLY : O_RDWR, e);
	if (cfg.fd < 0)
		return cfg.fd;
	(void)snprintf(name, sizeof(name), "blk%u", n);
	rc = blk_new(&dev, name, &cfg, e);
	if (rc < 0)
		return err_wrap(e, "disk '%s'", d->path);
	return machine_plug(m, dev, NULL, e);
}

static int add_share(struct machine *m, const struct run_share *s, unsigned n, struct err *e)
{
	struct p9_config cfg = {.proc_fd = -1, .tag = s->tag, .readonly = s->readonly};
	struct virtio_dev *dev;
	char name[16];
	int rc;

	cfg.root_fd = run_open("share", s->path, O_PATH | O_DIRECTORY, e);
	if (cfg.root_fd < 0)
		return cfg.root_fd;
	(void)snprintf(name, sizeof(name), "9p%u", n);
	rc = p9_new(&dev, name, &cfg, e);
	if (rc < 0)
		return err_wrap(e, "share '%s'", s->path);
	return machine_plug(m, dev, NULL, e);
}

static int add_pmem(struct machine *m, const struct run_pmem *p, struct err *e)
{
	auto_fd fd = run_open("pmem", p->path, p->readonly ? O_RDONLY : O_RDWR, e);

	return fd < 0 ? fd : machine_pmem(m, fd, p->path, p->readonly, e);
}

/*
 * Attaches to a tap that exists already: creating one would leave a card that nothing is connected
 * to. The header in front of frames is that of virtio 1.x, 12 bytes (5.1.6).
 */
static int open_tap(const char *name, struct err *e)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	auto_fd fd = -1;
	int hdr = 12, rc;

	if (strlen(name) >= IFNAMSIZ)
		return err_set(e, -EINVAL, "tap '%s': a name has at most %d characters", name,
			       IFNAMSIZ - 1);
	if (if_nametoindex(name) == 0)
		return err_set(e, -ENODEV, "tap '%s': there is no such interface", name);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		rc = -errno;
		return err_sys(e, rc, "tap '%s': /dev/net/tun", name);
	}
	(void)strcpy(ifr.ifr_name, name);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &hdr) < 0) {
		rc = -errno;
		if (rc == -EINVAL)
			return err_set(e, rc, "tap '%s': not a tap of one queue", name);
		return err_sys(e, rc, "tap '%s'", name);
	}
	return fd_take(&fd);
}

/* The same name gives the same address: locally administered, unicast. FNV-1a. */
static void mac_of_name(const char *name, uint8_t mac[6])
{
	uint64_t h = 0xcbf29ce484222325ull;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x100000001b3ull;
	for (unsigned i = 0; i < 6; i++)
		mac[i] = (uint8_t)(h >> (8 * i));
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 0x02);
}

static int add_net(struct machine *m, const struct run_net *n, unsigned nth, struct err *e)
{
	struct net_config cfg = {.tap_fd = open_tap(n->tap, e)};
	struct virtio_dev *dev;
	char name[16];
	int rc;

	if (cfg.tap_fd < 0)
		return cfg.tap_fd;
	if (n->has_mac)
		memcpy(cfg.mac, n->mac, sizeof(cfg.mac));
	else
		mac_of_name(n->tap, cfg.mac);
	(void)snprintf(name, sizeof(name), "net%u", nth);
	rc = net_new(&dev, name, &cfg, e);
	if (rc < 0)
		return err_wrap(e, "tap '%s'", n->tap);
	return machine_plug(m, dev, NULL, e);
}

int run_add_devices(struct machine *m, const struct run_config *cfg, struct err *e)
{
	int rc = 0;

	/* In the order in which they are found where there is a device tree. */
	for (unsigned i = 0; rc == 0 && i < cfg->pmem_cnt; i++)
		rc = cfg->pmem[i].readonly ? add_pmem(m, &cfg->pmem[i], e) : 0;
	for (unsigned i = 0; rc == 0 && i < cfg->pmem_cnt; i++)
		rc = cfg->pmem[i].readonly ? 0 : add_pmem(m, &cfg->pmem[i], e);
	for (unsigned i = 0; rc == 0 && i < cfg->disk_cnt; i++)
		rc = add_disk(m, &cfg->disk[i], i, e);
	for (unsigned i = 0; rc == 0 && i < cfg->share_cnt; i++)
		rc = add_share(m, &cfg->share[i], i, e);
	for (unsigned i = 0; rc == 0 && i < cfg->net_cnt; i++)
		rc = add_net(m, &cfg->net[i], i, e);
	return rc;
}
