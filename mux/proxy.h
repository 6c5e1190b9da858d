/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy protocol of Clear Containers, version 2, as a state machine for the server's side, and
 * the codec that both sides share. No I/O: bytes in, bytes out, time as an argument.
 *
 * Frame, big-endian: u16 version (2) | u8 header length in words (>= 3) | u8[3] zero |
 *   u8 flags (0x10 = error) and type | u8 opcode | u32 payload length | payload.
 *
 * One server is one sandbox. Clients attach (AttachVM), run agent commands (Hyper), or act as a
 * shim of one process by a token (ConnectShim: stdin, stdout, stderr, signals, exit). husk's own
 * clients use PROXY_HUSK, a JSON command that may come with file descriptors; the carrier collects
 * those and asks for them when the command is delivered. RegisterVM and UnregisterVM are refused by
 * name here.
 */
#ifndef HUSK_MUX_PROXY_H
#define HUSK_MUX_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/compiler.h"

#define PROXY_VERSION	  2u
#define PROXY_HEADER_LEN  12u
#define PROXY_PAYLOAD_MAX (16u << 20)	 /* ours; the protocol allows 4 GiB */
#define PROXY_TOKEN_LEN	  44u		 /* 32 random bytes, base64url with padding */
#define PROXY_HOLD_NS	  30000000000ull /* how long a command waits for its shim and vice versa */

enum proxy_type { PROXY_COMMAND = 0, PROXY_RESPONSE = 1, PROXY_STREAM = 2, PROXY_NOTIFY = 3 };
enum proxy_cmd {
	PROXY_REGISTER_VM = 0,
	PROXY_UNREGISTER_VM = 1,
	PROXY_ATTACH_VM = 2,
	PROXY_HYPER = 3,
	PROXY_CONNECT_SHIM = 4,
	PROXY_DISCONNECT_SHIM = 5,
	PROXY_SIGNAL = 6,
	PROXY_HUSK = 7, /* ours */
};
enum proxy_stream { PROXY_STDIN = 0, PROXY_STDOUT = 1, PROXY_STDERR = 2, PROXY_LOG = 3 };
#define PROXY_EXITED 0u /* notification opcode */

/* ---- codec -------------------------------------------------------------------------------- */
struct proxy_header {
	uint8_t type, opcode;
	bool error;
	uint32_t header_len, payload_len; /* bytes */
};
void proxy_put_header(uint8_t out[PROXY_HEADER_LEN], uint8_t type, uint8_t opcode, bool error,
		      uint32_t payload_len);
/* 1 = header decoded, 0 = more bytes needed, -EPROTO = not this protocol, -EMSGSIZE = too large. */
int proxy_get_header(const uint8_t *buf, size_t len, struct proxy_header *ret);

/* ---- server ------------------------------------------------------------------------------- */
struct proxy;
typedef uint64_t proxy_client_t; /* a handle; 0 is none. Stale handles are ignored. */
typedef uint64_t proxy_req_t;	 /* a request to be answered; stale ones are ignored */

struct proxy_ops {
	/* Hyper: run an agent command. @base is the stream base of the command's token, 0 without
	 * one. */
	void (*hyper)(void *ctx, proxy_req_t req, uint32_t link_cmd, uint64_t base,
		      const char *json, size_t len);
	/* PROXY_HUSK from @client; its descriptors wait with the carrier. */
	void (*husk)(void *ctx, proxy_client_t client, proxy_req_t req, const char *json,
		     size_t len);
	/*
	 * From the shim of the process with this stream base, after the process has been
	 * acknowledged, in pieces of at most 64 KiB. The callee takes all of it; proxy_stdin_hold()
	 * asks for no more.
	 */
	void (*shim_stdin)(void *ctx, uint64_t base, const void *buf, size_t len); /* len 0 = EOF */
	void (*shim_signal)(void *ctx, proxy_req_t req, uint64_t base, int signo, uint16_t cols,
			    uint16_t rows);
	/*
	 * The shim is there, or gone: output may flow, or has to wait. Also true when there is room
	 * again, and after DisconnectShim, when nobody will claim the process again and its output
	 * is dropped.
	 */
	void (*shim_connected)(void *ctx, uint64_t base, bool connected);
	void (*random)(void *ctx, void *buf, size_t len); /* for tokens */
	/* Bytes are waiting for this client, or it is to be closed once they are out, or wants
	 * input. */
	void (*output)(void *ctx, proxy_client_t client);
};

/* @id: the container (pod) id that AttachVM must name. @url: "unix:///…" told to clients. */
/* Inside of a callback everything may be called but proxy_free(). */
struct proxy *proxy_new(const char *id, const char *url, const struct proxy_ops *ops, void *ctx);
void proxy_free(struct proxy *p);

proxy_client_t proxy_connect(struct proxy *p); /* a connection was accepted; 0 = too many */
void proxy_disconnect(struct proxy *p, proxy_client_t c); /* it is gone */
void proxy_input(struct proxy *p, proxy_client_t c, const void *buf, size_t len, uint64_t now_ns);
const void *proxy_output(struct proxy *p, proxy_client_t c, size_t *len);
void proxy_sent(struct proxy *p, proxy_client_t c, size_t len);
/* False: stop reading from it; output() says when that changes. Watch for a hang-up all the same.
 */
bool proxy_wants_input(struct proxy *p, proxy_client_t c);
bool proxy_wants_close(struct proxy *p, proxy_client_t c); /* close after the output is drained */
/*
 * Time passes: holds run out. Returns when to call again (ns; UINT64_MAX = no need). To be called
 * after proxy_input() too, which may begin a hold.
 */
uint64_t proxy_tick(struct proxy *p, uint64_t now_ns);

void proxy_reply(struct proxy *p, proxy_req_t req, const void *payload, size_t len);
void proxy_reply_error(struct proxy *p, proxy_req_t req, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Tells a client of our own that its process is over: a notification, as a shim gets it. */
void proxy_tell_exited(struct proxy *p, proxy_client_t c, uint8_t status);

/* No more, or again, of this process's stdin, which waits with its client meanwhile. */
void proxy_stdin_hold(struct proxy *p, uint64_t base, bool hold);
/*
 * For the process of @base: to its shim. Output returns how much was taken; after less than all,
 * wait for shim_connected(true). Everything is taken, and dropped, when the session is gone. An
 * exit is to be told after all output has been taken; it is kept for the next shim if this one is
 * lost.
 */
size_t proxy_shim_output(struct proxy *p, uint64_t base, enum proxy_stream which, const void *buf,
			 size_t len);
void proxy_shim_exited(struct proxy *p, uint64_t base, uint8_t status);
bool proxy_has_shim(struct proxy *p, uint64_t base);
/* A new process's stream base (odd numbers from 3 on, never used twice). */
uint64_t proxy_next_base(struct proxy *p);

#endif
