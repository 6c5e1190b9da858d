/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of `vmm run`. See run_dev.h. */
#include "vmm/run_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"
#include "virtio/devices.h"

_Static_assert(RUN_TAG_MAX == 36 && RUN_NET_QUEUES_MAX == NET_QUEUES_MAX, "what they take");

int run_open(const char *what, const char *path, int flags, struct err *e)
{
	int fd = open(path, flags | O_CLOEXEC, 0644), rc;

	if (fd >= 0)
		return fd;
	rc = -errno;
	if (rc == -EINVAL && (flags & O_DIRECT))
		return err_set(e, rc, "%s '%s': its file system has no direct access", what, path);
	return err_sys(e, rc, "%s '%s'", what, path);
}

static int add_disk(struct machine *m, const struct run_disk *d, unsigned cpus, unsigned n,
		    struct err *e)
{
	struct blk_config cfg = {
	    .readonly = d->readonly, .serial = d->serial, .queues = MIN(cpus, BLK_QUEUES_MAX)};
	struct virtio_dev *dev;
	char name[16];
	int fd, rc;

	fd = run_open("disk", d->path,
		      (d->readonly ? O_RDONLY : O_RDWR) | (d->direct ? O_DIRECT : 0), e);
	if (fd < 0)
		return fd;
	cfg.fd = d->spare ? -1 : fd;
	(void)snprintf(name, sizeof(name), "blk%u", n);
	rc = blk_new(&dev, name, &cfg, e);
	if (rc < 0 && d->spare)
		fd_close(&fd);
	if (rc == 0 && d->spare) {
		rc = blk_attach(dev, fd, d->readonly, e);
		if (rc < 0)
			virtio_free(dev);
	}
	if (rc < 0)
		return err_wrap(e, "disk '%s'", d->path);
	return machine_plug(m, dev, NULL, e);
}

/* Without an image until `vmm ctl add-disk` brings one. */
static int add_spare_disk(struct machine *m, unsigned cpus, unsigned n, struct err *e)
{
	struct blk_config cfg = {.fd = -1, .queues = MIN(cpus, BLK_QUEUES_MAX)};
	struct virtio_dev *dev;
	char name[16];
	int rc;

	(void)snprintf(name, sizeof(name), "blk%u", n);
	rc = blk_new(&dev, name, &cfg, e);
	return rc < 0 ? rc : machine_plug(m, dev, NULL, e);
}

static int add_share(struct machine *m, const struct run_share *s, unsigned n, struct err *e)
{
	struct p9_config cfg = {
	    .proc_fd = -1, .tag = s->tag, .readonly = s->readonly, .on_loop = true};
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

int run_add_devices(struct machine *m, const struct run_config *cfg, struct err *e)
{
	int rc = 0;

	/* In the order in which they are found where there is a device tree. */
	for (unsigned i = 0; rc == 0 && i < cfg->pmem_cnt; i++)
		rc = cfg->pmem[i].readonly ? add_pmem(m, &cfg->pmem[i], e) : 0;
	for (unsigned i = 0; rc == 0 && i < cfg->pmem_cnt; i++)
		rc = cfg->pmem[i].readonly ? 0 : add_pmem(m, &cfg->pmem[i], e);
	for (unsigned i = 0; rc == 0 && i < cfg->disk_cnt; i++)
		rc = add_disk(m, &cfg->disk[i], cfg->cpus, i, e);
	for (unsigned i = 0; rc == 0 && i < cfg->spare_disks; i++)
		rc = add_spare_disk(m, cfg->cpus, cfg->disk_cnt + i, e);
	for (unsigned i = 0; rc == 0 && i < cfg->share_cnt; i++)
		rc = add_share(m, &cfg->share[i], i, e);
	for (unsigned i = 0; rc == 0 && i < cfg->net_cnt; i++)
		rc = run_add_net(m, &cfg->net[i], i, e);
	if (rc == 0 && cfg->balloon)
		rc = machine_add_balloon(m, true, NULL, e);
	if (rc == 0 && cfg->memory_max)
		rc = machine_add_vmem(m, cfg->memory_max, NULL, e);
	return rc;
}
