/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `husk check` judges and `husk env` shows: facts about this host, its guest files and the
 * configuration. Only looks; functions of no state.
 */
#ifndef HUSK_RUNTIME_FACTS_H
#define HUSK_RUNTIME_FACTS_H

#include <stdbool.h>
#include "base/err.h"
#include "runtime/cli.h"
#include "runtime/json.h"

#define FACTS_HASH_LEN 65 /* SHA-256 in hex and its NUL */

struct facts_file {
	char path[4096];
	char sha256[FACTS_HASH_LEN]; /* "" = not read */
	char version[128];	     /* of a kernel: "6.1.158"; "" = unknown */
	long long size;
};

/*
 * The guest files that create would use, opened as it does and looked into: a kernel is an ELF file
 * or a bzImage, an image an erofs file system. @conf may be NULL: without a configuration. @hash:
 * read them whole, too.
 */
int facts_guest_files(const struct cli_global *g, const struct config *conf, bool hash,
		      struct facts_file *kernel, struct facts_file *image,
		      struct err *e) MUST_CHECK;

/* The kernel's version in the bytes of a vmlinux or bzImage; false = none found. */
bool facts_kernel_version(const unsigned char *p, size_t len, char *buf, size_t cap);

/*
 * Host, CPU, distribution, cgroups, and a fingerprint: hosts of the same one have the same kernel,
 * CPU and microcode. A new reference.
 */
struct json_object *facts_host(void);

/* "2: cpu cpuset io memory pids" or "1: ..."; returns the version, 0 = none mounted. */
unsigned facts_cgroup(char *buf, size_t len);

/* Is this module of the running kernel built in, loaded, or there to be loaded? */
enum facts_module { FACTS_MODULE_UNKNOWN, FACTS_MODULE_MISSING, FACTS_MODULE_THERE };
enum facts_module facts_module(const char *name);

#endif
