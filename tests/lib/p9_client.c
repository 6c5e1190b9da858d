/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See p9_client.h. Written from the protocol's description, not with the server's encoder.
 */
#include "tests/lib/p9_client.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/snap.h"

static void die(const char *why)
{
	(void)fprintf(stderr, "9p client: %s\n", why);
	abort();
}

static char top[32];

void p9t_begin(void)
{
	(void)snprintf(top, sizeof(top), "/tmp/husk-p9-XXXXXX");
	if (!mkdtemp(top))
		die("no directory");
}

const char *p9t_dir(void)
{
	return top;
}

const char *p9t_at(const char *name)
{
	static char path[4][512];
	static unsigned i;

	i = (i + 1) % 4;
	(void)snprintf(path[i], sizeof(path[i]), "%s/%s", top, name);
	return path[i];
}

void p9t_put(const char *name, const char *text)
{
	FILE *f = fopen(p9t_at(name), "w");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		die(name);
}

void p9t_end(void)
{
	char cmd[64];

	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
	if (system(cmd) != 0)
		die(cmd);
}

struct virtio_dev *p9c_device(const char *dir, bool readonly)
{
	struct virtio_dev *dev = NULL;
	struct err e = {0};
	struct p9_config cfg = {.root_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC),
				.proc_fd = -1,
				.tag = "root",
				.on_loop = true,
				.readonly = readonly,
				.workers = 2};

	if (cfg.root_fd < 0)
		die("no such directory");
	if (p9_new(&dev, "9p0", &cfg, &e) < 0)
		die(e.msg);
	return dev;
}

struct p9c *p9c_new(const char *dir, bool readonly, bool session)
{
	struct p9c *c = calloc(1, sizeof(*c));
	struct err e = {0};

	if (!c)
		die("no memory");
	if (loop_new(&c->loop, 64, &e) < 0)
		die(e.msg);
	c->dev = p9c_device(dir, readonly);
	c->g = fg_new(4u << 20, 0);
	fg_plug(c->g, c->dev, c->loop);
	if (fg_start(c->g, FG_ALL) < 0)
		die("features");
	c->tbuf = fg_alloc(c->g, P9C_BUF, 8);
	c->rbuf = fg_alloc(c->g, P9C_BUF, 8);
	if (session && (p9c_version(c, P9C_BUF, "9P2000.L") < 0 || p9c_attach(c, 0, 0, "") < 0))
		die("no session");
	return c;
}

int p9c_move(struct p9c *c, struct virtio_dev *to, const struct buf *b, struct err *e)
{
	struct snap_rd r = {b->data, b->len};
	struct fg *copy = fg_copy(c->g);
	int rc;

	fg_shut(c->g, c->dev);
	fg_free(c->g);
	c->g = copy;
	c->dev = to;
	fg_plug(c->g, c->dev, c->loop);
	rc = virtio_load(c->dev, &r, e);
	if (rc == 0)
		virtio_thaw(c->dev);
	return rc;
}

void p9c_free(struct p9c *c)
{
	fg_shut(c->g, c->dev);
	loop_free(c->loop);
	fg_free(c->g);
	free(c);
}

void p9c_bytes(struct p9c *c, const void *p, size_t len)
{
	if (len > P9C_BUF - P9_HDR - c->t_len)
		die("message too long");
	memcpy(c->t + P9_HDR + c->t_len, p, len);
	c->t_len += len;
}

static void put_int(struct p9c *c, uint64_t v, unsigned len)
{
	for (unsigned i = 0; i < len; i++) {
		uint8_t b = (uint8_t)(v >> (8 * i));

		p9c_bytes(c, &b, 1);
	}
}

void p9c_u8(struct p9c *c, uint8_t v)
{
	put_int(c, v, 1);
}

void p9c_u16(struct p9c *c, uint16_t v)
{
	put_int(c, v, 2);
}

void p9c_u32(struct p9c *c, uint32_t v)
{
	put_int(c, v, 4);
}

void p9c_u64(struct p9c *c, uint64_t v)
{
	put_int(c, v, 8);
}

void p9c_str(struct p9c *c, const char *s)
{
	p9c_u16(c, (uint16_t)strlen(s));
	p9c_bytes(c, s, strlen(s));
}

static size_t seal(struct p9c *c, uint8_t type, uint16_t tag)
{
	size_t len = P9_HDR + c->t_len;

	c->t_len = 0;
	for (unsigned i = 0; i < 4; i++)
		c->t[i] = (uint8_t)(len >> (8 * i));
	c->t[4] = type;
	c->t[5] = (uint8_t)tag;
	c->t[6] = (uint8_t)(tag >> 8);
	return len;
}

uint16_t p9c_post(struct p9c *c, uint8_t type, uint16_t tag, uint64_t *ret_rbuf)
{
	uint32_t len = (uint32_t)seal(c, type, tag);
	uint64_t t = fg_bytes(c->g, c->t, len);

	*ret_rbuf = fg_alloc(c->g, 8192, 8);
	return fg_add(fg_q(c->g, 0), (struct fg_buf[]){{t, len, false}, {*ret_rbuf, 8192, true}}, 2,
		      0);
}

int p9c_raw(struct p9c *c, const void *msg, size_t len, size_t room)
{
	struct fg_queue *q = fg_q(c->g, 0);
	uint32_t written = 0;

	memset(c->r, 0xee, room);
	fg_put(c->g, c->tbuf, msg, len);
	fg_put(c->g, c->rbuf, c->r, room);
	(void)fg_add(
	    q, (struct fg_buf[]){{c->tbuf, (uint32_t)len, false}, {c->rbuf, (uint32_t)room, true}},
	    room ? 2 : 1, 0);
	(void)fg_kick(q);
	if (fg_reg(c->g, 0x70) & VIRTIO_S_NEEDS_RESET)
		return -1;
	if (fg_take_wait(q, &written) < 0)
		return -1;
	if (written > room)
		die("more written than there is room");
	fg_get(c->g, c->rbuf, c->r, room);
	return (int)written;
}

int p9c_call(struct p9c *c, uint8_t type)
{
	uint16_t tag = ++c->tag;
	size_t len = seal(c, type, tag);
	int n = p9c_raw(c, c->t, len, P9C_BUF);

	if (n < (int)P9_HDR)
		die("no reply");
	c->r_len = (size_t)n;
	c->r_at = 0;
	if (p9c_r32(c) != (uint32_t)n)
		die("the reply's size is not what was written");
	c->r_type = p9c_r8(c);
	if (p9c_r16(c) != tag)
		die("another request's tag");
	if (c->r_type == P9_RLERROR)
		return -(int)p9c_r32(c);
	if (c->r_type != type + 1)
		die("a reply of another type");
	return 0;
}

static uint64_t get_int(struct p9c *c, unsigned len)
{
	uint64_t v = 0;

	if (len > c->r_len - c->r_at)
		die("the reply is short");
	for (unsigned i = 0; i < len; i++)
		v |= (uint64_t)c->r[c->r_at++] << (8 * i);
	return v;
}

uint8_t p9c_r8(struct p9c *c)
{
	return (uint8_t)get_int(c, 1);
}

uint16_t p9c_r16(struct p9c *c)
{
	return (uint16_t)get_int(c, 2);
}

uint32_t p9c_r32(struct p9c *c)
{
	return (uint32_t)get_int(c, 4);
}

uint64_t p9c_r64(struct p9c *c)
{
	return get_int(c, 8);
}

void p9c_rstr(struct p9c *c, char *dst, size_t cap)
{
	size_t len = p9c_r16(c);

	if (len >= cap || len > c->r_len - c->r_at)
		die("a long string");
	memcpy(dst, c->r + c->r_at, len);
	dst[len] = 0;
	c->r_at += len;
}

void p9c_rqid(struct p9c *c, struct p9_qid *q)
{
	q->type = p9c_r8(c);
	q->version = p9c_r32(c);
	q->path = p9c_r64(c);
}

int p9c_version(struct p9c *c, uint32_t msize, const char *version)
{
	p9c_u32(c, msize);
	p9c_str(c, version);
	return p9c_call(c, P9_TVERSION);
}

int p9c_attach(struct p9c *c, uint32_t fid, uint32_t uid, const char *aname)
{
	p9c_u32(c, fid);
	p9c_u32(c, P9_NOFID);
	p9c_str(c, "");
	p9c_str(c, aname);
	p9c_u32(c, uid);
	return p9c_call(c, P9_TATTACH);
}

int p9c_walk(struct p9c *c, uint32_t fid, uint32_t newfid, const char *path)
{
	char copy[8192], *save = NULL;
	uint16_t cnt = 0;
	int rc;

	for (int pass = 0; pass < 2; pass++) {
		(void)snprintf(copy, sizeof(copy), "%s", path);
		if (pass) {
			p9c_u32(c, fid);
			p9c_u32(c, newfid);
			p9c_u16(c, cnt);
		}
		for (char *s = strtok_r(copy, "/", &save); s; s = strtok_r(NULL, "/", &save)) {
			if (pass)
				p9c_str(c, s);
			else
				cnt++;
		}
	}
	rc = p9c_call(c, P9_TWALK);
	return rc < 0 ? rc : p9c_r16(c) == cnt ? 0 : 1;
}

int p9c_open(struct p9c *c, uint32_t fid, uint32_t flags)
{
	p9c_u32(c, fid);
	p9c_u32(c, flags);
	return p9c_call(c, P9_TLOPEN);
}

int p9c_create(struct p9c *c, uint32_t fid, const char *name, uint32_t flags, uint32_t mode,
	       uint32_t gid)
{
	p9c_u32(c, fid);
	p9c_str(c, name);
	p9c_u32(c, flags);
	p9c_u32(c, mode);
	p9c_u32(c, gid);
	return p9c_call(c, P9_TLCREATE);
}

int p9c_lock(struct p9c *c, uint8_t call, uint32_t fid, uint8_t type, uint64_t start, uint64_t len,
	     uint32_t proc)
{
	int rc;

	p9c_u32(c, fid);
	p9c_u8(c, type);
	if (call == P9_TLOCK)
		p9c_u32(c, 0);
	p9c_u64(c, start);
	p9c_u64(c, len);
	p9c_u32(c, proc);
	p9c_str(c, "client");
	rc = p9c_call(c, call);
	return rc < 0 ? rc : p9c_r8(c);
}

int p9c_clunk(struct p9c *c, uint32_t fid)
{
	p9c_u32(c, fid);
	return p9c_call(c, P9_TCLUNK);
}

int p9c_read(struct p9c *c, uint32_t fid, uint64_t off, void *buf, uint32_t len)
{
	uint32_t n;
	int rc;

	p9c_u32(c, fid);
	p9c_u64(c, off);
	p9c_u32(c, len);
	rc = p9c_call(c, P9_TREAD);
	if (rc < 0)
		return rc;
	n = p9c_r32(c);
	if (n > len || n != c->r_len - c->r_at)
		die("a count that is not there");
	memcpy(buf, c->r + c->r_at, n);
	return (int)n;
}

int p9c_write(struct p9c *c, uint32_t fid, uint64_t off, const void *buf, uint32_t len)
{
	int rc;

	p9c_u32(c, fid);
	p9c_u64(c, off);
	p9c_u32(c, len);
	p9c_bytes(c, buf, len);
	rc = p9c_call(c, P9_TWRITE);
	return rc < 0 ? rc : (int)p9c_r32(c);
}
