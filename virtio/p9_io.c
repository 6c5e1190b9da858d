/* SPDX-License-Identifier: Apache-2.0 */
/*
 * 9p data: Tread, Twrite and Tfsync of open files, on the ring. Loop thread.
 *
 * Bytes go between the file and the guest's buffers directly; only headers are copied. Everything that
 * is not an open regular file (attributes, errors) is left to a worker.
 */
#include "virtio/p9.h"

#include <errno.h>

static void data_done(struct loop_op *op, int res, unsigned flags)
{
	struct p9_req *r = container_of(op, struct p9_req, op);
	uint8_t head[P9_RIO_HDR];
	struct p9_wr w = {.buf = head, .cap = sizeof(head)};

	(void)flags;
	p9_fid_put(r->fid);
	r->fid = NULL;
	if (res < 0) {
		p9_reply_error(r, res);
		p9_finish(r);
		return;
	}
	r->reply_len = r->type == P9_TREAD    ? P9_RIO_HDR + (uint32_t)res
		       : r->type == P9_TWRITE ? P9_RIO_HDR
					      : P9_HDR;
	p9_put32(&w, r->reply_len);
	p9_put8(&w, r->type + 1);
	p9_put16(&w, r->tag);
	if (r->type != P9_TFSYNC)
		p9_put32(&w, (uint32_t)res);
	(void)iov_write(vq_in(&r->chain), r->chain.in_cnt, 0, head, w.len);
	p9_finish(r);
}

static bool begin_fsync(struct p9_req *r, struct p9_rd *in)
{
	bool datasync = in->left >= sizeof(uint32_t) && p9_get32(in) != 0;

	if (p9_get_end(in) < 0)
		return false;
	r->op.what = "9p fsync";
	loop_fsync(r->s->dev.loop, &r->op, r->fid->fd, datasync);
	return true;
}

static bool begin_read(struct p9_req *r, uint64_t off, uint32_t count)
{
	size_t len = MIN(r->chain.in_len, (size_t)atomic_load(&r->s->msize)) - P9_RIO_HDR;
	unsigned cnt = iov_slice(vq_in(&r->chain), r->chain.in_cnt, P9_RIO_HDR,
				 MIN(len, (size_t)count), r->data, ARRAY_LEN(r->data), &len);

	r->op.what = "9p read";
	loop_readv(r->s->dev.loop, &r->op, r->fid->fd, r->data, cnt, off);
	return true;
}

static bool begin_write(struct p9_req *r, uint64_t off, uint32_t count)
{
	unsigned cnt;
	size_t len;

	if (count > r->size - P9_IO_HDR)
		return false;
	cnt = iov_slice(vq_out(&r->chain), r->chain.out_cnt, P9_IO_HDR, count, r->data,
			ARRAY_LEN(r->data), &len);
	r->op.what = "9p write";
	loop_writev(r->s->dev.loop, &r->op, r->fid->fd, r->data, cnt, off);
	return true;
}

bool p9_io_begin(struct p9_req *r)
{
	struct p9_rd in = {.p = r->msg + P9_HDR, .left = r->msg_len - P9_HDR};
	uint32_t no = p9_get32(&in), count;
	bool begun = false;
	uint64_t off;

	if (in.err || p9_fids_get(&r->s->fids, no, &r->fid) < 0)
		return false;
	r->op.done = data_done;
	if (r->fid->kind == P9_OPEN && r->type == P9_TFSYNC) {
		begun = begin_fsync(r, &in);
	} else if (r->fid->kind == P9_OPEN && r->fid->fmt == S_IFREG) {
		off = p9_get64(&in);
		count = p9_get32(&in);
		/* Beyond lies LOOP_NO_OFF, which would mean the file position. */
		if (p9_get_end(&in) == 0 && off <= INT64_MAX)
			begun = r->type == P9_TREAD ? begin_read(r, off, count)
						    : begin_write(r, off, count);
	}
	if (!begun) {
		p9_fid_put(r->fid);
		r->fid = NULL;
	}
	return begun;
}
