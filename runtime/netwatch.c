/* SPDX-License-Identifier: Apache-2.0 */
/* See netwatch.h. Everything but what is under the lock belongs to the thread. */
#include "runtime/netwatch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/thread.h"
#include "runtime/netdns.h"
#include "runtime/netscan.h"

#define QUIET_MS   20		     /* of silence before the name space is read again */
#define BURST_NS   (300 * NS_PER_MS) /* a burst is not waited for longer than this */
#define NICS_MAX   64u		     /* of one sandbox: a bound for what one thing can cost */
#define EVENTS_LEN 8192u
#define TRIES	   4u	      /* while interfaces vanish between reading and plugging */
#define FAILED_NS  NS_PER_SEC /* until an interface that could not be plugged in is tried again */

struct question {
	struct list node;
	uint32_t id;
	bool tcp;
	size_t len;
	uint8_t msg[];
};

struct plugged {
	int ifindex;
	unsigned mtu;
};

struct netwatch {
	struct netwatch_config cfg;
	struct nettap_env env;
	struct loop *loop;
	pthread_t thread;
	bool has_thread;
	struct nl_sock *events;
	int bell; /* eventfd: begin, stop */

	/* The thread's. */
	struct plugged plugged[NICS_MAX];
	size_t plugged_cnt;
	char *last;	/* the description that was told last */
	struct err err; /* and what was wrong */
	bool unread;	/* the name space could not be read: no event says when to try again */
	int own[2 * NICS_MAX]; /* indexes of interfaces of ours, the last ones seen: a ring */
	unsigned own_next;
	struct netdns dns;
	bool dns_told; /* that it is of little use here */

	pthread_mutex_t lock;
	pthread_cond_t ready_cond;
	bool ready, begin, stop;
	bool busy; /* it has taken from its bell or its events what it has not told yet */
	struct err init_err;
	struct list news;      /* for the loop */
	struct list questions; /* from the loop */
	unsigned question_cnt;
	struct loop_work deliver;
};

void netwatch_news_free(struct netwatch_news *n)
{
	for (size_t i = 0; i < n->nic_cnt; i++)
		for (unsigned q = 0; q < n->nic[i].queues; q++)
			fd_close(&n->nic[i].fds[q]);
	json_object_put(n->doc);
	free(n->answer);
	free(n->nic);
	free(n);
}

static void deliver(struct loop_work *work)
{
	struct netwatch *w = container_of(work, struct netwatch, deliver);

	for (;;) {
		struct netwatch_news *n = NULL;

		(void)pthread_mutex_lock(&w->lock);
		if (!list_empty(&w->news)) {
			n = list_first(&w->news, struct netwatch_news, node);
			list_del(&n->node);
		}
		(void)pthread_mutex_unlock(&w->lock);
		if (!n)
			return;
		w->cfg.news(w->cfg.ctx, n);
	}
}

static void tell(struct netwatch *w, struct netwatch_news *n)
{
	(void)pthread_mutex_lock(&w->lock);
	list_add_tail(&w->news, &n->node);
	(void)pthread_mutex_unlock(&w->lock);
	loop_post(w->loop, &w->deliver);
}

/* ---- what is there ------------------------------------------------------------------------------- */

static struct plugged *find(struct netwatch *w, int ifindex)
{
	for (size_t i = 0; i < w->plugged_cnt; i++)
		if (w->plugged[i].ifindex == ifindex)
			return &w->plugged[i];
	return NULL;
}

static int plug_one(struct netwatch *w, const struct netscan_link *l, struct netwatch_news *n)
{
	struct netwatch_nic *nic = realloc(n->nic, (n->nic_cnt + 1) * sizeof(*nic));
	int rc;

	if (!nic)
		return err_set(&n->err, -ENOMEM, "interface '%s': out of memory", l->name);
	n->nic = nic;
	nic += n->nic_cnt;
	*nic = (struct netwatch_nic){.ifindex = l->ifindex, .queues = w->env.queues};
	memcpy(nic->name, l->name, sizeof(nic->name));
	memcpy(nic->mac, l->mac, sizeof(nic->mac));
	if (w->plugged_cnt == NICS_MAX)
		return err_set(&n->err, -ENOSPC, "interface '%s': more than %u interfaces", l->name,
			       NICS_MAX);
	rc = nettap_plug(&w->env, l, nic->fds, &n->err);
	if (rc < 0)
		return rc;
	n->nic_cnt++;
	w->plugged[w->plugged_cnt++] = (struct plugged){.ifindex = l->ifindex, .mtu = l->mtu};
	return 0;
}

static void forget_gone(struct netwatch *w, const struct netscan *s)
{
	for (size_t i = w->plugged_cnt; i-- > 0;) {
		bool there = false;

		for (size_t k = 0; k < s->cnt; k++)
			there |= s->link[k].ifindex == w->plugged[i].ifindex;
		if (there)
			continue;
		/* Taken down without an address it still exists. */
		nettap_unplug(&w->env, w->plugged[i].ifindex);
		w->plugged[i] = w->plugged[--w->plugged_cnt];
	}
}

/*
 * New interfaces get their taps. -ENODEV: one went away, so @s is out of date. What is wrong with one,
 * in n->err, does not keep the others from theirs.
 */
static int plug_new(struct netwatch *w, const struct netscan *s, struct netwatch_news *n)
{
	forget_gone(w, s);
	for (size_t i = 0; i < s->cnt; i++) {
		struct netscan_link *l = &s->link[i];
		struct plugged *p = find(w, l->ifindex);
		int rc = 0;

		if (!p)
			rc = plug_one(w, l, n);
		else if (p->mtu != l->mtu)
			rc = nettap_follow(&w->env, l, &n->err);
		if (rc == -ENODEV)
			return rc;
		if (rc == 0 && p)
			p->mtu = l->mtu;
	}
	return 0;
}

/* The description of what is plugged; the references of @s move into it. */
static struct json_object *describe(struct netwatch *w, const struct netscan *s)
{
	struct json_object *doc = json_object_new_object(), *arr = json_object_new_array();

	for (size_t i = 0; i < s->cnt; i++) {
		if (!find(w, s->link[i].ifindex))
			continue;
		json_add_i64(s->link[i].doc, "ifindex", s->link[i].ifindex);
		(void)json_object_array_add(arr, json_object_get(s->link[i].doc));
	}
	(void)json_object_object_add(doc, "interfaces", arr);
	/* They are about interfaces. */
	if (w->env.model != NET_NONE) {
		(void)json_object_object_add(doc, "routes", json_object_get(s->routes));
		(void)json_object_object_add(doc, "neighbours", json_object_get(s->neighbours));
	}
	if (netdns_is_used(w->cfg.proc_fd)) {
		json_add_bool(doc, "dns", true);
		if (!w->dns_told && (w->env.model == NET_BRIDGE || w->env.model == NET_MACVTAP)) {
			w->dns_told = true;
			log_warn("network.model: Docker's name server has no way out of the "
				 "network namespace "
				 "with this one: it finds containers, but no names outside");
		}
	}
	return doc;
}

static int look_once(struct netwatch *w, struct netscan *s, struct netwatch_news *n)
{
	int rc = netscan_read(w->env.sk, s, &n->err);

	if (rc < 0)
		return rc;
	if (w->env.model == NET_NONE)
		return 0;
	if (s->cnt && w->cfg.tun_fd < 0 && w->env.model != NET_MACVTAP)
		return err_set(&n->err, -ENOENT,
			       "interface '%s': /dev/net/tun does not exist on this host",
			       s->link[0].name);
	if (s->alien[0])
		err_set(&n->err, -ENOTSUP,
			"interface '%s' is not Ethernet: a NIC cannot stand for it", s->alien);
	return plug_new(w, s, n);
}

/* Reads, plugs, tells if there is something new. False: something could not be plugged in. */
static bool look(struct netwatch *w, bool asked)
{
	struct netwatch_news *n = calloc(1, sizeof(*n));
	struct netscan s = {0};
	const char *text;
	char *copy;
	int rc = -ENODEV;

	if (!n) {
		log_err("network: out of memory");
		return false;
	}
	for (unsigned i = 0; i < TRIES && rc == -ENODEV; i++) {
		netscan_free(&s);
		n->err = (struct err){0};
		rc = look_once(w, &s, n);
	}
	if (rc == -ENODEV) {
		/* It is gone, so nothing is missing; should it come back, that is news again. */
		log_warn("network: %s", n->err.msg);
		n->err = (struct err){0};
	}
	n->asked = asked;
	w->unread = !s.routes; /* not even read */
	n->doc = w->unread ? NULL : describe(w, &s);
	netscan_free(&s);
	text = n->doc ? json_object_to_json_string_ext(n->doc, JSON_C_TO_STRING_PLAIN) : NULL;
	if (!asked && !n->nic_cnt && n->err.code == w->err.code &&
	    (!n->err.code || !strcmp(n->err.msg, w->err.msg)) && w->last && text &&
	    !strcmp(text, w->last)) {
		netwatch_news_free(n);
		return w->err.code == 0;
	}
	w->err = n->err;
	copy = text ? strdup(text) : NULL;
	free(w->last);
	w->last = copy;
	tell(w, n);
	return w->err.code == 0;
}

/* @what NULL: there is a question. */
static void ring(struct netwatch *w, bool *what)
{
	uint64_t one = 1;

	(void)pthread_mutex_lock(&w->lock);
	if (what)
		*what = true;
	(void)pthread_mutex_unlock(&w->lock);
	(void)!write(w->bell, &one, sizeof(one));
}

/* ---- the name server --------------------------------------------------------------------------------- */

static struct question *next_question(struct netwatch *w)
{
	struct question *q = NULL;

	(void)pthread_mutex_lock(&w->lock);
	if (!list_empty(&w->questions)) {
		q = list_first(&w->questions, struct question, node);
		list_del(&q->node);
		w->question_cnt--;
	}
	(void)pthread_mutex_unlock(&w->lock);
	return q;
}

static void ask_all(struct netwatch *w)
{
	struct question *q;

	while ((q = next_question(w)) != NULL) {
		if (q->tcp)
			netdns_ask_tcp(&w->dns, q->id, q->msg, q->len);
		else
			netdns_ask(&w->dns, q->id, q->msg, q->len);
		free(q);
	}
}

static void tell_answers(struct netwatch *w)
{
	uint32_t id;
	size_t len;

	while ((len = netdns_answer(&w->dns, &id)) > 0) {
		struct netwatch_news *n = calloc(1, sizeof(*n));

		if (n)
			n->answer = malloc(len);
		if (!n || !n->answer) {
			free(n);
			return;
		}
		n->answer_id = id;
		n->answer_len = len;
		memcpy(n->answer, w->dns.buf, len);
		tell(w, n);
	}
}

void netwatch_ask(struct netwatch *w, uint32_t id, bool tcp, const void *msg, size_t len)
{
	struct question *q = len <= NETDNS_LEN_MAX ? malloc(sizeof(*q) + len) : NULL;
	bool full;

	if (!q)
		return;
	q->id = id;
	q->tcp = tcp;
	q->len = len;
	memcpy(q->msg, msg, len);
	(void)pthread_mutex_lock(&w->lock);
	full = w->question_cnt >= NETDNS_OPEN_MAX;
	if (!full) {
		list_add_tail(&w->questions, &q->node);
		w->question_cnt++;
	}
	(void)pthread_mutex_unlock(&w->lock);
	if (full)
		free(q);
	else
		ring(w, NULL);
}

/* ---- the thread ---------------------------------------------------------------------------------- */

static bool is_own(const struct netwatch *w, int ifindex)
{
	for (size_t i = 0; i < ARRAY_LEN(w->own); i++)
		if (ifindex && w->own[i] == ifindex)
			return true;
	return false;
}

static bool is_own_link(struct netwatch *w, struct nlmsghdr *h)
{
	const struct ifinfomsg *ifi = nlmsg_data(h);
	struct nlattr *name = nlmsg_find_attr(h, sizeof(*ifi), IFLA_IFNAME);

	if (!name || strncmp(nla_data(name), NETSCAN_OURS, strlen(NETSCAN_OURS)) != 0)
		return false;
	if (!is_own(w, ifi->ifi_index))
		w->own[w->own_next++ % ARRAY_LEN(w->own)] = ifi->ifi_index;
	return true;
}

/*
 * Is it about a tap or a bridge that we have made? These are no news; and an interface that cannot be
 * plugged in would be tried for ever, since each try makes and removes a tap.
 */
static bool is_ours(struct netwatch *w, struct nlmsghdr *h)
{
	struct nlattr *oif;

	switch (h->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return nlmsg_datalen(h) >= (int)sizeof(struct ifinfomsg) && is_own_link(w, h);
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return nlmsg_datalen(h) >= (int)sizeof(struct ifaddrmsg) &&
		       is_own(w, (int)((struct ifaddrmsg *)nlmsg_data(h))->ifa_index);
	case RTM_NEWNEIGH:
	case RTM_DELNEIGH:
		return nlmsg_datalen(h) >= (int)sizeof(struct ndmsg) &&
		       is_own(w, ((struct ndmsg *)nlmsg_data(h))->ndm_ifindex);
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		oif = nlmsg_find_attr(h, sizeof(struct rtmsg), RTA_OIF);
		return oif && nla_len(oif) >= (int)sizeof(uint32_t) &&
		       is_own(w, (int)nla_get_u32(oif));
	default:
		return false;
	}
}

/* What has come is thrown away: the name space is read as a whole. True: some of it is news. */
static bool drain_events(struct netwatch *w)
{
	union {
		struct nlmsghdr h;
		uint8_t room[EVENTS_LEN];
	} buf;
	bool news = false;

	for (;;) {
		ssize_t n = recv(nl_socket_get_fd(w->events), &buf, sizeof(buf), MSG_DONTWAIT);
		struct nlmsghdr *h = &buf.h;
		int left = (int)n;

		/* ENOBUFS: more has happened than the socket holds, which is news as well. */
		if (n <= 0 && errno != ENOBUFS)
			return news;
		news |= n <= 0;
		for (; n > 0 && nlmsg_ok(h, left); h = nlmsg_next(h, &left))
			news |= !is_ours(w, h);
	}
}

static bool wants(struct netwatch *w, const bool *what)
{
	bool yes;

	(void)pthread_mutex_lock(&w->lock);
	yes = *what;
	(void)pthread_mutex_unlock(&w->lock);
	return yes;
}

/* Before what tells of work is taken, and after it is done. */
static void set_busy(struct netwatch *w, bool busy)
{
	(void)pthread_mutex_lock(&w->lock);
	w->busy = busy;
	(void)pthread_mutex_unlock(&w->lock);
}

static bool take_begin(struct netwatch *w)
{
	bool yes;

	(void)pthread_mutex_lock(&w->lock);
	yes = w->begin;
	w->begin = false;
	w->busy |= yes;
	(void)pthread_mutex_unlock(&w->lock);
	return yes;
}

/* Waits until nothing has happened for a while. False: it was nothing but our own doing. */
static bool settle(struct netwatch *w)
{
	uint64_t until = clock_ns() + BURST_NS;
	bool news = false;

	do {
		struct pollfd p[2] = {{.fd = nl_socket_get_fd(w->events), .events = POLLIN},
				      {.fd = w->bell, .events = POLLIN}};

		news |= drain_events(w);
		if (!news || poll(p, 2, QUIET_MS) == 0 || p[1].revents)
			return news;
	} while (clock_ns() < until);
	return drain_events(w) || news;
}

/* After the guest has been told what it waits for. */
static bool plug_lo(struct netwatch *w)
{
	struct err e = {0};

	if (!w->cfg.forward || w->env.own_fd < 0)
		return false;
	if (nettap_plug_lo(&w->env, &e) == 0)
		return true;
	log_warn("ports at localhost of the network namespace are not the guest's: %s", e.msg);
	return false;
}

static void *run(void *arg)
{
	struct netwatch *w = arg;
	bool watching = false, has_lo = false;
	uint64_t rest = 0; /* until then changes wait, after a failure */

	(void)prctl(PR_SET_NAME, "net watcher");
	(void)pthread_mutex_lock(&w->lock);
	if (w->cfg.thread_init && w->cfg.thread_init(w->cfg.ctx, &w->init_err) < 0)
		w->stop = true;
	w->ready = true;
	(void)pthread_cond_signal(&w->ready_cond);
	(void)pthread_mutex_unlock(&w->lock);
	while (!wants(w, &w->stop)) {
		struct pollfd p[2 + NETDNS_POLLS] = {
		    {.fd = w->bell, .events = POLLIN},
		    {.fd = nl_socket_get_fd(w->events), .events = POLLIN}};
		uint64_t val, now = clock_ns();

		netdns_polls(&w->dns, p + 2);
		if (now < rest)
			p[1].fd = -1;
		if (poll(p, watching ? ARRAY_LEN(p) : 1,
			 now < rest ? (int)((rest - now) / NS_PER_MS) + 1 : -1) < 0 &&
		    errno != EINTR)
			break;
		if (p[0].revents)
			(void)!read(w->bell, &val, sizeof(val));
		if (wants(w, &w->stop))
			break;
		ask_all(w);
		tell_answers(w);
		if (take_begin(w)) {
			watching = true;
			(void)drain_events(w);
			rest = look(w, true) ? 0 : clock_ns() + FAILED_NS;
			has_lo = has_lo || plug_lo(w);
		} else if (watching && (p[1].revents || (w->unread && clock_ns() >= rest))) {
			set_busy(w, true);
			if (settle(w) || w->unread)
				rest = look(w, false) ? 0 : clock_ns() + FAILED_NS;
		}
		set_busy(w, false);
	}
	if (has_lo)
		nettap_unplug_lo(&w->env);
	while (w->plugged_cnt)
		nettap_unplug(&w->env, w->plugged[--w->plugged_cnt].ifindex);
	return NULL;
}

/* ---- making -------------------------------------------------------------------------------------- */

static int open_events(struct netwatch *w, struct err *e)
{
	static const int groups[] = {RTNLGRP_LINK,	 RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
				     RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,  RTNLGRP_NEIGH};
	int rc = 0;

	w->events = nettap_socket(e);
	if (!w->events)
		return e->code;
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(groups); i++)
		rc = nl_socket_add_memberships(w->events, groups[i], 0);
	return rc < 0 ? err_sys(e, netscan_errno(rc), "watching the network") : 0;
}

static int start_thread(struct netwatch *w, struct err *e)
{
	int rc = thread_start(&w->thread, THREAD_STACK, run, w);

	if (rc < 0)
		return err_sys(e, rc, "network watcher");
	w->has_thread = true;
	(void)pthread_mutex_lock(&w->lock);
	while (!w->ready)
		(void)pthread_cond_wait(&w->ready_cond, &w->lock);
	(void)pthread_mutex_unlock(&w->lock);
	return w->init_err.code ? err_set(e, w->init_err.code, "%s", w->init_err.msg) : 0;
}

int netwatch_new(struct netwatch **ret, struct loop *loop, const struct netwatch_config *cfg,
		 struct err *e)
{
	struct netwatch *w = calloc(1, sizeof(*w));
	int rc = 0;

	if (!w) {
		int fds[3] = {cfg->tun_fd, cfg->dev_fd, cfg->own_fd};

		for (size_t i = 0; i < ARRAY_LEN(fds); i++)
			fd_close(&fds[i]);
		return err_set(e, -ENOMEM, "network watcher: out of memory");
	}
	w->cfg = *cfg;
	w->loop = loop;
	list_init(&w->news);
	list_init(&w->questions);
	netdns_init(&w->dns);
	w->deliver.fn = deliver;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->ready_cond, NULL);
	w->env = (struct nettap_env){.sk = nettap_socket(e),
				     .proc_fd = cfg->proc_fd,
				     .tun_fd = cfg->tun_fd,
				     .dev_fd = cfg->dev_fd,
				     .own_fd = cfg->own_fd,
				     .model = cfg->model,
				     .queues = cfg->queues,
				     .owner = cfg->owner};
	w->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!w->env.sk)
		rc = e->code;
	else if (w->bell < 0)
		rc = err_sys(e, -errno, "network watcher");
	if (rc == 0)
		rc = open_events(w, e);
	if (rc == 0) {
		rc = netdns_open(&w->dns);
		if (rc < 0)
			err_sys(e, rc, "network watcher");
	}
	if (rc == 0)
		rc = start_thread(w, e);
	if (rc < 0) {
		netwatch_free(w);
		return rc;
	}
	*ret = w;
	return 0;
}

unsigned netwatch_count(struct netwatch *w)
{
	struct netscan s = {0};
	struct err ignored = {0};
	unsigned cnt;

	/* The thread sleeps: its socket is free. */
	cnt = netscan_read(w->env.sk, &s, &ignored) == 0 ? (unsigned)s.cnt : 0;
	netscan_free(&s);
	return cnt;
}

void netwatch_begin(struct netwatch *w)
{
	ring(w, &w->begin);
}

bool netwatch_is_current(struct netwatch *w)
{
	struct pollfd p = {.fd = nl_socket_get_fd(w->events), .events = POLLIN};
	bool idle;

	/* In this order: what leaves the socket meanwhile makes the thread busy before. */
	if (poll(&p, 1, 0) != 0)
		return false;
	(void)pthread_mutex_lock(&w->lock);
	idle = !w->busy && !w->begin && list_empty(&w->news);
	(void)pthread_mutex_unlock(&w->lock);
	return idle;
}

void netwatch_free(struct netwatch *w)
{
	if (!w)
		return;
	if (w->has_thread) {
		ring(w, &w->stop);
		(void)pthread_join(w->thread, NULL);
	}
	loop_unpost(w->loop, &w->deliver);
	list_for_each_safe (pos, next, &w->news)
		netwatch_news_free(list_entry(pos, struct netwatch_news, node));
	list_for_each_safe (pos, next, &w->questions)
		free(list_entry(pos, struct question, node));
	netdns_close(&w->dns);
	if (w->events)
		nl_socket_free(w->events);
	if (w->env.sk)
		nl_socket_free(w->env.sk);
	fd_close(&w->bell);
	fd_close(&w->cfg.tun_fd);
	fd_close(&w->cfg.dev_fd);
	fd_close(&w->cfg.own_fd);
	(void)pthread_mutex_destroy(&w->lock);
	(void)pthread_cond_destroy(&w->ready_cond);
	free(w->last);
	free(w);
}
