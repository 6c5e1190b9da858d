/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The OCI runtime spec's config.json: read once, checked against what it may be and what this
 * runtime can do, and kept as JSON, because the guest's agent reads it too. Nothing here touches
 * the container.
 */
#ifndef HUSK_RUNTIME_SPEC_H
#define HUSK_RUNTIME_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"
#include "runtime/json.h"

#define SPEC_VERSION "1.1.0" /* OCI runtime spec that we write and claim */
#define SPEC_SIZE_MAX                                                                              \
	(15u << 20) /* it has to fit into one control frame beside a seccomp program */

struct spec {
	struct json_object *root; /* the whole document */
	char *text;		  /* its bytes as read, NUL-terminated */
	size_t text_len;
	char *bundle; /* absolute */
	char *rootfs; /* absolute, exists, a directory */
	bool readonly;
	bool terminal;
	const char *netns; /* to join; NULL = a new one. All strings below are the document's. */
	const char *cgroups_path;      /* NULL = stay in the caller's */
	int64_t memory_limit;	       /* bytes; 0 = none */
	int64_t cpu_quota, cpu_period; /* microseconds; quota <= 0 = none */
};

/* Frees what spec_load() filled in; a zeroed spec is fine. */
void spec_free(struct spec *s);

/*
 * Parses and checks the document alone: types, versions, and what cannot be had here is refused by
 * name. On success @s owns a copy of @text; rootfs and bundle stay NULL. For fuzzing, too.
 */
int spec_parse(struct spec *s, const char *text, size_t len, struct err *e) MUST_CHECK;
/* Reads <bundle>/config.json, spec_parse(), and resolves bundle and rootfs on this host. */
int spec_load(struct spec *s, const char *bundle, struct err *e) MUST_CHECK;

/* The type of mount that the guest makes itself (proc, tmpfs, …), not the host. */
bool spec_mount_is_guest(struct json_object *mount);
/* A bind mount's flags; unknown options are for the guest. */
struct spec_bind {
	bool recursive;
	uint64_t attr_set, attr_clr; /* MOUNT_ATTR_* */
};
void spec_bind_options(struct json_object *mount, struct spec_bind *ret);

/* PATH of process.env, or the default that a shell would have. */
const char *spec_path(const struct spec *s);

/* The document that `husk spec` writes. The caller frees it. */
char *spec_template(void);

#endif
