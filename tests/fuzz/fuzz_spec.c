/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.json from anybody: parsed, judged, its seccomp section compiled, its options read.
 * Whatever is refused is refused with a sentence.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "runtime/seccomp.h"
#include "runtime/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct json_object *mounts, *seccomp;
	struct mountopt b;
	struct spec s;
	struct err e = {0};
	void *prog = NULL;
	size_t n = 0;

	if (spec_parse(&s, (const char *)data, len, &e) < 0) {
		BUG_ON(!e.code || !e.msg[0]);
		return 0;
	}
	mounts = json_at(s.root, "mounts");
	for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++)
		BUG_ON(spec_mount_options(json_object_array_get_idx(mounts, i), &b, &e) < 0);
	BUG_ON(!spec_path(&s));
	seccomp = json_at(s.root, "linux.seccomp");
	if (seccomp && seccomp_compile(seccomp, &prog, &n, &e) < 0)
		BUG_ON(!e.code || !e.msg[0]);
	free(prog);
	spec_free(&s);
	return 0;
}
