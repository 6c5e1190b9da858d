/* SPDX-License-Identifier: Apache-2.0 */
/* D-Bus messages as bytes. See dbus_wire.h. */
#include "runtime/dbus_wire.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OUR_ORDER (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 'l' : 'B')

/* Header fields, "Header Fields" of the specification. */
enum field {
	FIELD_PATH = 1,
	FIELD_INTERFACE = 2,
	FIELD_MEMBER = 3,
	FIELD_ERROR_NAME = 4,
	FIELD_REPLY_SERIAL = 5,
	FIELD_DESTINATION = 6,
	FIELD_SENDER = 7,
	FIELD_SIGNATURE = 8,
};

/* ---- writing --------------------------------------------------------------------------------- */

void dbus_out_free(struct dbus_out *o)
{
	free(o->buf);
	memset(o, 0, sizeof(*o));
}

static void put(struct dbus_out *o, const void *p, size_t n)
{
	if (o->failed)
		return;
	if (n > DBUS_MSG_MAX || o->len + n > DBUS_MSG_MAX) {
		o->failed = true;
		return;
	}
	if (o->len + n > o->cap) {
		size_t cap = MAX(o->cap * 2, o->len + n + 256);
		uint8_t *buf = realloc(o->buf, cap);

		if (!buf) {
			o->failed = true;
			return;
		}
		o->buf = buf;
		o->cap = cap;
	}
	if (n)
		memcpy(o->buf + o->len, p, n);
	o->len += n;
}

void dbus_put_align(struct dbus_out *o, size_t to)
{
	static const uint8_t zero[8];

	put(o, zero, ALIGN_UP(o->len, to) - o->len);
}

void dbus_put_u8(struct dbus_out *o, uint8_t v)
{
	put(o, &v, 1);
}

void dbus_put_u32(struct dbus_out *o, uint32_t v)
{
	dbus_put_align(o, 4);
	put(o, &v, 4);
}

void dbus_put_u64(struct dbus_out *o, uint64_t v)
{
	dbus_put_align(o, 8);
	put(o, &v, 8);
}

void dbus_put_bool(struct dbus_out *o, bool v)
{
	dbus_put_u32(o, v);
}

void dbus_put_str(struct dbus_out *o, const char *s)
{
	size_t n = strlen(s);

	if (n > DBUS_MSG_MAX)
		o->failed = true;
	dbus_put_u32(o, (uint32_t)n);
	put(o, s, n + 1);
}

void dbus_put_sig(struct dbus_out *o, const char *s)
{
	size_t n = strlen(s);

	if (n > UINT8_MAX)
		o->failed = true;
	dbus_put_u8(o, (uint8_t)n);
	put(o, s, n + 1);
}

size_t dbus_array_begin(struct dbus_out *o, size_t align)
{
	size_t mark;

	dbus_put_u32(o, 0);
	mark = o->len;
	dbus_put_align(o, align);
	return mark;
}

/* The length counts neither itself nor the padding before the first element. */
void dbus_array_end(struct dbus_out *o, size_t mark, size_t align)
{
	uint32_t n;

	if (o->failed)
		return;
	n = (uint32_t)(o->len - ALIGN_UP(mark, align));
	memcpy(o->buf + mark - 4, &n, 4);
}

static void put_field(struct dbus_out *o, enum field f, const char *type, const char *v)
{
	if (!v || !*v)
		return;
	dbus_put_align(o, 8);
	dbus_put_u8(o, (uint8_t)f);
	dbus_put_sig(o, type);
	if (*type == 'g')
		dbus_put_sig(o, v);
	else
		dbus_put_str(o, v);
}

void dbus_put_call(struct dbus_out *o, const struct dbus_call *c, size_t body_len)
{
	size_t mark;

	dbus_put_u8(o, OUR_ORDER);
	dbus_put_u8(o, DBUS_CALL);
	dbus_put_u8(o, 0); /* flags */
	dbus_put_u8(o, 1); /* version of the protocol */
	dbus_put_u32(o, (uint32_t)body_len);
	dbus_put_u32(o, c->serial);
	mark = dbus_array_begin(o, 8);
	put_field(o, FIELD_PATH, "o", c->path);
	put_field(o, FIELD_DESTINATION, "s", c->dest);
	put_field(o, FIELD_INTERFACE, "s", c->iface);
	put_field(o, FIELD_MEMBER, "s", c->member);
	put_field(o, FIELD_SIGNATURE, "g", c->sig);
	dbus_array_end(o, mark, 8);
	dbus_put_align(o, 8);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* @n bytes at an offset that is a multiple of @align; NULL and failed when they are not there. */
static const uint8_t *take(struct dbus_in *in, size_t n, size_t align)
{
	size_t at;

	if (in->failed)
		return NULL;
	at = ALIGN_UP(in->off, align);
	if (at > in->len || n > in->len - at) {
		in->failed = true;
		return NULL;
	}
	in->off = at + n;
	return in->p + at;
}

uint8_t dbus_get_u8(struct dbus_in *in)
{
	const uint8_t *p = take(in, 1, 1);

	return p ? *p : 0;
}

uint32_t dbus_get_u32(struct dbus_in *in)
{
	const uint8_t *p = take(in, 4, 4);
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, 4);
	return in->swap ? __builtin_bswap32(v) : v;
}

uint64_t dbus_get_u64(struct dbus_in *in)
{
	const uint8_t *p = take(in, 8, 8);
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, 8);
	return in->swap ? __builtin_bswap64(v) : v;
}

static const char *get_text(struct dbus_in *in, size_t n)
{
	const uint8_t *p = n < in->len ? take(in, n + 1, 1) : NULL;

	if (!p || p[n] || strlen((const char *)p) != n) {
		in->failed = true;
		return "";
	}
	return (const char *)p;
}

const char *dbus_get_str(struct dbus_in *in)
{
	return get_text(in, dbus_get_u32(in));
}

const char *dbus_get_sig(struct dbus_in *in)
{
	return get_text(in, dbus_get_u8(in));
}

/* Bytes that a type is aligned to; 0 = no type of the protocol. */
static size_t alignment(char t)
{
	switch (t) {
	case 'y':
	case 'g':
	case 'v':
		return 1;
	case 'n':
	case 'q':
		return 2;
	case 'b':
	case 'i':
	case 'u':
	case 'h':
	case 's':
	case 'o':
	case 'a':
		return 4;
	case 'x':
	case 't':
	case 'd':
	case '(':
	case '{':
		return 8;
	default:
		return 0;
	}
}

/* Moves *@sig past one complete type without a value: what an empty array has. */
static bool skip_type(const char **sig, unsigned depth)
{
	char t = **sig, close = t == '(' ? ')' : '}';

	if (!alignment(t) || depth > DBUS_DEPTH_MAX)
		return false;
	(*sig)++;
	if (t == 'a')
		return skip_type(sig, depth + 1);
	if (t != '(' && t != '{')
		return true;
	do {
		if (!skip_type(sig, depth + 1))
			return false;
	} while (**sig != close);
	(*sig)++;
	return true;
}

static void skip_array(struct dbus_in *in, const char **sig, unsigned depth)
{
	uint32_t n = dbus_get_u32(in);
	size_t align = alignment(**sig), end;
	const char *element = *sig;

	if (!align || !skip_type(sig, depth + 1)) {
		in->failed = true;
		return;
	}
	(void)take(in, 0, align);
	if (in->failed || n > in->len - in->off) {
		in->failed = true;
		return;
	}
	/* Every type takes a byte at least, so this ends. */
	end = in->off + n;
	while (!in->failed && in->off < end) {
		const char *one = element;

		dbus_skip(in, &one, depth + 1);
	}
	if (in->off != end)
		in->failed = true;
}

void dbus_skip(struct dbus_in *in, const char **sig, unsigned depth)
{
	char t = **sig;
	size_t align = alignment(t);

	if (!align || depth > DBUS_DEPTH_MAX)
		in->failed = true;
	if (in->failed)
		return;
	(*sig)++;
	switch (t) {
	case 's':
	case 'o':
		(void)dbus_get_str(in);
		break;
	case 'g':
		(void)dbus_get_sig(in);
		break;
	case 'v': {
		const char *inner = dbus_get_sig(in);

		dbus_skip(in, &inner, depth + 1);
		in->failed |= *inner != '\0';
		break;
	}
	case 'a':
		skip_array(in, sig, depth);
		break;
	case '(':
	case '{':
		(void)take(in, 0, 8);
		do {
			dbus_skip(in, sig, depth + 1);
		} while (!in->failed && **sig != (t == '(' ? ')' : '}'));
		if (!in->failed)
			(*sig)++;
		break;
	default:
		(void)take(in, align, align);
		break;
	}
}

int dbus_msg_len(const uint8_t *head, size_t *ret)
{
	struct dbus_in in = {.p = head, .len = DBUS_HEAD_LEN};
	uint32_t body, fields;

	if ((head[0] != 'l' && head[0] != 'B') || head[3] != 1)
		return -EPROTO;
	in.swap = head[0] != OUR_ORDER;
	in.off = 4;
	body = dbus_get_u32(&in);
	in.off = 12;
	fields = dbus_get_u32(&in);
	if (body > DBUS_MSG_MAX || fields > DBUS_MSG_MAX)
		return -EPROTO;
	*ret = ALIGN_UP((size_t)DBUS_HEAD_LEN + fields, 8) + body;
	return *ret <= DBUS_MSG_MAX ? 0 : -EPROTO;
}

static void get_field(struct dbus_in *in, struct dbus_msg *m)
{
	uint8_t code = dbus_get_u8(in);
	const char *sig = dbus_get_sig(in), *want = "s";
	const char **to = NULL;

	switch (code) {
	case FIELD_PATH:
		want = "o";
		to = &m->path;
		break;
	case FIELD_INTERFACE:
		to = &m->iface;
		break;
	case FIELD_MEMBER:
		to = &m->member;
		break;
	case FIELD_ERROR_NAME:
		to = &m->error;
		break;
	case FIELD_SENDER:
		to = &m->sender;
		break;
	case FIELD_SIGNATURE:
		want = "g";
		to = &m->sig;
		break;
	case FIELD_REPLY_SERIAL:
		in->failed |= strcmp(sig, "u") != 0;
		m->reply_serial = dbus_get_u32(in);
		return;
	default:
		dbus_skip(in, &sig, 0);
		in->failed |= *sig != '\0';
		return;
	}
	in->failed |= strcmp(sig, want) != 0;
	*to = *want == 'g' ? dbus_get_sig(in) : dbus_get_str(in);
}

int dbus_msg_parse(struct dbus_msg *ret, const uint8_t *p, size_t len)
{
	struct dbus_in in = {.p = p};
	uint32_t body, fields;
	size_t want = 0;

	memset(ret, 0, sizeof(*ret));
	if (len < DBUS_HEAD_LEN || dbus_msg_len(p, &want) < 0 || want != len)
		return -EPROTO;
	in.swap = p[0] != OUR_ORDER;
	in.len = DBUS_HEAD_LEN;
	ret->type = p[1];
	in.off = 4;
	body = dbus_get_u32(&in);
	ret->serial = dbus_get_u32(&in);
	fields = dbus_get_u32(&in);
	in.len += fields;
	while (!in.failed && in.off < in.len) {
		(void)take(&in, 0, 8);
		get_field(&in, ret);
	}
	if (in.failed || !ret->serial)
		return -EPROTO;
	/* Offsets of the body count from the message's start, which is as good: it is aligned. */
	ret->body = (struct dbus_in){.p = p + (len - body), .len = body, .swap = in.swap};
	return 0;
}
