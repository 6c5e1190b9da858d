/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 9P2000.L client on a fake guest, for tests: one request at a time, or raw bytes.
 *
 *	struct p9c *c = p9c_new(dir, false);
 *	p9c_u32(c, fid); p9c_u64(c, mask);              // the body of a request
 *	cr_assert_eq(p9c_call(c, P9_TGETATTR), 0);      // 0 or -errno of Rlerror
 *	... p9c_r64(c)                                  // the body of the reply
 */
#ifndef HUSK_TESTS_LIB_P9_CLIENT_H
#define HUSK_TESTS_LIB_P9_CLIENT_H

#include "tests/lib/fake_guest.h"
#include "virtio/p9.h"

#define P9C_BUF (1u << 16)

struct p9c {
	struct fg *g;
	struct loop *loop;
	struct virtio_dev *dev;
	uint64_t tbuf, rbuf; /* guest addresses */
	uint8_t t[P9C_BUF], r[P9C_BUF];
	size_t t_len, r_len, r_at;
	uint8_t r_type;
	uint16_t tag;
};

/* A directory of the test's own under /tmp: made, its name, a path in it (one of the last four), a file. */
void p9t_begin(void);
const char *p9t_dir(void);
const char *p9t_at(const char *name);
void p9t_put(const char *name, const char *text);
void p9t_end(void); /* with all that is in it */

/* Serves @dir; negotiates and attaches fid 0 as root when @session. */
struct p9c *p9c_new(const char *dir, bool readonly, bool session);
void p9c_free(struct p9c *c);
/* A device alone, as p9c_new() has it. */
struct virtio_dev *p9c_device(const char *dir, bool readonly);
/*
 * Gives the device up, moves the guest to other addresses, and loads what fg_save() has returned into @to.
 * After a failure only p9c_free() is possible.
 */
int p9c_move(struct p9c *c, struct virtio_dev *to, const struct buf *b, struct err *e);

void p9c_u8(struct p9c *c, uint8_t v);
void p9c_u16(struct p9c *c, uint16_t v);
void p9c_u32(struct p9c *c, uint32_t v);
void p9c_u64(struct p9c *c, uint64_t v);
void p9c_bytes(struct p9c *c, const void *p, size_t len);
void p9c_str(struct p9c *c, const char *s);

/* Sends what was put as a message of @type; the reply's body is read with p9c_r*. 0 or -errno. */
int p9c_call(struct p9c *c, uint8_t type);
/* Sends @len raw bytes with room for a reply of @room. Bytes of the reply, or -1 when none comes. */
int p9c_raw(struct p9c *c, const void *msg, size_t len, size_t room);
/* Puts the message in the ring without waiting; returns its head. */
uint16_t p9c_post(struct p9c *c, uint8_t type, uint16_t tag, uint64_t *ret_rbuf);

uint8_t p9c_r8(struct p9c *c);
uint16_t p9c_r16(struct p9c *c);
uint32_t p9c_r32(struct p9c *c);
uint64_t p9c_r64(struct p9c *c);
void p9c_rstr(struct p9c *c, char *dst, size_t cap);
void p9c_rqid(struct p9c *c, struct p9_qid *q);

int p9c_version(struct p9c *c, uint32_t msize, const char *version);
int p9c_attach(struct p9c *c, uint32_t fid, uint32_t uid, const char *aname);
/* Walks @path, names divided by '/', "" for a clone. 0, -errno, or 1 when only a part was found. */
int p9c_walk(struct p9c *c, uint32_t fid, uint32_t newfid, const char *path);
int p9c_open(struct p9c *c, uint32_t fid, uint32_t flags);
int p9c_create(struct p9c *c, uint32_t fid, const char *name, uint32_t flags, uint32_t mode,
	       uint32_t gid);
/* Tlock or Tgetlock of the client "client": the status or the type of what is in the way, or -errno. */
int p9c_lock(struct p9c *c, uint8_t call, uint32_t fid, uint8_t type, uint64_t start, uint64_t len,
	     uint32_t proc);
int p9c_clunk(struct p9c *c, uint32_t fid);
int p9c_read(struct p9c *c, uint32_t fid, uint64_t off, void *buf, uint32_t len);
int p9c_write(struct p9c *c, uint32_t fid, uint64_t off, const void *buf, uint32_t len);

#endif
