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

/* ---- balloon: memory that goes back to the host -------------------------------------------------- */
/*
 * Two ways. Free page reporting: the guest tells of free memory by itself and takes it again when it
 * wants. Inflating: it is asked to give so much up. Either way the pages go back with madvise(2).
 */
struct balloon_config {
	bool deflate_on_oom; /* a guest short of memory may take pages back without being asked */
	bool stats;	     /* the statistics queue */
	/* The guest has answered a request for statistics, or its balloon has another size. Optional;
	 * loop thread, or a vCPU thread where there is no loop. */
	void (*changed)(void *ctx);
	void *ctx;
};
#define BALLOON_STAT_NONE UINT64_MAX /* the guest does not tell */
struct balloon_stats {
	uint64_t target, actual; /* bytes: asked for; what the guest has given up */
	uint64_t reported;	 /* bytes that free page reporting has returned, summed up */
	bool guest;		 /* the rest is known */
	uint64_t taken_ns;	 /* clock_ns() when the guest told */
	uint64_t swap_in, swap_out, major_faults, minor_faults;
	uint64_t free, total, available, caches; /* bytes */
};
int balloon_new(struct virtio_dev **ret, const char *name, const struct balloon_config *cfg,
		struct err *e) MUST_CHECK;
/* How many bytes the guest is to give up; whole pages. Loop thread. */
void balloon_set_target(struct virtio_dev *dev, uint64_t bytes);
/* What is known now. Loop thread. */
void balloon_stats(struct virtio_dev *dev, struct balloon_stats *ret);
/* Asks the guest for newer statistics; changed() follows. False: its driver has none to give. */
bool balloon_ask(struct virtio_dev *dev);

/* ---- mem: memory that is added while the guest runs (virtio-mem) ----------------------------------- */
struct vmem_config {
	uint64_t gpa, len; /* the region, in multiples of VMEM_BLOCK */
	/*
	 * The guest may use the first @usable bytes of the region from now on: they are in the map when
	 * this returns 0. Only grows. Loop thread.
	 */
	int (*grow)(void *ctx, uint64_t usable);
	void (*changed)(void *ctx); /* another size is plugged; optional; loop thread */
	void *ctx;
};
#define VMEM_BLOCK (2ull << 20)
struct vmem_size {
	uint64_t max, requested, plugged; /* bytes */
};
int vmem_new(struct virtio_dev **ret, const char *name, const struct vmem_config *cfg,
	     struct err *e) MUST_CHECK;
/* How much the guest is to have plugged: rounded up to VMEM_BLOCK; 0, -ERANGE or what grow() says. */
int vmem_request_size(struct virtio_dev *dev, uint64_t bytes) MUST_CHECK;
void vmem_size(struct virtio_dev *dev, struct vmem_size *ret);

/* ---- blk: a raw image or block device on io_uring ---------------------------------------------- */
struct blk_config {
	int fd; /* opened O_RDWR, or O_RDONLY with readonly; -1: a spare, empty until blk_attach() */
	bool readonly;
	const char *serial; /* at most 20 bytes; may be NULL */
	unsigned queues;    /* 0 = 1; at most BLK_QUEUES_MAX */
};
#define BLK_QUEUES_MAX 8u
int blk_new(struct virtio_dev **ret, const char *name, const struct blk_config *cfg,
	    struct err *e) MUST_CHECK;

/*
 * Gives a spare disk its image, which becomes the device's on failure too: the guest sees it grow. It
 * cannot be told any more that it is read-only: writes to one fail. Loop thread.
 */
int blk_attach(struct virtio_dev *dev, int fd, bool readonly, struct err *e) MUST_CHECK;
/*
 * Grows the image to @bytes (0: takes the size that it has by now, larger or smaller) and tells the
 * guest. Requests under way beyond a smaller end fail. Loop thread.
 */
int blk_resize(struct virtio_dev *dev, uint64_t bytes, struct err *e) MUST_CHECK;
struct blk_info {
	bool spare, was_spare; /* empty; was once */
	bool readonly;
	uint64_t bytes;
};
void blk_info(struct virtio_dev *dev, struct blk_info *ret);

/* ---- net: a tap, or a stream socket ---------------------------------------------------------------- */
#define NET_QUEUES_MAX 8u
struct net_limit {
	uint64_t bytes, packets; /* of frames, a second; 0 = no limit */
	uint64_t burst_ns;	 /* how much at once: what comes in that time; 0 = NET_BURST_NS */
};
#define NET_BURST_NS UINT64_C(100000000)

struct net_config {
	/*
	 * A tap, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR: a descriptor for each pair of queues, with
	 * IFF_MULTI_QUEUE when there are several. The driver says how many it uses, one to begin with;
	 * the others are detached (TUNSETQUEUE), so the tap spreads packets over those in use only.
	 */
	int fd[NET_QUEUES_MAX];
	unsigned queues; /* pairs; 0 = 1 */
	bool stream; /* fd[0] is a connected SOCK_STREAM socket instead: frames with their length in
			  * front, 32 bits big-endian, as passt speaks it; one pair, no offloads */
	bool
	    filter; /* the driver may ask for its own and for chosen addresses only (CTRL_RX); costs
			  * a guest some exits whenever its addresses change */
	uint8_t mac[6];
	uint16_t mtu;		 /* 0 = not announced */
	struct net_limit rx, tx; /* of all queues together; rx is into the guest */
};
int net_new(struct virtio_dev **ret, const char *name, const struct net_config *cfg,
	    struct err *e) MUST_CHECK;
/*
 * Pulls the cable out or plugs it in: the driver hears of it (config interrupt), packets either way are
 * dropped while it is out. -EPIPE: the other end has gone for good. Loop thread.
 */
int net_set_link(struct virtio_dev *dev, bool up) MUST_CHECK;

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
	bool on_loop; /* what the kernel has cached is answered on the loop (openat2 there) */
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
	bool drained;	  /* its reader in the guest always reads all: room is waited for in bulk */
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
