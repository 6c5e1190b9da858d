/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, with padding): how binary travels in the agent's JSON. */
#ifndef HUSK_BASE_B64_H
#define HUSK_BASE_B64_H

#include <stddef.h>
#include "base/compiler.h"

/* A NUL-terminated string that the caller frees, or NULL when out of memory. */
char *b64_encode(const void *buf, size_t len);
/* Strict, with padding. The caller frees *ret. -EINVAL for anything else, -ENOMEM. */
int b64_decode(const char *s, void **ret, size_t *ret_len) MUST_CHECK;

#endif
