/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shim's stdin between proxy and link: a process that does not read holds its own shim back, every
 * byte comes in its order once it reads, and one that has closed its stdin swallows.
 */
#include "link_pair.h"
#include "mux/proxy.h"
#include "runtime/shim_in.h"

#define ID    "pod1"
#define TOTAL (2u << 20)

static struct proxy *px;
static struct shim_in in;
static proxy_req_t last;
static uint64_t base;
static proxy_client_t shim;

static void px_hyper(void *ctx, proxy_req_t req, uint32_t cmd, uint64_t b, const char *json,
		     size_t len)
{
	(void)ctx;
	(void)cmd;
	(void)json;
	(void)len;
	last = req;
	base = b;
}

static void px_stdin(void *ctx, uint64_t b, const void *buf, size_t len)
{
	(void)ctx;
	shim_in_stdin(&in, b, buf, len);
}

static void px_connected(void *ctx, uint64_t b, bool connected)
{
	(void)ctx;
	(void)b;
	(void)connected;
}

static void px_random(void *ctx, void *buf, size_t len)
{
	(void)ctx;
	memset(buf, 7, len);
}

static void px_output(void *ctx, proxy_client_t c)
{
	(void)ctx;
	(void)c;
}

static const struct proxy_ops px_ops = {.hyper = px_hyper,
					.shim_stdin = px_stdin,
					.shim_connected = px_connected,
					.random = px_random,
					.output = px_output};

static void say(proxy_client_t c, uint8_t type, uint8_t opcode, const void *payload, size_t len)
{
	uint8_t *f = malloc(PROXY_HEADER_LEN + len);

	proxy_put_header(f, type, opcode, false, (uint32_t)len);
	memcpy(f + PROXY_HEADER_LEN, payload, len);
	proxy_input(px, c, f, PROXY_HEADER_LEN + len, 1);
	free(f);
}

static void command(proxy_client_t c, uint8_t opcode, const char *json)
{
	say(c, PROXY_COMMAND, opcode, json, strlen(json));
}

static void on_host_call(struct end *e, char call, uint64_t stream)
{
	(void)e;
	if (call == 'w')
		shim_in_writable(&in, stream);
	else if (call == 'c')
		shim_in_closed(&in, stream);
	else if (call == 'x')
		shim_in_over(&in, stream);
}

/* A link that is up, and a process that runs with a shim. */
static void setup(void)
{
	char token[PROXY_TOKEN_LEN + 1], json[256];
	proxy_client_t c;
	const char *text;
	size_t len;

	begin();
	cr_assert_eq(link_announce(agent.l, READY), 0);
	pump(0);
	cr_assert(link_is_up(host.l));
	px = proxy_new(ID, "unix:///x", &px_ops, NULL);
	shim_in_init(&in, host.l, px);
	c = proxy_connect(px);
	shim = proxy_connect(px);
	command(c, PROXY_ATTACH_VM, "{\"containerId\":\"" ID "\",\"numIOStreams\":1}");
	text = proxy_output(px, c, &len);
	text = memmem(text, len, "[\"", 2);
	cr_assert_not_null(text);
	memcpy(token, text + 2, PROXY_TOKEN_LEN);
	token[PROXY_TOKEN_LEN] = '\0';
	(void)snprintf(json, sizeof(json), "{\"token\":\"%s\"}", token);
	command(shim, PROXY_CONNECT_SHIM, json);
	(void)snprintf(
	    json, sizeof(json),
	    "{\"hyperName\":\"newcontainer\",\"tokens\":[\"%s\"],\"data\":{\"id\":\"a\"}}", token);
	command(c, PROXY_HYPER, json);
	cr_assert_neq(last, 0);
	cr_assert_eq(link_open(host.l, base), 0);
	cr_assert_eq(link_open(agent.l, base), 0);
	proxy_reply(px, last, "", 0);
	host.hook = on_host_call;
}

static void teardown(void)
{
	shim_in_end(&in);
	proxy_free(px);
}

TestSuite(shim_in, .init = setup, .fini = teardown, .timeout = 30);

static uint8_t *bytes(void)
{
	uint8_t *p = malloc(TOTAL);

	for (size_t i = 0; i < TOTAL; i++)
		p[i] = (uint8_t)(i * 7 + (i >> 8) * 13 + (i >> 16));
	return p;
}

Test(shim_in, waits_for_a_process_that_does_not_read)
{
	uint8_t *data = bytes();

	agent.keep = true; /* nothing is consumed: the window fills */
	say(shim, PROXY_STREAM, PROXY_STDIN, data, TOTAL);
	pump(0);
	cr_expect_eq(agent.got.len, LINK_WINDOW);
	cr_expect_not(proxy_wants_input(px, shim), "the shim has to wait");
	say(shim, PROXY_STREAM, PROXY_STDIN, "", 0); /* the end, behind it */
	agent.keep = false;
	link_consumed(agent.l, base, LINK_WINDOW);
	pump(0);
	cr_expect_eq(agent.got.len, TOTAL);
	cr_expect_eq(memcmp(agent.got.data, data, TOTAL), 0);
	cr_expect_eq(agent.eofs, 1);
	cr_expect(proxy_wants_input(px, shim));
	free(data);
}

Test(shim_in, swallowed_after_closed)
{
	uint8_t *data = bytes();

	agent.keep = true;
	say(shim, PROXY_STREAM, PROXY_STDIN, data, TOTAL);
	pump(0);
	cr_expect_not(proxy_wants_input(px, shim));
	link_send_closed(agent.l, base);
	pump(0);
	cr_expect_eq(host.closeds, 1);
	cr_expect(proxy_wants_input(px, shim), "what it sends is dropped, and it may go on");
	say(shim, PROXY_STREAM, PROXY_STDIN, data, TOTAL);
	cr_expect(proxy_wants_input(px, shim));
	free(data);
}

Test(shim_in, over_while_something_waits)
{
	uint8_t *data = bytes();

	agent.keep = true;
	say(shim, PROXY_STREAM, PROXY_STDIN, data, TOTAL);
	link_send_exit(agent.l, base, 3);
	pump(0);
	cr_expect_eq(host.exits, 1);
	cr_expect(list_empty(&in.waiting), "nothing is kept for it");
	free(data);
}
