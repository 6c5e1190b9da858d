/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages of D-Bus as bytes (D-Bus Specification, "Message Protocol"): a writer for what we send
 * and a reader, bounds-checked, for what anybody may have written. No I/O and no state beyond the
 * structures; dbus.c talks.
 *
 * Both kinds keep the first failure and do nothing after it, so that callers look once at the end.
 */
#ifndef HUSK_RUNTIME_DBUS_WIRE_H
#define HUSK_RUNTIME_DBUS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"

#define DBUS_MSG_MAX   (1u << 20) /* ours; the protocol's is 128 MiB */
#define DBUS_HEAD_LEN  16u	  /* after which a message's length is known */
#define DBUS_DEPTH_MAX 16u	  /* of containers in what is skipped; the protocol's is 64 */

enum dbus_type { DBUS_CALL = 1, DBUS_RETURN = 2, DBUS_ERROR = 3, DBUS_SIGNAL = 4 };

/* ---- writing --------------------------------------------------------------------------------- */

struct dbus_out {
	uint8_t *buf; /* malloc'd; dbus_out_free() */
	size_t len, cap;
	bool failed; /* out of memory or larger than DBUS_MSG_MAX */
};

void dbus_out_free(struct dbus_out *o);
void dbus_put_align(struct dbus_out *o, size_t to);
void dbus_put_u8(struct dbus_out *o, uint8_t v);
void dbus_put_u32(struct dbus_out *o, uint32_t v);
void dbus_put_u64(struct dbus_out *o, uint64_t v);
void dbus_put_bool(struct dbus_out *o, bool v);
void dbus_put_str(struct dbus_out *o, const char *s); /* string and object path */
void dbus_put_sig(struct dbus_out *o, const char *s);
/* An array whose elements are aligned to @align bytes; returns what dbus_array_end() wants. */
size_t dbus_array_begin(struct dbus_out *o, size_t align);
void dbus_array_end(struct dbus_out *o, size_t mark, size_t align);

/* A method call's header, for a body of @body_len bytes; the body follows, aligned to 8. */
struct dbus_call {
	uint32_t serial; /* not 0 */
	const char *dest, *path, *iface, *member;
	const char *sig; /* of the body; "" = none */
};
void dbus_put_call(struct dbus_out *o, const struct dbus_call *c, size_t body_len);

/* ---- reading --------------------------------------------------------------------------------- */

struct dbus_in {
	const uint8_t *p;
	size_t len, off;
	bool swap; /* the other byte order */
	bool failed;
};

uint8_t dbus_get_u8(struct dbus_in *in);
uint32_t dbus_get_u32(struct dbus_in *in);
uint64_t dbus_get_u64(struct dbus_in *in);
/* A string or object path without NUL bytes inside; it lies in the message. "" after a failure. */
const char *dbus_get_str(struct dbus_in *in);
const char *dbus_get_sig(struct dbus_in *in);
/* One complete type of *@sig, which it moves on: any type of the protocol. */
void dbus_skip(struct dbus_in *in, const char **sig, unsigned depth);

struct dbus_msg {
	uint8_t type;
	uint32_t serial, reply_serial;
	const char *path, *iface, *member, *error, *sender, *sig; /* NULL = not there */
	struct dbus_in body;
};

/*
 * The length of the message that begins with these DBUS_HEAD_LEN bytes, or -EPROTO when they begin
 * none or one larger than DBUS_MSG_MAX.
 */
int dbus_msg_len(const uint8_t *head, size_t *ret) MUST_CHECK;
/* A whole message of @len bytes. Strings point into it. -EPROTO for what is none. */
int dbus_msg_parse(struct dbus_msg *ret, const uint8_t *p, size_t len) MUST_CHECK;

#endif
