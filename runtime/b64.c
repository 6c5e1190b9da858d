/* SPDX-License-Identifier: Apache-2.0 */
/* See b64.h. */
#include "runtime/b64.h"

#include <stdint.h>
#include <stdlib.h>

char *b64_encode(const void *buf, size_t len)
{
	static const char set[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const uint8_t *p = buf;
	char *out = malloc((len + 2) / 3 * 4 + 1), *o = out;

	if (!out)
		return NULL;
	for (size_t i = 0; i < len; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16;

		if (i + 1 < len)
			v |= (uint32_t)p[i + 1] << 8;
		if (i + 2 < len)
			v |= p[i + 2];
		*o++ = set[v >> 18];
		*o++ = set[v >> 12 & 63];
		*o++ = i + 1 < len ? set[v >> 6 & 63] : '=';
		*o++ = i + 2 < len ? set[v & 63] : '=';
	}
	*o = '\0';
	return out;
}
