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
#include "base/mountopt.h"
#include "runtime/json.h"

#define SPEC_WHAT    "config.json" /* begins the sentence of an error */
#define SPEC_VERSION "1.1.0"	   /* OCI runtime spec that we write and claim */
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
	/* The vm section: absolute paths and sizes in place of husk's own; NULL or 0 = not given. */
	const char *vm_kernel, *vm_initrd, *vm_image;
	uint64_t vm_memory; /* bytes */
	unsigned vm_cpus;
};

/* Frees what spec_load() filled in; a zeroed spec is fine. */
void spec_free(struct spec *s);

/*
 * Parses and checks the document alone: types, versions, and what cannot be had here is refused by
 * name. On success @s owns a copy of @text; rootfs and bundle stay NULL. For fuzzing, too.
 */
int spec_parse(struct spec *s, const char *text, size_t len, struct err *e) MUST_CHECK;
/* spec_check.c: the part of spec_parse() that knows the rules; fills in all but text and paths. */
int spec_check(struct spec *s, struct err *e) MUST_CHECK;
/* Reads <bundle>/config.json, spec_parse(), and resolves bundle and rootfs on this host. */
int spec_load(struct spec *s, const char *bundle, struct err *e) MUST_CHECK;

/* Who makes a mount, and how. */
enum spec_mount_kind {
	SPEC_MOUNT_GUEST, /* the guest, from its kernel (proc, tmpfs, …), or it changes one of these */
	SPEC_MOUNT_BIND, /* the host: a part of its tree */
	SPEC_MOUNT_HOST, /* the host: a file system of its kernel (overlay, ext4, nfs, …) */
};
enum spec_mount_kind spec_mount_kind(struct json_object *mount);
/*
 * What a process asks of security modules (apparmorProfile, selinuxLabel): -ENOTSUP names what it
 * cannot have; what engines set by themselves is logged and passes. @what begins the sentence;
 * @process may be NULL.
 */
int spec_check_labels(struct json_object *process, const char *what, struct err *e) MUST_CHECK;
/* The options in @ret; its strings are the document's. -errno for what cannot be had. */
int spec_mount_options(struct json_object *mount, struct mountopt *ret, struct err *e) MUST_CHECK;

/* linux.sysctl has keys of single network interfaces: these have to be there before the container. */
bool spec_names_interfaces(const struct spec *s);

/* PATH of process.env, or the default that a shell would have. */
const char *spec_path(const struct spec *s);

/* The document that `husk spec` writes. The caller frees it. */
char *spec_template(void);

#endif
