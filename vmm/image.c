/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where kernel images come from, and which loader gets them. See image.h.
 */
#include "vmm/image.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"

int image_open(struct image_src *s, int fd, const char *name, struct err *e)
{
	struct stat st;
	int rc;

	*s = (struct image_src){.fd = fd};
	if (fstat(fd, &st) < 0) {
		rc = -errno;
		return err_sys(e, rc, "'%s'", name);
	}
	if (S_ISDIR(st.st_mode))
		return err_set(e, -EISDIR, "'%s' is a directory", name);
	if (!S_ISREG(st.st_mode))
		return err_set(e, -EINVAL, "'%s' is not a regular file", name);
	if (st.st_size <= 0)
		return err_set(e, -EINVAL, "'%s' is empty", name);
	s->size = (uint64_t)st.st_size;
	return 0;
}

int image_read(const struct image_src *s, uint64_t off, void *buf, uint64_t len)
{
	uint8_t *p = buf;

	if (off > s->size || len > s->size - off)
		return -ENODATA;
	if (s->buf) {
		memcpy(buf, s->buf + off, len);
		return 0;
	}
	while (len) {
		size_t part = MIN(len, (uint64_t)1 << 30);
		ssize_t n = fd_pread_full(s->fd, p, part, (off_t)off);

		if (n < 0)
			return (int)n;
		if ((size_t)n != part)
			return -ENODATA;
		p += part;
		off += part;
		len -= part;
	}
	return 0;
}

int image_load(const struct gmem *mem, const struct image_src *src, const char *name,
	       struct kernel_image *ret, struct err *e)
{
	memset(ret, 0, sizeof(*ret));
	if (elf_is(src))
		return elf_load(mem, src, name, ret, e);
	if (bzimage_is(src))
		return bzimage_load(mem, src, name, ret, e);
	return err_set(e, -ENOEXEC, "kernel '%s': not an ELF file or bzImage", name);
}
