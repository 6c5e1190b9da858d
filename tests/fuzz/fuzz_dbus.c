/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dbus_wire.c: any bytes as a message, its body read as what its signature says and as what it does
 * not say.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "runtime/dbus_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void read_body(const struct dbus_msg *m)
{
	struct dbus_in in = m->body;
	const char *sig = m->sig ? m->sig : "";

	while (*sig && !in.failed)
		dbus_skip(&in, &sig, 0);
	BUG_ON(in.off > in.len);
	/* As JobRemoved, whatever it is. */
	in = m->body;
	(void)dbus_get_u32(&in);
	for (int i = 0; i < 3; i++)
		BUG_ON(strlen(dbus_get_str(&in)) > m->body.len);
	in = m->body;
	(void)dbus_get_u8(&in);
	(void)dbus_get_u64(&in);
	BUG_ON(strlen(dbus_get_sig(&in)) > 255);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct dbus_msg m;
	size_t want = 0;

	if (!copy)
		return 0;
	memcpy(copy, data, len);
	if (len >= DBUS_HEAD_LEN && dbus_msg_len(copy, &want) == 0) {
		BUG_ON(want < DBUS_HEAD_LEN || want > DBUS_MSG_MAX);
		if (want <= len && dbus_msg_parse(&m, copy, want) == 0)
			read_body(&m);
	}
	free(copy);
	return 0;
}
