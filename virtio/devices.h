/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constructors of the devices. Each returns a device that the caller plugs into a slot and frees with
 * virtio_free(); file descriptors given are owned by the device from then on, on failure too.
 */
#ifndef HUSK_VIRTIO_DEVICES_H
#define HUSK_VIRTIO_DEVICES_H

#include <sys/types.h>
#include "base/err.h"
#include "virtio/virtio.h"

/* ---- rng: entropy from getrandom(2), rate-limited ---------------------------------------------- */
int rng_new(struct virtio_dev **ret, const char *name, struct err *e) MUST_CHECK;

/* ---- blk: a raw image or block device on io_uring ---------------------------------------------- */
struct blk_config {
	int fd; /* opened O_RDWR, or O_RDONLY with readonly */
	bool readonly;
	const char *serial; /* at most 20 bytes; may be NULL */
};
int blk_new(struct virtio_dev **ret, const char *name, const struct blk_config *cfg,
	    struct err *e) MUST_CHECK;

/* ---- net: a tap ---------------------------------------------------------------------------------- */
struct net_config {
	int tap_fd; /* O_NONBLOCK, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, 12-byte header set */
	uint8_t mac[6];
	uint16_t mtu; /* 0 = not announced */
};
int net_new(struct virtio_dev **ret, const char *name, const struct net_config *cfg,
	    struct err *e) MUST_CHECK;

/* ---- pmem: writable persistent memory whose flush is an fsync ------------------------------------ */
struct pmem_config {
	int fd;		   /* the file behind the window */
	uint64_t gpa, len; /* the window, mapped by the VMM */
};
int pmem_new(struct virtio_dev **ret, const char *name, const struct pmem_config *cfg,
	     struct err *e) MUST_CHECK;

/* ---- 9p: a directory tree, 9P2000.L --------------------------------------------------------------- */
#define P9_WORKERS_MAX 16u

/*
 * Threads that do metadata calls for any number of 9p devices. They inherit credentials, capabilities
 * and seccomp filters of the thread that calls p9_pool_new(), whatever other threads give up later, and
 * have their own umask, working directory and file system identity.
 */
struct p9_pool;
struct p9_pool_config {
	unsigned workers; /* at most; 0 = default. One starts at once, the others under load. */
	bool lazy;	  /* not even one starts before the first request */
	void (*thread_init)(
	    void *arg); /* optional: first thing in each thread (seccomp, capabilities) */
	void *thread_arg;
};
int p9_pool_new(struct p9_pool **ret, const struct p9_pool_config *cfg, struct err *e) MUST_CHECK;
void p9_pool_free(struct p9_pool *p); /* after the devices that use it; NULL is fine */

struct p9_config {
	int root_fd; /* O_PATH or O_RDONLY directory; nothing above or beside it is reachable */
	int proc_fd; /* /proc/self/fd of this process (opened after its last fork), for reopening
			    * O_PATH fds; -1: opened by p9_new() */
	const char *tag; /* mount tag, at most 36 bytes */
	bool readonly;
	unsigned
	    workers; /* threads for metadata; 0 = default. Without a pool; started when needed. */
	struct p9_pool *pool; /* stays the caller's; NULL: threads of its own */
};
/* Raises the soft limit of open files to the hard one. */
int p9_new(struct virtio_dev **ret, const char *name, const struct p9_config *cfg,
	   struct err *e) MUST_CHECK;

/* ---- console: multiport (virtio 1.2, 5.3) --------------------------------------------------------- */
#define VCON_PORTS_MAX 32u

/*
 * The host side of a port. All calls on the loop thread.
 *
 * Guest to host: output() gets the spans of one buffer and says how many bytes it took; fewer than all
 * stalls the port, with the rest kept in the ring, until vcon_output_resume(). Host to guest:
 * vcon_send() copies as much as the guest has posted buffers for; after a short count input_room()
 * tells when more fits. Nothing is sent to a port that the guest does not have open (Linux would throw
 * it away): vcon_send() takes 0 bytes then, and input_room() tells.
 *
 * Linux waits for console output (an hvc, not a named port) spinning with interrupts off: output() of
 * a console must not stall for longer than the reader of a terminal may stop the machine.
 *
 * Callbacks may call the functions below; they must not shut the device down or free it. A reset of the
 * driver closes all ports: opened(false).
 */
struct vcon_port_ops {
	size_t (*output)(void *ctx, const struct iovec *iov, unsigned cnt, size_t len);
	void (*input_room)(void *ctx);			   /* optional */
	void (*opened)(void *ctx, bool guest_has_it_open); /* optional */
};
struct vcon_port_config {
	const char *name; /* "husk.ctl": /sys/class/virtio-ports/.../name; NULL for a plain hvc */
	bool console;	  /* an hvc */
	const struct vcon_port_ops *ops;
	void *ctx;
};
/*
 * Port 0 is a console (hvc0) by custom; the port numbers are the array's indices. A single nameless console is
 * one from before MULTIPORT: there from the driver's probe on.
 */
int vcon_new(struct virtio_dev **ret, const char *name, const struct vcon_port_config *ports,
	     unsigned cnt, struct err *e) MUST_CHECK;
size_t vcon_send(struct virtio_dev *dev, unsigned port, const void *buf, size_t len);
void vcon_output_resume(struct virtio_dev *dev, unsigned port);
void vcon_resize(struct virtio_dev *dev, unsigned port, uint16_t cols, uint16_t rows);

#endif
