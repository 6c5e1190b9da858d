/* SPDX-License-Identifier: Apache-2.0 */
/* See kvmstats.h. Documentation/virt/kvm/api.rst of Linux, 4.133. */
#include "vmm/kvmstats.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "vmm/vm.h"

#define NAME_MAX_LEN 256u
#define DESC_MAX     512u

static int read_at(int fd, void *buf, size_t len, uint32_t off)
{
	ssize_t n = fd_pread_full(fd, buf, len, (off_t)off);

	return n < 0 ? (int)n : n == (ssize_t)len ? 0 : -EIO;
}

static int tell_all(int fd, const struct kvm_stats_header *h, const char *desc, size_t step,
		    void (*tell)(void *ctx, const char *name, uint64_t v), void *ctx)
{
	for (uint32_t i = 0; i < h->num_desc; i++) {
		struct kvm_stats_desc d;
		char name[NAME_MAX_LEN + 1] = "";
		uint64_t v;
		int rc;

		memcpy(&d, desc + i * step, sizeof(d));
		memcpy(name, desc + i * step + sizeof(d), h->name_size);
		if (d.size != 1)
			continue;
		rc = read_at(fd, &v, sizeof(v), h->data_offset + d.offset);
		if (rc < 0)
			return rc;
		tell(ctx, name, v);
	}
	return 0;
}

int kvmstats_open(int of)
{
	return kvm_call_int(of, KVM_GET_STATS_FD, 0);
}

int kvmstats_read(int fd, void (*tell)(void *ctx, const char *name, uint64_t v), void *ctx)
{
	auto_free char *desc = NULL;
	struct kvm_stats_header h;
	size_t step;
	int rc;

	rc = read_at(fd, &h, sizeof(h), 0);
	if (rc < 0)
		return rc;
	if (h.name_size > NAME_MAX_LEN || h.num_desc > DESC_MAX)
		return -E2BIG;
	step = sizeof(struct kvm_stats_desc) + h.name_size;
	desc = malloc(h.num_desc * step + 1);
	if (!desc)
		return -ENOMEM;
	rc = read_at(fd, desc, h.num_desc * step, h.desc_offset);
	return rc < 0 ? rc : tell_all(fd, &h, desc, step, tell, ctx);
}
