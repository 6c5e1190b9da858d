/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link between the sandbox process and the agent: one control channel and one I/O channel, two
 * virtio-console ports. Both ends use this state machine; it does no I/O: bytes in, bytes out.
 *
 * Control frame, big-endian: u32 code | u32 length incl. header | u32 request id | u32 zero | JSON
 *   Codes are those of hyperstart where one exists. A request has an id of the host's choice (not
 *   0); its reply is ACK or ERROR with the same id, in any order. ERROR carries {"message": text,
 *   "status": exit status for the caller}. Id 0 is for what nobody asked for (READY, events).
 * I/O frame, big-endian: u64 stream | u8 type | u8[3] zero | u32 payload length | payload
 *   A process has two stream numbers: base for stdin (to the guest) and stdout (from it), base + 1
 *   for stderr. EXIT comes on the base after everything that the process wrote before it ended.
 *
 * Handshake: the agent sends READY {"protocol":{"min":1,"max":1},"version":…}; the host sends
 * VERSION {"protocol":n}; the agent ACKs. Requests before that are a violation.
 *
 * Credits count bytes at the final descriptor: per stream and direction the sender may have
 * LINK_WINDOW bytes on their way; the receiver returns them (link_consumed) once they are written
 * to where they belong. So one stalled reader stalls its own stream and no other, and control
 * frames have a channel of their own.
 *
 * The two channels keep no order between each other. So the host sends stdin after the ACK of the
 * request that starts the process, and must be ready for output and even EXIT before that ACK.
 *
 * A peer that breaks the protocol gets broken() once and nothing after it. One thread. Inside of a
 * callback everything may be called but link_free() and the two link_*_input().
 */
#ifndef HUSK_MUX_LINK_H
#define HUSK_MUX_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"

#define LINK_PORT_CTL	 "husk.ctl" /* virtio-console port names */
#define LINK_PORT_IO	 "husk.io"

#define LINK_PROTOCOL	 1u	      /* the one version there is */
#define LINK_CTL_MAX	 (16u << 20)  /* bytes of one control frame */
#define LINK_WINDOW	 (256u << 10) /* bytes per stream and direction */
#define LINK_IO_MAX	 (64u << 10)  /* payload of one I/O frame */
#define LINK_STREAMS_MAX 8192u

enum link_cmd {
	LINK_VERSION = 0,
	LINK_STARTPOD = 1,
	LINK_DESTROYPOD = 4,
	LINK_EXECCMD = 6,
	LINK_READY = 8,
	LINK_ACK = 9,
	LINK_ERROR = 10,
	LINK_WINSIZE = 11,
	LINK_PING = 12,
	LINK_NEWCONTAINER = 17,
	LINK_KILLCONTAINER = 18,
	LINK_ONLINECPUMEM = 19,
	LINK_SETUPINTERFACE = 20,
	LINK_REMOVECONTAINER = 22,
	LINK_PSCONTAINER = 23,
	LINK_EVENT = 24,
	/* Not in hyperstart. */
	LINK_PAUSECONTAINER = 32,
	LINK_RESUMECONTAINER = 33,
	LINK_UPDATECONTAINER = 34,
	LINK_STATSCONTAINER = 35,
	LINK_STARTCONTAINER = 36,
	LINK_DNSANSWER = 40,
	LINK_DIAL = 41,
};

enum link_side { LINK_HOST, LINK_AGENT };

struct link_ops {
	/* Handshake done. @json is the other side's announcement (READY's on the host). */
	void (*up)(void *ctx, const char *json, size_t len);
	/* Agent: a request to be answered with link_reply(). @json is NUL-terminated. */
	void (*request)(void *ctx, uint32_t id, uint32_t cmd, const char *json, size_t len);
	/* Host: the answer to link_request(), once for each. @json is NUL-terminated. */
	void (*reply)(void *ctx, uint32_t id, bool ok, const char *json, size_t len);
	/* Host: LINK_EVENT. Optional. */
	void (*event)(void *ctx, const char *json, size_t len);

	/*
	 * Payload of an open stream, in pieces as it arrives. The callee keeps or writes all of it
	 * (never more than LINK_WINDOW outstanding) and says link_consumed() when it is at its
	 * destination.
	 */
	void (*data)(void *ctx, uint64_t stream, const void *buf, size_t len);
	void (*eof)(void *ctx, uint64_t stream);
	/* The other side reads no more of what we send here (its descriptor is gone). */
	void (*closed)(void *ctx, uint64_t stream);
	/* link_send() took less than offered before; now it would take more. */
	void (*writable)(void *ctx, uint64_t stream);
	/*
	 * Host: the process of this base stream, which is open here, ended; code, or 128 + signal.
	 * Once. No data() of the stream, nor of the next number, comes after it. The agent says
	 * which stream, so the callee looks whether it is a base.
	 */
	void (*exited)(void *ctx, uint64_t stream, uint32_t status);

	void (*broken)(void *ctx, const char *why);
};

struct link;

/* NULL when out of memory. @ops and @ctx outlive the link. */
struct link *link_new(enum link_side side, const struct link_ops *ops, void *ctx);
void link_free(struct link *l);
bool link_is_up(const struct link *l);

/* Bytes that came from a channel. Callbacks run inside; they must not free the link. */
void link_ctl_input(struct link *l, const void *buf, size_t len);
void link_io_input(struct link *l, const void *buf, size_t len);
/* Bytes to write: a contiguous run (len 0 = nothing), and how many of them have been written. */
const void *link_ctl_output(struct link *l, size_t *len);
void link_ctl_sent(struct link *l, size_t len);
const void *link_io_output(struct link *l, size_t *len);
void link_io_sent(struct link *l, size_t len);

/* Agent, once, when it is ready to serve. -ENOTCONN when the link has broken before. */
int link_announce(struct link *l, const char *json) MUST_CHECK;
/*
 * Host. Returns the request's id in @ret_id; 0, -ENOTCONN before up(), -EMSGSIZE, -ENOMEM, -ENOBUFS
 * when the agent takes no requests or has left too many unanswered.
 */
int link_request(struct link *l, uint32_t cmd, const char *json, uint32_t *ret_id) MUST_CHECK;
/* Agent: the answer. @json may be NULL for an empty one. */
int link_reply(struct link *l, uint32_t id, bool ok, const char *json) MUST_CHECK;
/* Agent: something that nobody asked for. */
int link_event(struct link *l, const char *json) MUST_CHECK;

/* Both sides open a stream number before data may flow; the host before it sends the request. */
int link_open(struct link *l, uint64_t stream) MUST_CHECK;
void link_close(struct link *l, uint64_t stream); /* forgets it; late frames are dropped */
/*
 * Takes as much as credit and buffers allow; returns how much. After less: writable() follows, or
 * closed() has come. Nothing is taken after link_send_eof().
 */
size_t link_send(struct link *l, uint64_t stream, const void *buf, size_t len);
size_t link_send_room(struct link *l, uint64_t stream); /* what link_send() would take now */
void link_send_eof(struct link *l, uint64_t stream);
void link_send_closed(struct link *l, uint64_t stream); /* we read no more of this stream */
void link_send_exit(struct link *l, uint64_t stream, uint32_t status); /* agent */
void link_consumed(struct link *l, uint64_t stream, size_t len);

#endif
