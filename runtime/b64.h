/* SPDX-License-Identifier: Apache-2.0 */
/* Base64 (RFC 4648, with padding): how binary travels in the agent's JSON. */
#ifndef HUSK_RUNTIME_B64_H
#define HUSK_RUNTIME_B64_H

#include <stddef.h>

/* A NUL-terminated string that the caller frees, or NULL when out of memory. */
char *b64_encode(const void *buf, size_t len);

#endif
