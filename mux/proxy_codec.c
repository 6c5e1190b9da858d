/* SPDX-License-Identifier: Apache-2.0 */
/* The frame header of the proxy protocol. See proxy.h. */
#include <errno.h>

#include "base/endian.h"
#include "mux/proxy.h"

#define TYPE_MASK  0x0fu
#define FLAG_ERROR 0x10u

void proxy_put_header(uint8_t out[PROXY_HEADER_LEN], uint8_t type, uint8_t opcode, bool error,
		      uint32_t payload_len)
{
	be16_store(out, PROXY_VERSION);
	out[2] = PROXY_HEADER_LEN / 4;
	out[3] = out[4] = out[5] = 0;
	out[6] = (uint8_t)(type | (error ? FLAG_ERROR : 0));
	out[7] = opcode;
	be32_store(out + 8, payload_len);
}

int proxy_get_header(const uint8_t *buf, size_t len, struct proxy_header *ret)
{
	if (len < PROXY_HEADER_LEN)
		return 0;
	if (be16_load(buf) != PROXY_VERSION || buf[2] < PROXY_HEADER_LEN / 4)
		return -EPROTO;
	ret->type = buf[6] & TYPE_MASK;
	ret->error = (buf[6] & FLAG_ERROR) != 0;
	ret->opcode = buf[7];
	ret->header_len = buf[2] * 4u;
	ret->payload_len = be32_load(buf + 8);
	/* Only a response can be an error. */
	if (ret->type > PROXY_NOTIFY || (ret->error && ret->type != PROXY_RESPONSE))
		return -EPROTO;
	if (ret->payload_len > PROXY_PAYLOAD_MAX)
		return -EMSGSIZE;
	return 1;
}
