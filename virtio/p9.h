/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p server, private to virtio/p9*.c: state shared by the device, the workers and the handlers.
 *
 * Who owns what:
 *  - the queue, the requests and the table of running requests: the loop thread;
 *  - the fid table, the inode-number table, byte-range locks: any thread, under their own mutex, never
 *    two at once;
 *  - a fid object is immutable once it is in the table (but for what its own lock guards), counted, and
 *    closes its descriptor when the last user lets go. Tclunk, Tversion or a reset only take it out of
 *    the table, so a request that runs meanwhile keeps a valid descriptor.
 *
 * Message layout: the 9P2000.L protocol as Linux 6.1 speaks it (net/9p, include/net/9p/9p.h).
 */
#ifndef HUSK_VIRTIO_P9_H
#define HUSK_VIRTIO_P9_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include "base/list.h"
#include "base/loop.h"
#include "virtio/devices.h"
#include "virtio/virtio.h"

#define P9_QUEUE	128u /* Linux packs at most 128 pieces into one request */
#define P9_SPANS	(P9_QUEUE + GMEM_REGIONS_MAX)
#define P9_HDR		7u  /* size[4] type[1] tag[2] */
#define P9_IO_HDR	23u /* Twrite: header, fid[4] offset[8] count[4] */
#define P9_RIO_HDR	11u /* Rread, Rreaddir, Rlerror: header and a 32-bit word */
#define P9_MSIZE_MIN	4096u
#define P9_MSIZE_MAX	(1u << 20)
#define P9_TMSG_SMALL	512u   /* messages up to here need no allocation */
#define P9_TMSG_MAX	16384u /* the longest: Twalk of 16 names, Tsymlink with PATH_MAX */
#define P9_RMSG_MAX	4608u  /* the longest reply built in memory: Rreadlink */
#define P9_WALK_MAX	16u    /* P9_MAXWELEM */
#define P9_FIDS_MAX	65536u
#define P9_LOCKS_MAX	4096u
#define P9_XATTR_MAX	65536u	   /* XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux */
#define XATTR_NAME_LEN	255u	   /* XATTR_NAME_MAX of Linux */
#define P9_XATTR_BUDGET (2u << 20) /* bytes of attribute buffers that all fids hold together */
#define P9_NOFID	0xffffffffu
#define P9_NOUID	0xffffffffu
#define P9_TAG_MAX	36u

enum p9_type {
	P9_TSTATFS = 8,
	P9_TLOPEN = 12,
	P9_TLCREATE = 14,
	P9_TSYMLINK = 16,
	P9_TMKNOD = 18,
	P9_TRENAME = 20,
	P9_TREADLINK = 22,
	P9_TGETATTR = 24,
	P9_TSETATTR = 26,
	P9_TXATTRWALK = 30,
	P9_TXATTRCREATE = 32,
	P9_TREADDIR = 40,
	P9_TFSYNC = 50,
	P9_TLOCK = 52,
	P9_TGETLOCK = 54,
	P9_TLINK = 70,
	P9_TMKDIR = 72,
	P9_TRENAMEAT = 74,
	P9_TUNLINKAT = 76,
	P9_TVERSION = 100,
	P9_TAUTH = 102,
	P9_TATTACH = 104,
	P9_TFLUSH = 108,
	P9_TWALK = 110,
	P9_TREAD = 116,
	P9_TWRITE = 118,
	P9_TCLUNK = 120,
	P9_TREMOVE = 122,
};
#define P9_RLERROR    7u

#define P9_QT_DIR     0x80u
#define P9_QT_SYMLINK 0x02u
#define P9_QT_FILE    0x00u

struct p9_qid {
	uint8_t type;
	uint32_t version;
	uint64_t path;
};

/* ---- messages: cursors with a sticky error (p9_wire.c) ------------------------------------------ */

struct p9_rd {
	const uint8_t *p;
	size_t left;
	int err; /* first fault, negative errno; getters return zeros after it */
};

struct p9_wr {
	uint8_t *buf;
	size_t len, cap;
	bool full;
};

uint8_t p9_get8(struct p9_rd *r);
uint16_t p9_get16(struct p9_rd *r);
uint32_t p9_get32(struct p9_rd *r);
uint64_t p9_get64(struct p9_rd *r);
/* A string without NUL bytes into @dst of @cap bytes, terminated. -ENAMETOOLONG is sticky as well. */
void p9_get_str(struct p9_rd *r, char *dst, size_t cap);
/* A name of one directory entry: not empty, no '/', not "." or "..", at most NAME_MAX. */
void p9_get_name(struct p9_rd *r, char dst[NAME_MAX + 1]);
/* All bytes used and nothing wrong: 0, else the sticky error or -EPROTO. */
int p9_get_end(struct p9_rd *r) MUST_CHECK;
int p9_name_check(const char *name) MUST_CHECK;

void p9_put8(struct p9_wr *w, uint8_t v);
void p9_put16(struct p9_wr *w, uint16_t v);
void p9_put32(struct p9_wr *w, uint32_t v);
void p9_put64(struct p9_wr *w, uint64_t v);
void p9_put_bytes(struct p9_wr *w, const void *p, size_t len);
void p9_put_str(struct p9_wr *w, const char *s);
void p9_put_qid(struct p9_wr *w, const struct p9_qid *q);

/* ---- fids (p9_fid.c) ------------------------------------------------------------------------------ */

enum p9_kind {
	P9_PATH,    /* fd names an inode: O_PATH, or a duplicate of an open one */
	P9_OPEN,    /* fd is open for I/O, and names the inode just as well */
	P9_XATTR_R, /* buf: what Txattrwalk read */
	P9_XATTR_W, /* buf: what the clunk is going to set */
};

struct p9;

struct p9_fid {
	atomic_uint refs;
	struct p9 *s;
	enum p9_kind kind;
	uint32_t uid; /* of the attach: owner of what is created */
	int fd;
	mode_t fmt; /* S_IFMT of the inode; never changes */
	dev_t dev;
	ino_t ino;

	pthread_mutex_t lock; /* directories: position; P9_XATTR_W: buf */
	uint64_t dir_pos;     /* where the kernel's directory position is; ~0 = not known */

	/* Attribute fids. */
	struct p9_fid *of; /* the inode's fid, counted */
	char *xname;
	uint32_t xflags;
	uint8_t *buf;
	size_t buf_len;
	bool spoiled; /* P9_XATTR_W: committed */
};

struct p9_slot; /* of the table: number and object */

struct p9_fids {
	pthread_mutex_t lock;
	struct p9_slot **bucket;
	unsigned buckets, cnt;
	uint32_t session; /* Tversion and resets begin a new one */
};

int p9_fids_init(struct p9_fids *t) MUST_CHECK;
void p9_fids_fini(struct p9_fids *t);
void p9_fids_clear(struct p9_fids *t); /* lets go of every fid, begins a new session */

/*
 * A new object that owns @fd (closed on failure), with one reference that is the caller's. Checks the
 * type by fstat(2). -ENFILE when the descriptor budget is used up.
 */
int p9_fid_new(struct p9 *s, enum p9_kind kind, int fd, uint32_t uid,
	       struct p9_fid **ret) MUST_CHECK;
/* An attribute fid about @of (counted) with a zeroed buffer of @len. -ENOBUFS beyond the budget. */
int p9_fid_new_xattr(struct p9_fid *of, enum p9_kind kind, const char *name, size_t len,
		     struct p9_fid **ret) MUST_CHECK;
struct p9_fid *p9_fid_ref(struct p9_fid *f);
void p9_fid_put(struct p9_fid *f); /* NULL is fine */
static inline void p9_fid_put_p(struct p9_fid **f)
{
	p9_fid_put(*f);
}
#define auto_fid CLEANUP(p9_fid_put_p) struct p9_fid *

/* The object behind a number, counted. -EBADF. */
int p9_fids_get(struct p9_fids *t, uint32_t no, struct p9_fid **ret) MUST_CHECK;
/* As above, of a fid that names an inode (P9_PATH, P9_OPEN). */
int p9_fids_get_inode(struct p9_fids *t, uint32_t no, struct p9_fid **ret) MUST_CHECK;
/* Adds (counting @f). -EBADF when the number is in use, -ENFILE, -ENOMEM; -ESTALE in another session. */
int p9_fids_add(struct p9_fids *t, uint32_t session, uint32_t no, struct p9_fid *f) MUST_CHECK;
/* Puts @f where @old is still found, or fails with -EBADF. */
int p9_fids_swap(struct p9_fids *t, uint32_t no, struct p9_fid *old, struct p9_fid *f) MUST_CHECK;
/* Takes the object out: the table's reference becomes the caller's. */
int p9_fids_take(struct p9_fids *t, uint32_t no, struct p9_fid **ret) MUST_CHECK;
/* As above, where @old is still found; else -EBADF. */
int p9_fids_take_old(struct p9_fids *t, uint32_t no, struct p9_fid *old) MUST_CHECK;

/*
 * Calls @fn for each fid until it fails; its answer. Nobody else uses the table meanwhile, and @fn does
 * not change it.
 */
int p9_fids_each(struct p9_fids *t, int (*fn)(void *ctx, uint32_t no, struct p9_fid *f),
		 void *ctx) MUST_CHECK;
/* A number under which @f is found, or P9_NOFID. As above. */
uint32_t p9_fids_no(const struct p9_fids *t, const struct p9_fid *f);

/* Inode numbers that are unique over all file systems in the tree. */
#define P9_PREFIXES 256u
struct p9_inos {
	pthread_mutex_t lock;
	unsigned cnt;
	struct p9_prefix {
		dev_t dev;
		uint16_t high; /* the inode number's top 16 bits */
	} * pre;
};
uint64_t p9_ino_path(struct p9_inos *t, dev_t dev, uint64_t ino);
void p9_qid_of(struct p9 *s, const struct stat *st, struct p9_qid *q);

/* Raises the soft limit of descriptors to the hard one and sets the budget of all servers. */
void p9_fd_budget_init(void);

/* ---- workers (p9_work.c) -------------------------------------------------------------------------- */

struct p9_req;

struct p9_worker {
	struct p9_pool *pool;
	int cwd_fd; /* which /proc/self/fd is our working directory */
	bool privileged;
	uint32_t uid, gid;    /* current fsuid and fsgid */
	uint32_t cap_perm[2]; /* permitted capabilities */
	uint32_t cap_eff[2];  /* effective now */
};

struct p9_pool {
	pthread_mutex_t lock;
	pthread_cond_t cond, started;
	struct list queue;
	unsigned max, cnt, live, idle; /* threads: allowed, made, fit for work, waiting */
	bool stop, spawning;
	int start_rc; /* negative: the first thread could not begin */
	pthread_t thread[P9_WORKERS_MAX];
	void (*thread_init)(void *arg);
	void *thread_arg;
};

int p9_pool_start(struct p9_pool *p) MUST_CHECK; /* the first worker, unless there is one */
int p9_pool_submit(struct p9_pool *p, struct p9_req *r) MUST_CHECK;
bool p9_pool_withdraw(struct p9_pool *p, struct p9_req *r); /* true: no worker has begun it */

/* The identity of what is created next; root's for everything else. 0 or -EPERM. */
int p9_worker_as(struct p9_worker *w, uint32_t uid, uint32_t gid) MUST_CHECK;
/* Makes @proc_fd (/proc/self/fd) the working directory. 0 or -errno. */
int p9_worker_chdir(struct p9_worker *w, int proc_fd) MUST_CHECK;

/* ---- the server ----------------------------------------------------------------------------------- */

struct p9_req {
	struct p9 *s;
	struct vq_chain chain;
	uint32_t size; /* of the message, as it says and checked */
	uint16_t tag;
	uint8_t type;
	uint8_t *msg;	/* private copy: small[] or malloc'd */
	size_t msg_len; /* bytes there: all, or the head of Twrite */
	uint32_t session;

	struct p9_fid *fid; /* data requests: counted */
	struct loop_op op;
	struct loop_work work;	   /* from the worker back to the loop */
	struct list queued;	   /* pool's queue */
	struct list running;	   /* p9.running */
	struct p9_req *flushes;	   /* Tflush requests that wait for this one's reply */
	struct p9_req *flush_next; /* the next in such a list */
	uint32_t reply_len;

	struct iovec iov[P9_SPANS], data[P9_SPANS];
	uint8_t small[P9_TMSG_SMALL];
};

struct p9_lock;

struct p9 {
	struct virtio_dev dev; /* first */
	int root_fd, proc_fd;
	bool readonly;
	bool local; /* the root's file system answers from memory what it has cached */
	dev_t root_dev;
	struct p9_pool *pool, *own_pool;

	/* Loop thread. */
	struct list running; /* requests between pop and push */
	struct p9_req *spare;
	unsigned spare_cnt;
	bool draining;		  /* a reset waits for running requests */
	bool stopping;		  /* inside of p9_stop() */
	struct loop_work more;	  /* the kick went on for too long */
	atomic_uint msize;	  /* 0: no Tversion yet */
	uint64_t here, by_worker; /* requests: answered on the loop, given to workers */

	struct p9_fids fids;
	struct p9_inos inos;
	atomic_size_t xattr_bytes;

	pthread_mutex_t locks_lock;
	struct list locks, lock_files;
	unsigned lock_cnt;
};

/* One request in a worker. */
struct p9_ctx {
	struct p9 *s;
	struct p9_req *r;
	struct p9_worker *w; /* NULL: on the loop, see p9_here() */
	struct p9_rd in;
	struct p9_wr out; /* the reply from its header on */
	uint32_t payload; /* bytes that the handler put behind it in guest memory itself */
};

/* Runs a metadata request and writes its reply; sets r->reply_len. Worker thread. */
void p9_execute(struct p9_worker *w, struct p9_req *r);
/* Writes Rlerror; sets r->reply_len. */
void p9_reply_error(struct p9_req *r, int err);

/* What the root's own file system holds is answered without waiting, as far as it is cached. */
bool p9_is_local(const struct p9 *s, const struct p9_fid *f);

/* Handlers: 0 with the reply's body in c->out, or -errno. */
int p9_do_attach(struct p9_ctx *c);
int p9_do_walk(struct p9_ctx *c);
int p9_do_clunk(struct p9_ctx *c);
int p9_do_getattr(struct p9_ctx *c);
int p9_do_setattr(struct p9_ctx *c);
int p9_do_statfs(struct p9_ctx *c);
int p9_do_readlink(struct p9_ctx *c);
int p9_do_lopen(struct p9_ctx *c);
int p9_do_lcreate(struct p9_ctx *c);
int p9_do_symlink(struct p9_ctx *c);
int p9_do_mknod(struct p9_ctx *c);
int p9_do_mkdir(struct p9_ctx *c);
int p9_do_link(struct p9_ctx *c);
int p9_do_rename(struct p9_ctx *c);
int p9_do_renameat(struct p9_ctx *c);
int p9_do_unlinkat(struct p9_ctx *c);
int p9_do_remove(struct p9_ctx *c);
int p9_do_readdir(struct p9_ctx *c);
int p9_do_xattrwalk(struct p9_ctx *c);
int p9_do_xattrcreate(struct p9_ctx *c);
int p9_do_lock(struct p9_ctx *c);
int p9_do_getlock(struct p9_ctx *c);
/* Tread, Twrite and Tfsync on what is not an open regular file: attributes, and errors. */
int p9_do_slow_read(struct p9_ctx *c);
int p9_do_slow_write(struct p9_ctx *c);
int p9_do_slow_fsync(struct p9_ctx *c);

/* Sets or removes the attribute of a P9_XATTR_W fid. */
int p9_xattr_commit(struct p9_worker *w, struct p9_fid *f) MUST_CHECK;
void p9_locks_drop(struct p9 *s, const struct p9_fid *f); /* those taken through @f; NULL: all */

/* Whether a guest may set this attribute with these flags. */
bool p9_xattr_may_set(const char *name, uint32_t flags);

/* Snapshots (p9_snap.c); the locks' part: p9_lock.c. */
int p9_save(struct virtio_dev *dev, struct buf *to, struct err *e) MUST_CHECK;
int p9_load(struct virtio_dev *dev, const uint8_t *p, size_t len, struct err *e) MUST_CHECK;
int p9_locks_save(struct p9 *s, struct buf *to) MUST_CHECK;
int p9_locks_load(struct p9 *s, struct p9_rd *in, struct err *e) MUST_CHECK;

/* Opens the inode that @f names once more, for I/O. Only regular files and directories. */
int p9_reopen(struct p9 *s, const struct p9_fid *f, int flags, int *ret_fd) MUST_CHECK;
/*
 * The directory that holds @f and @f's name in it, by /proc and checked against the inode; never above
 * the root. -ENOENT when there is none (any more).
 */
int p9_parent(struct p9 *s, const struct p9_fid *f, int *ret_fd,
	      char name[NAME_MAX + 1]) MUST_CHECK;
/*
 * The path of @f beneath the root, "" for the root itself, checked against the inode. -ENOENT when it has
 * none (any more): @path is then what is known of it, for a sentence.
 */
int p9_path(struct p9 *s, const struct p9_fid *f, char path[PATH_MAX]) MUST_CHECK;
/* What p9_path() has named: an O_PATH descriptor, through no link and never from above the root. */
int p9_open_path(struct p9 *s, const char *path, int *ret_fd) MUST_CHECK;
/*
 * An entry of @dir_fd, never through a link: an O_PATH descriptor. With @cached: -EAGAIN unless the kernel
 * knows it without asking a disk (or that there is none).
 */
int p9_open_entry(int dir_fd, const char *name, bool cached, int *ret_fd) MUST_CHECK;

/*
 * The whole of Tclunk and Tremove's arguments: takes that fid out of the table, and its locks with it. The
 * table's reference becomes the caller's. On the loop also -EAGAIN: a worker's.
 */
int p9_let_go(struct p9_ctx *c, struct p9_fid **ret) MUST_CHECK;

/* Data requests (p9_io.c). Loop thread. True: submitted; false: a matter for a worker. */
bool p9_io_begin(struct p9_req *r);
/* p9.c: pushes the reply (reply_len set) and everything that waited for it. Loop thread. */
void p9_finish(struct p9_req *r);

#define P9_PROC_NAME 16u
/* The name of @fd in /proc/self/fd. */
void p9_proc_name(char dst[P9_PROC_NAME], int fd);

#endif
