/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the proxy: what its three files share. proxy.c has connections, requests and time,
 * proxy_session.c tokens and sessions, proxy_cmd.c the JSON commands. See proxy.h.
 *
 * Every callback may end in proxy_disconnect() of any client and drop any session. So a struct
 * client or struct session is looked up again, by handle or base, after each function marked with
 * "calls back".
 */
#ifndef HUSK_MUX_PROXY_INT_H
#define HUSK_MUX_PROXY_INT_H

#include "base/buf.h"
#include "mux/proxy.h"

#define CLIENTS_MAX  1024u
#define SESSIONS_MAX 4096u
#define OUT_SOFT     (256u << 10) /* output of one client beyond which stream data waits */
#define OUT_HARD     (1u << 20)	  /* beyond which its commands wait */
#define STDIN_PIECE  (64u << 10)  /* how much stdin is passed on before looking at its hold again */

struct session {
	char token[PROXY_TOKEN_LEN + 1];
	uint64_t base;
	proxy_client_t shim; /* 0 = none */
	bool started;	     /* the command is with the agent */
	bool running;	     /* the agent has acknowledged it */
	bool ended;
	uint8_t status; /* when ended; told to each shim that claims the token */
	bool stdin_held;
	/* A Hyper command that waits for the shim. */
	proxy_req_t held_req;
	uint32_t held_cmd;
	char *held_json; /* NULL = none */
	uint64_t held_until;
};

struct client {
	proxy_client_t handle; /* 0 = free place */
	struct buf in, out;
	bool attached;
	bool closing;
	bool full;	      /* a shim's output was refused for lack of room */
	bool parsing;	      /* proxy_parse() is at work further up the stack */
	bool blocked;	      /* a whole frame waits in `in` for something else */
	uint32_t hypers;      /* unanswered ones: the next command waits, answers carry no ids */
	uint64_t shim_base;   /* 0 = not a shim */
	uint32_t stdin_off;   /* of the stdin frame at the front: passed on already */
	uint64_t stdin_until; /* 0, or how long that frame waits for the process */
	/* A Signal that waits for the process. */
	proxy_req_t held_req;
	int held_signo;
	uint16_t held_cols, held_rows;
	uint64_t held_until;
};

/* A request that has been passed on: who asked, with which opcode. */
struct request {
	proxy_req_t id;
	proxy_client_t client;
	uint8_t opcode;
	struct session *s; /* of newcontainer and execcmd */
};

struct proxy {
	char *id, *url;
	const struct proxy_ops *ops;
	void *ctx;
	uint64_t now;
	uint64_t serial, next_base;
	proxy_req_t next_req;
	struct client *clients[CLIENTS_MAX];
	unsigned client_cnt; /* places in use, holes included */
	struct session **sessions;
	size_t session_cnt, session_cap;
	struct request *reqs;
	size_t req_cnt, req_cap;
};

/* ---- proxy.c ---- */
struct client *proxy_client_of(struct proxy *p, proxy_client_t h);
/* 0 = out of memory. */
proxy_req_t proxy_request_new(struct proxy *p, struct client *c, uint8_t opcode, struct session *s);
/* These call back; a client that is closing gets nothing. */
void proxy_respond(struct proxy *p, struct client *c, uint8_t opcode, const void *payload,
		   size_t len);
void proxy_respond_error(struct proxy *p, struct client *c, uint8_t opcode, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
void proxy_notify_exit(struct proxy *p, struct client *c, uint8_t status);
void proxy_stream_out(struct proxy *p, struct client *c, uint8_t which, const void *buf,
		      size_t len);
/* To be closed after its output; its token is free at once. Calls back. */
void proxy_hang_up(struct proxy *p, struct client *c);
/* Handles frames that wait in the client's input, as far as they may be. Calls back. */
void proxy_parse(struct proxy *p, proxy_client_t h);

/* ---- proxy_session.c ---- */
struct session *proxy_session_of_base(struct proxy *p, uint64_t base);
struct session *proxy_session_of_token(struct proxy *p, const char *token);
struct session *proxy_session_new(struct proxy *p); /* NULL = out of memory or of places */
void proxy_session_drop(struct proxy *p, struct session *s);
/* How many more there may be, counting those that nobody would miss. */
size_t proxy_session_room(const struct proxy *p);
/* The client is its shim no more. Calls back. */
void proxy_shim_lost(struct proxy *p, struct client *c);
/* Sends the command on; @base 0 = no session. Calls back. */
void proxy_hyper_go(struct proxy *p, proxy_req_t req, uint32_t cmd, uint64_t base,
		    const char *json);
/* The agent has acknowledged the process: what waited for it goes on. Calls back. */
void proxy_session_running(struct proxy *p, uint64_t base);

/* ---- proxy_cmd.c ---- */
/* One command of the client. @payload is NUL-terminated. Calls back. */
void proxy_command(struct proxy *p, struct client *c, uint8_t opcode, const char *payload,
		   size_t len);
bool proxy_log_is_valid(const char *payload, size_t len);

#endif
