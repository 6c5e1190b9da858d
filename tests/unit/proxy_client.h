/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server without sockets and its clients, for the tests of proxy.c. Included by one source per
 * program: the state is static. One thread.
 */
#ifndef HUSK_TESTS_UNIT_PROXY_CLIENT_H
#define HUSK_TESTS_UNIT_PROXY_CLIENT_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/endian.h"
#include "mux/link.h"
#include "mux/proxy.h"

#define ID  "pod1"
#define URL "unix:///run/husk/pod1/sock"
#define SEC 1000000000ull

static struct proxy *px;
static uint64_t now = 5 * SEC;

/* What the ops were told, the last of each kind, and how often. */
static struct {
	unsigned hypers, husks, stdins, signals, connects, losses, outputs, randoms;
	proxy_req_t req, signal_req;
	proxy_client_t client;
	uint32_t cmd;
	uint64_t base, shim_base;
	int signo;
	unsigned cols, rows;
	char json[256];
	struct buf in;
	size_t last_in;
} seen;
static void (*hook)(char call, uint64_t arg);

static void call_hook(char call, uint64_t arg)
{
	if (hook)
		hook(call, arg);
}

static void on_hyper(void *ctx, proxy_req_t req, uint32_t cmd, uint64_t base, const char *json,
		     size_t len)
{
	(void)ctx;
	seen.hypers++;
	seen.req = req;
	seen.cmd = cmd;
	seen.base = base;
	cr_assert_eq(strlen(json), len);
	(void)snprintf(seen.json, sizeof(seen.json), "%s", json);
	call_hook('h', req);
}

static void on_husk(void *ctx, proxy_client_t client, proxy_req_t req, const char *json, size_t len)
{
	(void)ctx;
	seen.husks++;
	seen.req = req;
	seen.client = client;
	cr_assert_eq(json[len], '\0');
	(void)snprintf(seen.json, sizeof(seen.json), "%s", json);
	call_hook('k', client);
}

static void on_stdin(void *ctx, uint64_t base, const void *p, size_t len)
{
	(void)ctx;
	seen.stdins++;
	seen.shim_base = base;
	seen.last_in = len;
	cr_assert_leq(len, 65536);
	cr_assert_eq(buf_append(&seen.in, p, len), 0);
	call_hook('i', base);
}

static void on_signal(void *ctx, proxy_req_t req, uint64_t base, int signo, uint16_t cols,
		      uint16_t rows)
{
	(void)ctx;
	seen.signals++;
	seen.signal_req = req;
	seen.shim_base = base;
	seen.signo = signo;
	seen.cols = cols;
	seen.rows = rows;
	call_hook('s', req);
}

static void on_shim(void *ctx, uint64_t base, bool connected)
{
	(void)ctx;
	seen.shim_base = base;
	if (connected)
		seen.connects++;
	else
		seen.losses++;
	call_hook(connected ? 'c' : 'l', base);
}

static void on_random(void *ctx, void *p, size_t len)
{
	uint8_t *b = p;

	(void)ctx;
	seen.randoms++;
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(seen.randoms * 0x9e3779b1u >> (i % 4 * 8)) ^ (uint8_t)(i * 37);
}

static void on_output(void *ctx, proxy_client_t c)
{
	(void)ctx;
	seen.outputs++;
	call_hook('o', c);
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

static MAYBE_UNUSED void begin(void)
{
	memset(&seen, 0, sizeof(seen));
	hook = NULL;
	px = proxy_new(ID, URL, &ops, NULL);
	cr_assert_not_null(px);
}

static MAYBE_UNUSED void finish(void)
{
	proxy_free(px);
	buf_free(&seen.in);
}

static void input(proxy_client_t c, const void *p, size_t len)
{
	void *copy = malloc(len ? len : 1);

	if (len)
		memcpy(copy, p, len);
	proxy_input(px, c, copy, len, now);
	free(copy);
}

static MAYBE_UNUSED void frame(proxy_client_t c, uint8_t type, uint8_t opcode, const void *payload,
			       size_t len)
{
	uint8_t *f = malloc(PROXY_HEADER_LEN + len);

	proxy_put_header(f, type, opcode, false, (uint32_t)len);
	if (len)
		memcpy(f + PROXY_HEADER_LEN, payload, len);
	input(c, f, PROXY_HEADER_LEN + len);
	free(f);
}

static MAYBE_UNUSED void say(proxy_client_t c, uint8_t opcode, const char *json)
{
	frame(c, PROXY_COMMAND, opcode, json, strlen(json));
}

/* The next frame for the client: "" or its payload; @ret its header. */
static const char *take(proxy_client_t c, struct proxy_header *ret)
{
	static char text[70000];
	size_t len;
	const uint8_t *p = proxy_output(px, c, &len);

	cr_assert_eq(proxy_get_header(p, len, ret), 1, "no frame for the client");
	cr_assert_geq(len, ret->header_len + ret->payload_len);
	cr_assert_lt(ret->payload_len, sizeof(text));
	memcpy(text, p + ret->header_len, ret->payload_len);
	text[ret->payload_len] = '\0';
	proxy_sent(px, c, ret->header_len + ret->payload_len);
	return text;
}

static MAYBE_UNUSED void expect(proxy_client_t c, uint8_t type, uint8_t opcode, bool error,
				const char *part)
{
	struct proxy_header h;
	const char *text = take(c, &h);

	cr_assert(h.type == type && h.opcode == opcode && h.error == error,
		  "type %u opcode %u error %d: %s", h.type, h.opcode, h.error, text);
	cr_assert(*part ? strstr(text, part) != NULL : h.payload_len == 0, "'%s' has no '%s'", text,
		  part);
}

static MAYBE_UNUSED void expect_ok(proxy_client_t c, uint8_t opcode)
{
	expect(c, PROXY_RESPONSE, opcode, false, "");
}

static MAYBE_UNUSED void expect_error(proxy_client_t c, uint8_t opcode, const char *part)
{
	expect(c, PROXY_RESPONSE, opcode, true, part);
	cr_assert_not(proxy_wants_close(px, c), "the connection stays");
}

static MAYBE_UNUSED void expect_nothing(proxy_client_t c)
{
	size_t len;

	(void)proxy_output(px, c, &len);
	cr_assert_eq(len, 0);
}

static MAYBE_UNUSED void expect_exit(proxy_client_t c, uint8_t status)
{
	struct proxy_header h;
	const char *text = take(c, &h);

	cr_assert(h.type == PROXY_NOTIFY && h.opcode == PROXY_EXITED && h.payload_len == 1);
	cr_assert_eq((uint8_t)text[0], status);
}

/* An attached client, and one token in @token. */
static MAYBE_UNUSED proxy_client_t attach(char token[PROXY_TOKEN_LEN + 1])
{
	proxy_client_t c = proxy_connect(px);
	struct proxy_header h;
	const char *text, *at;

	say(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\",\"numIOStreams\":1}");
	text = take(c, &h);
	at = strstr(text, "[\"");
	cr_assert(h.type == PROXY_RESPONSE && !h.error && at, "%s", text);
	memcpy(token, at + 2, PROXY_TOKEN_LEN);
	token[PROXY_TOKEN_LEN] = '\0';
	return c;
}

static MAYBE_UNUSED void new_container(proxy_client_t c, const char *token)
{
	char json[256];

	(void)snprintf(
	    json, sizeof(json),
	    "{\"hyperName\":\"newcontainer\",\"tokens\":[\"%s\"],\"data\":{\"id\":\"a\"}}", token);
	say(c, PROXY_HYPER, json);
}

static MAYBE_UNUSED proxy_client_t claim(const char *token)
{
	proxy_client_t c = proxy_connect(px);
	char json[100];

	(void)snprintf(json, sizeof(json), "{\"token\":\"%s\"}", token);
	say(c, PROXY_CONNECT_SHIM, json);
	return c;
}

static MAYBE_UNUSED void signal_to(proxy_client_t c, int signo)
{
	char json[60];

	(void)snprintf(json, sizeof(json), "{\"signalNumber\":%d}", signo);
	say(c, PROXY_SIGNAL, json);
}

#endif
