/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p messages: little-endian integers, counted strings, qids. No state; any thread.
 *
 * Cursors work on private memory only. They remember the first fault, so that handlers read all
 * arguments in a row and test once.
 */
#include "virtio/p9.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/endian.h"

static const uint8_t *take(struct p9_rd *r, size_t len)
{
	const uint8_t *p = r->p;

	if (r->err)
		return NULL;
	if (len > r->left) {
		r->err = -EPROTO;
		return NULL;
	}
	r->p += len;
	r->left -= len;
	return p;
}

uint8_t p9_get8(struct p9_rd *r)
{
	const uint8_t *p = take(r, 1);

	return p ? *p : 0;
}

uint16_t p9_get16(struct p9_rd *r)
{
	const uint8_t *p = take(r, sizeof(le16_t));
	le16_t v = {0};

	if (p)
		memcpy(&v, p, sizeof(v));
	return le16_get(v);
}

uint32_t p9_get32(struct p9_rd *r)
{
	const uint8_t *p = take(r, sizeof(le32_t));
	le32_t v = {0};

	if (p)
		memcpy(&v, p, sizeof(v));
	return le32_get(v);
}

uint64_t p9_get64(struct p9_rd *r)
{
	const uint8_t *p = take(r, sizeof(le64_t));
	le64_t v = {0};

	if (p)
		memcpy(&v, p, sizeof(v));
	return le64_get(v);
}

void p9_get_str(struct p9_rd *r, char *dst, size_t cap)
{
	uint16_t len = p9_get16(r);
	const uint8_t *p = take(r, len);

	dst[0] = 0;
	if (!p)
		return;
	if (memchr(p, 0, len)) {
		r->err = -EINVAL;
		return;
	}
	if (len >= cap) {
		r->err = -ENAMETOOLONG;
		return;
	}
	memcpy(dst, p, len);
	dst[len] = 0;
}

int p9_name_check(const char *name)
{
	if (!name[0] || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
		return -EINVAL;
	return strlen(name) > NAME_MAX ? -ENAMETOOLONG : 0;
}

void p9_get_name(struct p9_rd *r, char dst[NAME_MAX + 1])
{
	p9_get_str(r, dst, NAME_MAX + 1);
	if (!r->err)
		r->err = p9_name_check(dst);
}

int p9_get_end(struct p9_rd *r)
{
	if (!r->err && r->left)
		r->err = -EPROTO;
	return r->err;
}

void p9_put_bytes(struct p9_wr *w, const void *p, size_t len)
{
	if (w->full || len > w->cap - w->len) {
		w->full = true;
		return;
	}
	memcpy(w->buf + w->len, p, len);
	w->len += len;
}

void p9_put8(struct p9_wr *w, uint8_t v)
{
	p9_put_bytes(w, &v, sizeof(v));
}

void p9_put16(struct p9_wr *w, uint16_t v)
{
	le16_t l = le16_of(v);

	p9_put_bytes(w, &l, sizeof(l));
}

void p9_put32(struct p9_wr *w, uint32_t v)
{
	le32_t l = le32_of(v);

	p9_put_bytes(w, &l, sizeof(l));
}

void p9_put64(struct p9_wr *w, uint64_t v)
{
	le64_t l = le64_of(v);

	p9_put_bytes(w, &l, sizeof(l));
}

void p9_put_str(struct p9_wr *w, const char *s)
{
	size_t len = strlen(s);

	if (len > UINT16_MAX) {
		w->full = true;
		return;
	}
	p9_put16(w, (uint16_t)len);
	p9_put_bytes(w, s, len);
}

void p9_put_qid(struct p9_wr *w, const struct p9_qid *q)
{
	p9_put8(w, q->type);
	p9_put32(w, q->version);
	p9_put64(w, q->path);
}

void p9_proc_name(char dst[P9_PROC_NAME], int fd)
{
	(void)snprintf(dst, P9_PROC_NAME, "%d", fd);
}
