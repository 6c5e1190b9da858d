/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p: reading directories. Worker threads.
 *
 * The offset of an entry is the host's cookie (d_off), so that a listing goes on where it stopped
 * whatever was added or removed meanwhile. The kernel keeps one position per open directory; it is moved
 * only when a request does not go on from there. The fid's lock keeps two requests on one fid apart.
 */
#include "virtio/p9.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POS_UNKNOWN (~(uint64_t)0)
#define ENTRY_FIXED 24u /* qid[13] offset[8] type[1] and the name's length[2] */

struct dirent64_raw { /* of getdents64(2) */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static void entry_qid(struct p9_ctx *c, const struct p9_fid *dir, const struct dirent64_raw *d,
		      uint8_t *type, struct p9_qid *q)
{
	bool up = !strcmp(d->name, "..");
	struct stat st;

	*type = d->type;
	/* What is above the root is nobody's business. */
	if (up && fstat(c->s->root_fd, &st) == 0 && st.st_dev == dir->dev &&
	    st.st_ino == dir->ino) {
		p9_qid_of(c->s, &st, q);
		return;
	}
	if (d->type == DT_UNKNOWN && fstatat(dir->fd, d->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		p9_qid_of(c->s, &st, q);
		*type = (uint8_t)IFTODT(st.st_mode);
		return;
	}
	q->type = d->type == DT_DIR ? P9_QT_DIR : d->type == DT_LNK ? P9_QT_SYMLINK : P9_QT_FILE;
	q->version = 0;
	q->path = p9_ino_path(&c->s->inos, dir->dev, d->ino);
}

/* Puts one entry at @at of the reply's data. */
static void put_entry(struct p9_ctx *c, const struct p9_fid *dir, const struct dirent64_raw *d,
		      uint32_t at)
{
	uint8_t buf[ENTRY_FIXED + NAME_MAX + 1];
	struct p9_wr w = {.buf = buf, .cap = sizeof(buf)};
	struct p9_qid q;
	uint8_t type;

	entry_qid(c, dir, d, &type, &q);
	p9_put_qid(&w, &q);
	p9_put64(&w, (uint64_t)d->off);
	p9_put8(&w, type);
	p9_put_str(&w, d->name);
	(void)iov_write(vq_in(&c->r->chain), c->r->chain.in_cnt, P9_RIO_HDR + at, buf, w.len);
}

/* Returns the bytes of entries put, or -errno. dir->lock is held. */
static int64_t read_entries(struct p9_ctx *c, struct p9_fid *dir, uint64_t off, uint32_t count)
{
	_Alignas(struct dirent64_raw) char buf[16384];
	uint32_t used = 0;

	/* Zero means from the start, as it is now. */
	if (!off || off != dir->dir_pos) {
		if (off > INT64_MAX || lseek(dir->fd, (off_t)off, SEEK_SET) < 0)
			return -EINVAL;
		dir->dir_pos = off;
	}
	for (;;) {
		long n = syscall(SYS_getdents64, dir->fd, buf, sizeof(buf));

		if (n < 0)
			return used ? (int64_t)used : -errno;
		if (!n)
			return used;
		for (long i = 0; i < n;) {
			const struct dirent64_raw *d = (const void *)(buf + i);
			size_t len = ENTRY_FIXED + strlen(d->name);

			if (len > count - used) {
				dir->dir_pos = POS_UNKNOWN; /* the kernel has read further */
				return used ? (int64_t)used : -EINVAL;
			}
			put_entry(c, dir, d, used);
			used += (uint32_t)len;
			dir->dir_pos = (uint64_t)d->off;
			i += d->reclen;
		}
	}
}

int p9_do_readdir(struct p9_ctx *c)
{
	uint32_t no = p9_get32(&c->in), count, room;
	uint64_t off = p9_get64(&c->in);
	auto_fid f = NULL;
	int64_t n;
	int rc;

	count = p9_get32(&c->in);
	rc = p9_get_end(&c->in);
	if (rc == 0)
		rc = p9_fids_get_inode(&c->s->fids, no, &f);
	if (rc < 0)
		return rc;
	if (f->fmt != S_IFDIR)
		return -ENOTDIR;
	if (f->kind != P9_OPEN)
		return -EBADF;
	room = (uint32_t)MIN(c->r->chain.in_len, (size_t)atomic_load(&c->s->msize)) - P9_RIO_HDR;
	(void)pthread_mutex_lock(&f->lock);
	n = read_entries(c, f, off, MIN(count, room));
	(void)pthread_mutex_unlock(&f->lock);
	if (n < 0)
		return (int)n;
	p9_put32(&c->out, (uint32_t)n);
	c->payload = (uint32_t)n;
	return 0;
}
