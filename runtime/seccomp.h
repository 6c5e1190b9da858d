/* SPDX-License-Identifier: Apache-2.0 */
/*
 * linux.seccomp, compiled on the host: the guest's agent loads a finished BPF program and has no
 * compiler in it.
 */
#ifndef HUSK_RUNTIME_SECCOMP_H
#define HUSK_RUNTIME_SECCOMP_H

#include <stddef.h>
#include "base/err.h"
#include "runtime/json.h"

/*
 * @seccomp: the section, already type-checked (spec_parse). *ret is a malloc'd array of struct
 * sock_filter, *ret_len in bytes. Unknown system calls are skipped, as runc does (a newer engine
 * lists calls that this library does not know); unknown actions, operators and architectures are
 * errors.
 */
int seccomp_compile(struct json_object *seccomp, void **ret, size_t *ret_len,
		    struct err *e) MUST_CHECK;

/* For `husk features`: NULL-terminated lists. */
extern const char *const seccomp_action_names[];
extern const char *const seccomp_operator_names[];
extern const char *const seccomp_arch_names[];
extern const char *const seccomp_flag_names[];

#endif
