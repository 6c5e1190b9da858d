/* SPDX-License-Identifier: Apache-2.0 */
/*
 * proxy.c against a stream of operations: frames of several clients, right and wrong, answers,
 * output, exits, time; and calls of all kinds from inside of callbacks.
 *
 * Beside what sanitizers see, it holds that stdin comes in bounded pieces for a process that runs,
 * that answers are read back as frames, and that no client's output grows without limit.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mux/proxy.h"

#define CLIENTS 6
#define REQS	16
#define TOKENS	8

#define CHECK(c)                                                                                   \
	do {                                                                                       \
		if (!(c))                                                                          \
			abort();                                                                   \
	} while (0)

static struct proxy *px;
static proxy_client_t clients[CLIENTS];
static proxy_req_t reqs[REQS];
static unsigned req_at, token_at, depth, randoms;
static char tokens[TOKENS][PROXY_TOKEN_LEN + 1];
static uint64_t now;
static const uint8_t *in;
static size_t left;

static void act(void);

static uint8_t next(void)
{
	if (!left)
		return 0;
	left--;
	return *in++;
}

static void inside(void)
{
	depth++;
	if (depth < 5 && (next() & 3) == 3)
		act();
	depth--;
}

static void on_hyper(void *ctx, proxy_req_t req, uint32_t cmd, uint64_t base, const char *json,
		     size_t len)
{
	(void)ctx;
	(void)cmd;
	(void)base;
	CHECK(strlen(json) == len);
	reqs[req_at++ % REQS] = req;
	inside();
}

static void on_husk(void *ctx, proxy_client_t client, proxy_req_t req, const char *json, size_t len)
{
	(void)ctx;
	(void)client;
	CHECK(json[len] == '\0');
	reqs[req_at++ % REQS] = req;
	inside();
}

static void on_stdin(void *ctx, uint64_t base, const void *p, size_t len)
{
	static uint8_t sink[65536];

	(void)ctx;
	CHECK(len <= 65536 && base);
	if (len)
		memcpy(sink, p, len);
	inside();
}

static void on_signal(void *ctx, proxy_req_t req, uint64_t base, int signo, uint16_t cols,
		      uint16_t rows)
{
	(void)ctx;
	CHECK(base && signo >= 0 && signo <= 64);
	CHECK(signo == 28 ? cols && rows : !cols && !rows);
	reqs[req_at++ % REQS] = req;
	inside();
}

static void on_shim(void *ctx, uint64_t base, bool connected)
{
	(void)ctx;
	(void)connected;
	CHECK(base);
	inside();
}

/* Tokens that the input can name: they are made from a counter. */
static void on_random(void *ctx, void *p, size_t len)
{
	(void)ctx;
	memset(p, 0, len);
	memcpy(p, &randoms, sizeof(randoms));
	randoms++;
}

static void on_output(void *ctx, proxy_client_t c)
{
	(void)ctx;
	CHECK(c);
	inside();
}

static const struct proxy_ops ops = {
    .hyper = on_hyper,
    .husk = on_husk,
    .shim_stdin = on_stdin,
    .shim_signal = on_signal,
    .shim_connected = on_shim,
    .random = on_random,
    .output = on_output,
};

static void feed(proxy_client_t c, const void *p, size_t len, size_t cut)
{
	uint8_t *copy = malloc(len + 1);

	memcpy(copy, p, len);
	cut = cut < len ? cut : len;
	proxy_input(px, c, copy, cut, now);
	proxy_input(px, c, copy + cut, len - cut, now);
	free(copy);
}

static void frame(proxy_client_t c, uint8_t type, uint8_t opcode, const char *json, size_t len)
{
	uint8_t *f = calloc(1, PROXY_HEADER_LEN + len);

	proxy_put_header(f, type, opcode, false, (uint32_t)len);
	if (json)
		memcpy(f + PROXY_HEADER_LEN, json, len);
	feed(c, f, PROXY_HEADER_LEN + len, next());
	free(f);
}

static void say(proxy_client_t c, uint8_t opcode, const char *json)
{
	frame(c, PROXY_COMMAND, opcode, json, strlen(json));
}

/* Reads one answer: tokens in it are learnt. */
static void drain(proxy_client_t c)
{
	struct proxy_header h;
	size_t len;
	const uint8_t *p = proxy_output(px, c, &len);

	CHECK(len < 64u << 20);
	if (len < PROXY_HEADER_LEN || proxy_get_header(p, len, &h) != 1) {
		proxy_sent(px, c, len);
		return;
	}
	for (size_t i = PROXY_HEADER_LEN; i + PROXY_TOKEN_LEN + 2 < len; i++)
		if (p[i] == '"' && p[i + PROXY_TOKEN_LEN] == '=') {
			memcpy(tokens[token_at++ % TOKENS], p + i + 1, PROXY_TOKEN_LEN);
			break;
		}
	len = h.header_len + h.payload_len < len ? h.header_len + h.payload_len : len;
	proxy_sent(px, c, len);
}

static void command(proxy_client_t c, uint8_t op)
{
	static const char *const names[] = {"newcontainer", "execcmd", "ping", "startpod"};
	const char *token = tokens[op >> 4 & (TOKENS - 1)];
	char json[256];

	switch (op & 7) {
	case 0:
		say(c, PROXY_ATTACH_VM, "{\"containerId\":\"a\",\"numIOStreams\":1}");
		drain(c);
		break;
	case 1:
		(void)snprintf(json, sizeof(json),
			       "{\"hyperName\":\"%s\",\"tokens\":[\"%s\"],\"data\":{}}",
			       names[op >> 3 & 1], token);
		say(c, PROXY_HYPER, json);
		break;
	case 2:
		(void)snprintf(json, sizeof(json), "{\"hyperName\":\"%s\",\"data\":{}}",
			       names[op >> 3 & 3]);
		say(c, PROXY_HYPER, json);
		break;
	case 3:
		(void)snprintf(json, sizeof(json), "{\"token\":\"%s\"}", token);
		say(c, PROXY_CONNECT_SHIM, json);
		break;
	case 4:
		frame(c, PROXY_COMMAND, PROXY_DISCONNECT_SHIM, NULL, 0);
		break;
	case 5:
		(void)snprintf(json, sizeof(json), "{\"signalNumber\":%u%s}", op >> 3,
			       op >> 3 == 28 ? ",\"columns\":80,\"rows\":24" : "");
		say(c, PROXY_SIGNAL, json);
		break;
	case 6:
		frame(c, PROXY_STREAM, PROXY_STDIN, NULL, (size_t)(op >> 3) * 9000);
		break;
	default:
		say(c, PROXY_HUSK, "{\"x\":1}");
		break;
	}
}

static void act(void)
{
	static uint8_t z[300000];
	uint8_t op = next(), arg = next();
	unsigned i = (op >> 4) % CLIENTS;
	proxy_client_t c = clients[i];
	uint64_t base = 3 + 2 * (arg & 7);
	const uint8_t *raw;
	size_t n;

	switch (op & 15) {
	case 0:
		proxy_disconnect(px, c);
		clients[i] = proxy_connect(px);
		break;
	case 1:
		n = arg < left ? arg : left;
		raw = in;
		in += n; /* first: callbacks take from it too */
		left -= n;
		feed(c, raw, n, n / 2);
		break;
	case 2:
		proxy_reply(px, reqs[arg % REQS], "ok", 2);
		break;
	case 3:
		proxy_reply_error(px, reqs[arg % REQS], "no %u", arg);
		break;
	case 4:
		n = (size_t)(arg >> 3) * 10000;
		CHECK(proxy_shim_output(px, base, PROXY_STDOUT, z, n) <= n);
		break;
	case 5:
		proxy_shim_exited(px, base, arg);
		break;
	case 6:
		now += arg * 1000000000ull;
		CHECK(proxy_tick(px, now) > now || depth);
		break;
	case 7:
		proxy_stdin_hold(px, base, arg & 128);
		break;
	case 8:
		drain(c);
		break;
	case 9:
		(void)proxy_output(px, c, &n);
		proxy_sent(px, c, n < arg * 1000u ? n : arg * 1000u);
		break;
	default:
		command(c, arg);
		break;
	}
	CHECK(!proxy_wants_close(px, clients[i]) || !proxy_wants_input(px, clients[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	in = data;
	left = size;
	req_at = token_at = depth = randoms = 0;
	now = 1;
	memset(reqs, 0, sizeof(reqs));
	memset(tokens, 0, sizeof(tokens));
	px = proxy_new("a", "unix:///s", &ops, NULL);
	if (!px)
		return 0;
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = proxy_connect(px);
	while (left)
		act();
	proxy_free(px);
	return 0;
}
