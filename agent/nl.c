/* SPDX-License-Identifier: Apache-2.0 */
/* See nl.h. */
#include "agent/nl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

static void *room(struct nlm *m, size_t len)
{
	size_t padded = NLMSG_ALIGN(len);
	void *at = m->raw + m->len;

	if (m->full || padded > NLM_MAX - m->len) {
		m->full = true;
		return NULL;
	}
	memset(at, 0, padded);
	m->len += padded;
	return at;
}

void nlm_raw(struct nlm *m, const void *data, size_t len)
{
	void *at = room(m, len);

	if (at && len)
		memcpy(at, data, len);
}

void nlm_begin(struct nlm *m, uint16_t type, uint16_t flags, const void *body, size_t len)
{
	static uint32_t seq;

	m->len = 0;
	m->full = false;
	(void)room(m, sizeof(m->head));
	m->head.nlmsg_type = type;
	m->head.nlmsg_flags = (uint16_t)(flags | NLM_F_REQUEST | NLM_F_ACK);
	m->head.nlmsg_seq = ++seq;
	nlm_raw(m, body, len);
}

void nlm_put(struct nlm *m, uint16_t type, const void *data, size_t len)
{
	struct nlattr a = {.nla_type = type, .nla_len = (uint16_t)(NLA_HDRLEN + len)};
	uint8_t *at = len > NLM_MAX ? NULL : room(m, NLA_HDRLEN + len);

	if (!at) {
		m->full = true;
		return;
	}
	memcpy(at, &a, sizeof(a));
	if (len)
		memcpy(at + NLA_HDRLEN, data, len);
}

void nlm_put_u32(struct nlm *m, uint16_t type, uint32_t v)
{
	nlm_put(m, type, &v, sizeof(v));
}

void nlm_put_str(struct nlm *m, uint16_t type, const char *s)
{
	nlm_put(m, type, s, strlen(s) + 1);
}

size_t nlm_nest(struct nlm *m, uint16_t type)
{
	size_t at = m->len;

	nlm_put(m, type, NULL, 0);
	return at;
}

void nlm_end(struct nlm *m, size_t at)
{
	uint16_t len = (uint16_t)(m->len - at);

	if (!m->full)
		memcpy(m->raw + at + offsetof(struct nlattr, nla_len), &len, sizeof(len));
}

int nl_find_ack(const void *buf, size_t len, uint32_t seq, int *ret)
{
	const uint8_t *p = buf;

	while (len >= sizeof(struct nlmsghdr)) {
		struct nlmsghdr h;

		memcpy(&h, p, sizeof(h));
		if (h.nlmsg_len < sizeof(h) || h.nlmsg_len > len)
			return -EBADMSG;
		if (h.nlmsg_type == NLMSG_ERROR && h.nlmsg_seq == seq) {
			int code;

			if (h.nlmsg_len < NLMSG_HDRLEN + sizeof(struct nlmsgerr))
				return -EBADMSG;
			memcpy(&code, p + NLMSG_HDRLEN, sizeof(code));
			*ret = code;
			return 1;
		}
		if (NLMSG_ALIGN(h.nlmsg_len) >= len)
			break;
		len -= NLMSG_ALIGN(h.nlmsg_len);
		p += NLMSG_ALIGN(h.nlmsg_len);
	}
	return 0;
}

int nl_open(void)
{
	struct sockaddr_nl sa = {.nl_family = AF_NETLINK};
	auto_fd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int on = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	/* An error comes back without a copy of what it is about. */
	(void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	return fd_take(&fd);
}

int nl_talk(int fd, struct nlm *m)
{
	uint8_t buf[8192];
	int rc, answer = 0;

	if (m->full)
		return -EMSGSIZE;
	m->head.nlmsg_len = (uint32_t)m->len;
	rc = fd_write_full(fd, m->raw, m->len);
	while (rc == 0) {
		ssize_t n = recv(fd, buf, sizeof(buf), 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		rc = nl_find_ack(buf, (size_t)n, m->head.nlmsg_seq, &answer);
	}
	return rc < 0 ? rc : answer;
}
