/* SPDX-License-Identifier: Apache-2.0 */
/* What `husk check` and `husk env` find out: a kernel's version, guest files, the host. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "runtime/facts.h"

/* At the very end of a page of its own, so that reading on is seen. */
static bool version_of(const void *p, size_t len, char *buf)
{
	auto_free unsigned char *copy = malloc(len);

	memcpy(copy, p, len);
	buf[0] = '\0';
	return facts_kernel_version(copy, len, buf, 16);
}

Test(facts, version_of_an_elf_kernel)
{
	static const char banner[] = "x\0Linux version %s\0Linux version 6.1.2-a (gcc";
	char buf[128];

	cr_expect(version_of(banner, sizeof(banner), buf));
	cr_expect_str_eq(buf, "6.1.2-a");
	cr_expect(version_of("Linux version 6", 15, buf)); /* the file ends there */
	cr_expect_str_eq(buf, "6");
	cr_expect(version_of("Linux version 6.1.2345678901234567890", 37, buf));
	cr_expect_str_eq(buf, "6.1.23456789012");
	cr_expect(not(version_of("Linux version ", 14, buf)));
	cr_expect(not(version_of("Linux version", 13, buf)));
	cr_expect(not(version_of("L", 1, buf)));
}

Test(facts, version_of_a_bzimage)
{
	unsigned char p[0x300] = {0};
	char buf[128];

	memcpy(p + 0x202, "HdrS", 4);
	p[0x20e] = 0xf8; /* 0x2f8 */
	memcpy(p + 0x2f8, "6.1.0-9 ", 8);
	cr_expect(version_of(p, sizeof(p), buf));
	cr_expect_str_eq(buf, "6.1.0-9");
	p[0x20f] = 0x01; /* 0x3f8: behind the end */
	cr_expect(not(version_of(p, sizeof(p), buf)));
	p[0x20f] = 0xff;
	cr_expect(not(version_of(p, sizeof(p), buf)));
}

static void make(const char *path, const char *magic, size_t at)
{
	static char page[4096];

	memset(page, 0, sizeof(page));
	memcpy(page + at, magic, 4);
	cr_assert(eq(int, fd_write_file(AT_FDCWD, path, page, sizeof(page), 0600), 0));
}

Test(facts, guest_files)
{
	/* sha256sum of 4 KiB of zeros but for "\177ELF" */
	static const char sum[] =
	    "c32fe4d9b4a975c1ff0c554129c5137a2e7cc79cde2a833f063e5f06cb8a9268";
	char dir[] = "/tmp/husk-facts-XXXXXX", kernel[64], image[64];
	auto_free struct facts_file *f = calloc(2, sizeof(*f));
	struct cli_global g = {.assets = dir};
	struct err e = {0};

	cr_assert(mkdtemp(dir) != NULL);
	(void)snprintf(kernel, sizeof(kernel), "%s/vmlinux", dir);
	(void)snprintf(image, sizeof(image), "%s/rootfs.erofs", dir);
	cr_expect(eq(int, facts_guest_files(&g, NULL, true, &f[0], &f[1], &e), -ENOENT));
	cr_expect(strstr(e.msg, kernel) != NULL, "%s", e.msg);
	make(kernel, "\177ELF", 0);
	make(image, "\xe2\xe1\xf5\xe0", 1024);
	e = (struct err){0};
	cr_expect(eq(int, facts_guest_files(&g, NULL, true, &f[0], &f[1], &e), 0), "%s", e.msg);
	cr_expect_str_eq(f[0].path, kernel);
	cr_expect_str_eq(f[0].sha256, sum);
	cr_expect(strcmp(f[0].sha256, f[1].sha256) != 0);
	cr_expect(eq(i64, f[1].size, 4096));
	make(image, "\xe2\xe1\xf5\xe1", 1024);
	e = (struct err){0};
	cr_expect(eq(int, facts_guest_files(&g, NULL, true, &f[0], &f[1], &e), -EINVAL));
	cr_expect(strstr(e.msg, "rootfs.erofs': not an erofs file system") != NULL, "%s", e.msg);
	make(kernel, "text", 0);
	e = (struct err){0};
	cr_expect(eq(int, facts_guest_files(&g, NULL, true, &f[0], &f[1], &e), -EINVAL));
	cr_expect(strstr(e.msg, "not an ELF file or bzImage") != NULL, "%s", e.msg);
	/* Too short to look into. */
	cr_assert(eq(int, fd_write_file(AT_FDCWD, kernel, "\177ELF", 4, 0600), 0));
	e = (struct err){0};
	cr_expect(eq(int, facts_guest_files(&g, NULL, true, &f[0], &f[1], &e), -EINVAL));
	(void)unlink(kernel);
	(void)unlink(image);
	(void)rmdir(dir);
}

Test(facts, host)
{
	struct json_object *a = facts_host(), *b = facts_host();

	cr_expect(json_i64(a, "cpu.online", 0) >= 1);
	cr_expect(json_i64(a, "memory", 0) > 0);
	cr_expect(eq(sz, strlen(json_str(a, "fingerprint", "")), 16));
	cr_expect_str_eq(json_str(a, "fingerprint", "a"), json_str(b, "fingerprint", "b"));
	(void)json_object_put(a);
	(void)json_object_put(b);
	cr_expect(ne(int, facts_module("no_such_module_of_any_kernel"), FACTS_MODULE_THERE));
}
