/* SPDX-License-Identifier: Apache-2.0 */
/* The size of a VM: limits, overheads, bounds, and numbers near the end of their types. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime/sizing.h"

#define MIB (UINT64_C(1) << 20)

static const struct sizing_host host = {.memory = 8192 * MIB, .cpus = 4};

static int size(struct sizing *r, const char *resources, const struct annot *a, struct config *c,
		struct err *e)
{
	char text[512];
	struct spec s;
	struct annot none = {0};
	int rc;

	(void)snprintf(text, sizeof(text),
		       "{\"ociVersion\":\"1.0.0\",\"root\":{\"path\":\"r\"},\"process\":{"
		       "\"cwd\":\"/\",\"args\":[\"a\"]},\"linux\":{\"namespaces\":[{\"type\":"
		       "\"network\"}],\"resources\":{%s}}}",
		       resources);
	*e = (struct err){0};
	cr_assert(eq(int, spec_parse(&s, text, strlen(text), e), 0), "%s", e->msg);
	rc = sizing_of(r, &s, a ? a : &none, c, &host, e);
	spec_free(&s);
	return rc;
}

static uint64_t memory_mib(const char *resources, struct config *c)
{
	struct sizing r;
	struct err e;

	cr_assert(eq(int, size(&r, resources, NULL, c, &e), 0), "%s", e.msg);
	cr_expect(eq(u64, r.memory % MIB, 0));
	cr_expect(ge(u64, r.memory_max, r.memory));
	return r.memory / MIB;
}

Test(sizing, memory)
{
	struct config c;

	config_defaults(&c);
	cr_expect(eq(u64, memory_mib("", &c), 256));
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":-1}", &c), 256));
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":0}", &c), 256));
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":6291456}", &c), 128));
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":67108864}", &c), 128));
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":536870912}", &c), 576));
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":536870913}", &c), 577));
	/* More than there is: all of it. */
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":17179869184}", &c), 8192));
	c.memory.max = 1000 * MIB + 5;
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":17179869184}", &c), 1000));
	cr_expect(eq(u64, memory_mib("\"memory\":{\"limit\":1048000000}", &c), 1000));
}

Test(sizing, memory_near_the_end)
{
	struct config c;

	config_defaults(&c);
	cr_expect(eq(u64, sizing_memory(INT64_MAX, &c, 4096 * MIB), 4096 * MIB));
	cr_expect(eq(u64, sizing_memory(INT64_MAX - 4095, &c, UINT64_MAX),
		     ALIGN_UP((uint64_t)INT64_MAX - 4095 + 64 * MIB, MIB)));
	cr_expect(eq(u64, sizing_memory(INT64_MIN, &c, 4096 * MIB), 256 * MIB));
	c.memory.guest = UINT64_MAX;
	cr_expect(eq(u64, sizing_memory(4096, &c, 4096 * MIB), 4096 * MIB));
}

static unsigned cpus(const char *resources, struct config *c)
{
	struct sizing r;
	struct err e;

	cr_assert(eq(int, size(&r, resources, NULL, c, &e), 0), "%s", e.msg);
	cr_expect(eq(u32, r.cpus_max, c->vcpus.max ? (unsigned)c->vcpus.max : 4));
	return r.cpus;
}

Test(sizing, vcpus)
{
	struct config c;

	config_defaults(&c);
	cr_expect(eq(u32, cpus("", &c), 1));
	cr_expect(eq(u32, cpus("\"cpu\":{\"quota\":-1,\"period\":100000}", &c), 1));
	cr_expect(eq(u32, cpus("\"cpu\":{\"quota\":50000,\"period\":100000}", &c), 1));
	cr_expect(eq(u32, cpus("\"cpu\":{\"quota\":100001,\"period\":100000}", &c), 2));
	cr_expect(eq(u32, cpus("\"cpu\":{\"quota\":200000}", &c), 2));
	cr_expect(eq(u32, cpus("\"cpu\":{\"quota\":9223372036854775807,\"period\":1}", &c), 4));
	cr_expect(eq(u32, cpus("\"cpu\":{\"cpus\":\"0-2\"}", &c), 3));
	cr_expect(eq(u32, cpus("\"cpu\":{\"cpus\":\"1\",\"quota\":400000}", &c), 1));
	c.vcpus.max = 2;
	c.vcpus.standard = 2;
	cr_expect(eq(u32, cpus("", &c), 2));
	cr_expect(eq(u32, cpus("\"cpu\":{\"quota\":400000}", &c), 2));
}

Test(sizing, annotations)
{
	struct annot a = {.memory = 1000 * MIB + 1, .vcpus = 3};
	struct config c;
	struct sizing r;
	struct err e;

	config_defaults(&c);
	cr_assert(eq(int, size(&r, "\"memory\":{\"limit\":67108864}", &a, &c, &e), 0));
	cr_expect(eq(u64, r.memory, 1001 * MIB));
	cr_expect(eq(u32, r.cpus, 3));
	a.vcpus = 5;
	cr_expect(eq(int, size(&r, "", &a, &c, &e), -EINVAL));
	cr_expect(strstr(e.msg, "io.husk.vcpus: 5 is more than 4") != NULL, "%s", e.msg);
	a.vcpus = 0;
	a.memory = 8193 * MIB;
	cr_expect(eq(int, size(&r, "", &a, &c, &e), -EINVAL));
	cr_expect(strstr(e.msg, "io.husk.memory: 8193 MiB") != NULL, "%s", e.msg);
	a.memory = 100 * MIB;
	cr_expect(eq(int, size(&r, "", &a, &c, &e), -EINVAL));
}

Test(sizing, of_a_pod)
{
	struct annot a = {.pod_memory = 512 << 20, .pod_quota = 150000};
	struct config c;
	struct sizing r;
	struct err e;

	config_defaults(&c);
	cr_assert(eq(int, size(&r, "\"cpu\":{\"shares\":2}", &a, &c, &e), 0));
	cr_expect(eq(u64, r.memory, 576 * MIB));
	cr_expect(eq(u32, r.cpus, 2));
	a = (struct annot){.pod_shares = 2049};
	cr_assert(eq(int, size(&r, "", &a, &c, &e), 0));
	cr_expect(eq(u32, r.cpus, 3));
	a = (struct annot){.pod_shares = 2};
	cr_assert(eq(int, size(&r, "", &a, &c, &e), 0));
	cr_expect(eq(u32, r.cpus, 1));
	/* Its own limit is nearer. */
	a = (struct annot){.pod_memory = 512 << 20};
	cr_assert(eq(int, size(&r, "\"memory\":{\"limit\":1073741824}", &a, &c, &e), 0));
	cr_expect(eq(u64, r.memory, 1088 * MIB));
}

Test(sizing, cpu_lists)
{
	static const char *const bad[] = {"",		"a",	"1-",  "-1",  "2-1",
					  "1,",		",1",	"1;2", "1 2", "0-70000",
					  "4294967296", "1--2", "1\n2"};
	struct config c;
	struct sizing r;
	struct err e;
	unsigned n = 0;

	cr_expect(eq(int, sizing_cpu_list("0", &n), 0));
	cr_expect(eq(u32, n, 1));
	cr_expect(eq(int, sizing_cpu_list("0-3,8,10-11\n", &n), 0));
	cr_expect(eq(u32, n, 7));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		cr_expect(eq(int, sizing_cpu_list(bad[i], &n), -EINVAL), "'%s'", bad[i]);
	config_defaults(&c);
	cr_expect(eq(int, size(&r, "\"cpu\":{\"cpus\":\"x\"}", NULL, &c, &e), -EINVAL));
	cr_expect(strstr(e.msg, "linux.resources.cpu.cpus: 'x'") != NULL, "%s", e.msg);
}
