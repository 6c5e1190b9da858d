/* SPDX-License-Identifier: Apache-2.0 */
/* linux.devices: what a rule allows, what is privileged, what crosses into the VM. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "runtime/disks.h"

#define HEAD                                                                                       \
	"{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"r\"},\"process\":{\"cwd\":\"/"             \
	"\",\"args\":[\"sh\"]},\"linux\":{\"namespaces\":[{\"type\":\"network\"}],"

static void parse(struct spec *s, const char *json)
{
	struct err e = {0};

	cr_assert(eq(int, spec_parse(s, json, strlen(json), &e), 0), "%s", e.msg);
}

Test(disks, rules)
{
	struct spec s;
	char a[4];

	parse(&s, HEAD "\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
		       "{\"allow\":true,\"type\":\"b\",\"major\":8,\"access\":\"rw\"},"
		       "{\"allow\":false,\"type\":\"b\",\"major\":8,\"minor\":1,\"access\":\"w\"},"
		       "{\"allow\":true,\"type\":\"c\"}]}}}");
	disks_access(&s, 'b', 8, 0, a);
	cr_expect_str_eq(a, "rw");
	disks_access(&s, 'b', 8, 1, a);
	cr_expect_str_eq(a, "r");
	disks_access(&s, 'b', 9, 1, a);
	cr_expect_str_eq(a, "");
	disks_access(&s, 'c', 9, 1, a);
	cr_expect_str_eq(a, "rwm");
	cr_expect(not(disks_is_privileged(&s)));
	spec_free(&s);
	parse(&s, HEAD "\"resources\":{}}}");
	disks_access(&s, 'b', 8, 0, a);
	cr_expect_str_eq(a, "rwm");
	cr_expect(not(disks_is_privileged(&s)));
	spec_free(&s);
	parse(&s, HEAD "\"resources\":{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},"
		       "{\"allow\":true,\"access\":\"rwm\"}]}}}");
	cr_expect(disks_is_privileged(&s));
	spec_free(&s);
}

/* What the guest has, and what has no device behind it anywhere, are the guest's to make. */
Test(disks, nodes_of_the_guest_stay)
{
	struct disks d;
	struct spec s;
	struct err e = {0};

	parse(&s, HEAD
	      "\"devices\":[{\"type\":\"c\",\"path\":\"/dev/fuse\",\"major\":10,\"minor\":229},"
	      "{\"type\":\"p\",\"path\":\"/dev/p\"},"
	      "{\"type\":\"b\",\"path\":\"/dev/x\",\"major\":4000,\"minor\":666}]}}");
	cr_assert(eq(int, disks_open(&s, &d, &e), 0), "%s", e.msg);
	cr_expect(eq(int, (int)d.cnt, 0));
	cr_expect(eq(int, (int)json_len(s.root, "linux.devices"), 3));
	disks_close(&d);
	spec_free(&s);
}

/* ttyS0 of this machine, or its console: a character device that no guest has. */
#define HOST_CHAR "{\"type\":\"c\",\"path\":\"/dev/mine\",\"major\":4,\"minor\":64}"

Test(disks, characters_of_the_host)
{
	struct disks d;
	struct spec s;
	struct err e = {0};

	parse(&s, HEAD "\"devices\":[" HOST_CHAR "]}}");
	if (disks_open(&s, &d, &e) == 0) { /* this machine has none itself */
		cr_expect(eq(int, (int)json_len(s.root, "linux.devices"), 1));
	} else {
		cr_expect(strstr(e.msg, "'/dev/mine': character device 4:64 of the host") != NULL,
			  "%s", e.msg);
	}
	disks_close(&d);
	spec_free(&s);
	/* To a privileged container its engine gives everything; it gets what there is. */
	parse(&s, HEAD "\"devices\":[" HOST_CHAR
		       ",{\"type\":\"c\",\"path\":\"/dev/null\",\"major\":1,\"minor\":3}],"
		       "\"resources\":{\"devices\":[{\"allow\":true,\"access\":\"rwm\"}]}}}");
	e = (struct err){0};
	cr_expect(eq(int, disks_open(&s, &d, &e), 0), "%s", e.msg);
	cr_expect(json_len(s.root, "linux.devices") >= 1);
	disks_close(&d);
	spec_free(&s);
}

Test(disks, bad_ones)
{
	static const char *const bad[][2] = {
	    {"{\"type\":\"x\",\"path\":\"/dev/x\"}", "type 'x' is unknown"},
	    {"{\"type\":\"c\",\"path\":\"/dev/x\",\"major\":-1,\"minor\":0}", "-1:0 is no device"},
	    {"{\"type\":\"b\",\"path\":\"/dev/x\",\"major\":1,\"minor\":9223372036854775807}",
	     "is no device"},
	};
	char text[1024];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct disks d;
		struct spec s;
		struct err e = {0};

		(void)snprintf(text, sizeof(text), "%s\"devices\":[%s]}}", HEAD, bad[i][0]);
		parse(&s, text);
		cr_expect(lt(int, disks_open(&s, &d, &e), 0), "%s", bad[i][0]);
		cr_expect(strstr(e.msg, bad[i][1]) != NULL, "%s", e.msg);
		disks_close(&d);
		spec_free(&s);
	}
}
