/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream socket as the other end of virtio-net: passt, or whatever else speaks as QEMU's stream netdev
 * does. Each Ethernet frame has its length in front, 32 bits, big-endian; no header of virtio, so there
 * are no offloads, and one pair of queues. Loop thread.
 *
 * In: a buffer of our own, from which whole frames are copied to the guest; a frame for which the guest has
 * no buffers yet waits there, and the socket fills up behind it. Out: straight from guest memory. What the
 * socket did not take of a frame is copied and goes first next time, whatever the driver does meanwhile:
 * a frame is never cut.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "virtio/net_priv.h"

#define LEN_LEN 4u /* bytes in front of a frame */
#define IN_CAP	(4u * (LEN_LEN + NET_FRAME_MAX))

struct net_stream {
	size_t in_off, in_len;	   /* what has been read and not yet been handed on */
	size_t rest_off, rest_len; /* the end of a frame on its way out */
	uint8_t in[IN_CAP];	   /* touched as far as it is used */
	uint8_t rest[LEN_LEN + NET_FRAME_MAX];
};

static int stream_probe(struct net *n, const char *name, uint64_t *features, struct err *e)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer), type_len = sizeof(int);
	int type = 0, fd = n->pair[0].fd;

	(void)features;
	if (n->pair_cnt != 1)
		return err_set(e, -EINVAL, "nic %s: a stream has one pair of queues", name);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) < 0 || type != SOCK_STREAM ||
	    getpeername(fd, (struct sockaddr *)&peer, &len) < 0)
		return err_set(e, -EINVAL, "nic %s: not a connected stream socket", name);
	n->stream = malloc(sizeof(*n->stream));
	if (!n->stream)
		return err_set(e, -ENOMEM, "nic %s: out of memory", name);
	n->stream->in_off = n->stream->in_len = 0;
	n->stream->rest_off = n->stream->rest_len = 0;
	return 0;
}

void net_stream_free(struct net *n)
{
	free(n->stream);
	n->stream = NULL;
}

/* ---- in --------------------------------------------------------------------------------------------- */

/* One read more. */
static int stream_read(struct net_stream *s, int fd)
{
	ssize_t got;

	if (s->in_off) {
		memmove(s->in, s->in + s->in_off, s->in_len);
		s->in_off = 0;
	}
	got = recv(fd, s->in + s->in_len, sizeof(s->in) - s->in_len, MSG_DONTWAIT);
	if (got < 0)
		return -errno;
	if (got == 0)
		return -EPIPE;
	s->in_len += (size_t)got;
	return 0;
}

/* The length of the frame that lies whole in the buffer, or -errno. */
static ssize_t whole_frame(struct net_stream *s, int fd)
{
	for (;;) {
		int rc;

		if (s->in_len >= LEN_LEN) {
			uint32_t len = be32_load(s->in + s->in_off);

			if (len < NET_FRAME_MIN || len > NET_FRAME_MAX)
				return -EBADMSG;
			if (s->in_len >= LEN_LEN + len)
				return (ssize_t)len;
		}
		rc = stream_read(s, fd);
		if (rc < 0 && rc != -EINTR)
			return rc;
	}
}

static void skip(struct net_stream *s, size_t frame)
{
	s->in_off += LEN_LEN + frame;
	s->in_len -= LEN_LEN + frame;
}

static int stream_recv(struct net_pair *p)
{
	struct net_stream *s = p->net->stream;
	ssize_t frame = whole_frame(s, p->fd);
	static const uint8_t hdr[NET_HDR_LEN];
	size_t len;

	if (frame < 0)
		return (int)frame;
	len = NET_HDR_LEN + (size_t)frame;
	net_rx_fill(p, len);
	if (p->net->dev.broken)
		return -ENOBUFS;
	if (p->rx_room < len) {
		if (p->rx_cnt < net_rx_chains(p->net) && p->rx_spans + NET_CHAIN_SPANS <= NET_SPANS)
			return -ENOBUFS; /* it fits when the driver has given us more */
		p->rx_dropped++;
		skip(s, (size_t)frame);
		return 0;
	}
	(void)iov_write(p->rx_iov, p->rx_spans, 0, hdr, sizeof(hdr));
	(void)iov_write(p->rx_iov, p->rx_spans, NET_HDR_LEN, s->in + s->in_off + LEN_LEN,
			(size_t)frame);
	skip(s, (size_t)frame);
	net_rx_push(p, len);
	return 0;
}

/* ---- out -------------------------------------------------------------------------------------------- */

static int stream_flush(struct net_pair *p)
{
	struct net_stream *s = p->net->stream;

	while (s->rest_len) {
		ssize_t n =
		    send(p->fd, s->rest + s->rest_off, s->rest_len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		s->rest_off += (size_t)n;
		s->rest_len -= (size_t)n;
	}
	return 0;
}

static int stream_send(struct net_pair *p)
{
	struct net_stream *s = p->net->stream;
	struct iovec iov[1 + NET_CHAIN_SPANS];
	uint8_t len[LEN_LEN];
	struct msghdr m = {.msg_iov = iov};
	size_t frame;
	ssize_t n;
	int rc = stream_flush(p);

	if (rc < 0)
		return rc;
	m.msg_iovlen = 1 + iov_slice(vq_out(&p->tx), p->tx.out_cnt, NET_HDR_LEN, NET_FRAME_MAX,
				     iov + 1, NET_CHAIN_SPANS, &frame);
	be32_store(len, (uint32_t)frame);
	iov[0] = (struct iovec){len, sizeof(len)};
	do
		n = sendmsg(p->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	s->rest_off = 0;
	s->rest_len =
	    iov_read(iov, (unsigned)m.msg_iovlen, (size_t)n, s->rest, LEN_LEN + frame - (size_t)n);
	return 0;
}

const struct net_end net_stream_end = {
    .probe = stream_probe,
    .recv = stream_recv,
    .send = stream_send,
    .flush = stream_flush,
};
