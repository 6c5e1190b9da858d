/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandbox's network on the loop: what the watcher finds (netwatch.h) becomes NICs in spare slots
 * and descriptions for the agent. Cold start, late engines and hot plug are this one path: it begins
 * as soon as the guest is up, so that start finds the work done, and looks once more where something
 * has changed since.
 *
 * One description is on its way to the agent at a time; one that comes meanwhile waits, and a newer
 * one takes its place, since each is the whole. A NIC whose interface has gone is taken out of its
 * slot when the agent has done what it was told, because by then its driver has let go of it.
 *
 * Until the agent listens the guest's kernel takes what it finds in a slot on its own, so such a slot
 * is empty again only when the agent has been told. NICs of the first description are there for the
 * kernel to find; later ones wait outside, that those which come and go meanwhile cost nothing.
 *
 * One for which there is no slot waits outside too: once a slot comes free the name space is looked at again, and it
 * gets in.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/b64.h"
#include "base/fd.h"
#include "base/log.h"
#include "runtime/box_priv.h"
#include "runtime/netwatch.h"

_Static_assert(NETTAP_QUEUES_MAX <= NET_QUEUES_MAX, "each queue of a tap has a pair of the NIC's");

struct nic {
	struct list node;
	int ifindex;
	struct virtio_dev *outside; /* has no slot yet, and is ours */
	bool crowded;		    /* and there is none for it: it is not counted */
	unsigned slot;
	char name[IFNAMSIZ];
	bool early; /* the kernel may have found it by itself */
	bool told;  /* the agent has heard of it */
	bool gone;  /* not in the description that is on its way */
};

struct box_net {
	struct box *b;
	struct netwatch *watch;
	struct list nics;
	unsigned nic_cnt;
	unsigned answers;	  /* of the name server, under way to the agent */
	struct json_object *next; /* waits to be sent */
	bool open;		  /* the agent takes descriptions */
	bool sending;
	bool awaiting;	      /* news that have been asked for */
	bool begun;	      /* once */
	bool described;	      /* there was a first description */
	bool started;	      /* the container has its network: what fails now is only told */
	bool refused;	      /* the last description, by the agent */
	bool told;	      /* the agent has got a description */
	char why[1024];	      /* the last description could not be applied; empty = it was */
	char unplugged[1024]; /* why an interface has no slot */
	box_net_ready_fn *ready;
};

static void send_next(struct box_net *n);

/* ---- slots --------------------------------------------------------------------------------------- */

static int no_room(const struct box_net *n, const char *name, struct err *e)
{
	return err_set(e, -ENOSPC, "interface '%s': this microVM has room for %u", name,
		       n->b->nics_max);
}

/* A slot of one that has gone is free some time after it is counted no more. */
static bool has_room(const struct box_net *n)
{
	return n->nic_cnt < n->b->nics_max && machine_has_slot(n->b->machine);
}

/* Into a slot, or outside; -ENOSPC: outside because there is no slot. */
static int plug(struct box_net *n, struct netwatch_nic *w, struct err *e)
{
	struct net_config cfg = {.queues = w->queues, .rx = n->b->a->net.rx, .tx = n->b->a->net.tx};
	struct nic *nic = calloc(1, sizeof(*nic));
	struct virtio_dev *dev;
	char name[16];
	int rc;

	if (!nic)
		return err_set(e, -ENOMEM, "interface '%s': out of memory", w->name);
	for (unsigned i = 0; i < w->queues; i++)
		cfg.fd[i] = fd_take(&w->fds[i]);
	memcpy(cfg.mac, w->mac, sizeof(cfg.mac));
	(void)snprintf(name, sizeof(name), "net%d", w->ifindex);
	nic->early = !n->open;
	nic->crowded = !has_room(n);
	rc = net_new(&dev, name, &cfg, e);
	if (rc == 0 && (nic->crowded || (nic->early && n->described)))
		nic->outside = dev;
	else if (rc == 0)
		rc = machine_plug(n->b->machine, dev, &nic->slot, e);
	if (rc < 0) {
		free(nic);
		return err_wrap(e, "interface '%s'", w->name);
	}
	nic->ifindex = w->ifindex;
	memcpy(nic->name, w->name, sizeof(nic->name));
	list_add_tail(&n->nics, &nic->node);
	n->nic_cnt += !nic->crowded;
	return nic->crowded ? no_room(n, w->name, e) : 0;
}

static struct nic *nic_of(struct box_net *n, int64_t ifindex)
{
	list_for_each (pos, &n->nics) {
		struct nic *nic = list_entry(pos, struct nic, node);

		if (nic->ifindex == ifindex)
			return nic;
	}
	return NULL;
}

static void forget_nic(struct box_net *n, struct nic *nic)
{
	list_del(&nic->node);
	n->nic_cnt -= !nic->crowded;
	free(nic);
}

static void unplug(struct box_net *n, struct nic *nic)
{
	if (nic->outside)
		virtio_free(nic->outside);
	else
		machine_unplug(n->b->machine, nic->slot);
	forget_nic(n, nic);
}

static void unplug_gone(struct box_net *n)
{
	list_for_each_safe (pos, next, &n->nics) {
		struct nic *nic = list_entry(pos, struct nic, node);

		if (nic->gone)
			unplug(n, nic);
	}
}

static struct nic *crowded_one(struct box_net *n)
{
	list_for_each (pos, &n->nics) {
		struct nic *nic = list_entry(pos, struct nic, node);

		if (nic->crowded)
			return nic;
	}
	return NULL;
}

static bool is_in(struct json_object *doc, int ifindex)
{
	struct json_object *arr = json_at(doc, "interfaces");

	for (size_t i = 0; i < json_object_array_length(arr); i++)
		if (json_i64(json_object_array_get_idx(arr, i), "ifindex", 0) == ifindex)
			return true;
	return false;
}

/*
 * Interfaces that came and went while the agent was at work or not there yet: no driver has them, and
 * they are not to take the room of those that stay.
 */
static void unplug_unheard(struct box_net *n, struct json_object *doc)
{
	list_for_each_safe (pos, next, &n->nics) {
		struct nic *nic = list_entry(pos, struct nic, node);

		if (!nic->told && (nic->outside || !nic->early) && !is_in(doc, nic->ifindex))
			unplug(n, nic);
	}
}

/* Puts slots in the place of the host's numbers; what has no slot is not the agent's business. */
static void name_devices(struct box_net *n, struct json_object *doc)
{
	struct json_object *old = json_at(doc, "interfaces"), *arr = json_object_new_array();

	list_for_each (pos, &n->nics) {
		struct nic *nic = list_entry(pos, struct nic, node);

		nic->gone = !nic->outside;
	}
	for (size_t i = 0; i < json_object_array_length(old); i++) {
		struct json_object *o = json_object_array_get_idx(old, i);
		struct nic *nic = nic_of(n, json_i64(o, "ifindex", 0));
		char device[48];

		if (!nic || nic->outside)
			continue;
		nic->gone = false;
		nic->told = true;
		json_object_object_del(o, "ifindex");
		(void)snprintf(device, sizeof(device), "%" PRIx64 ".virtio_mmio",
			       machine_slot_gpa(n->b->machine, nic->slot));
		json_add_str(o, "device", device);
		(void)json_object_array_add(arr, json_object_get(o));
	}
	(void)json_object_object_add(doc, "interfaces", arr);
}

/* ---- the agent ----------------------------------------------------------------------------------- */

/* Start decides by it whether there is a container; before, it is looked at again by then. */
static void failed(struct box_net *n, const char *why)
{
	if (n->started)
		log_warn("network: %s", why);
	(void)snprintf(n->why, sizeof(n->why), "%s", why);
}

static void look(struct box_net *n)
{
	n->awaiting = true;
	n->refused = false;
	n->why[0] = '\0';
	netwatch_begin(n->watch);
}

/* Start goes on once the guest has been told everything there is, or cannot be. */
static void settle(struct box_net *n)
{
	box_net_ready_fn *ready = n->ready;

	if (n->awaiting || n->next || n->sending || !ready)
		return;
	/* There is room, or will be when a slot comes free: box_net_slot_free() goes on. */
	if (!n->why[0] && n->nic_cnt < n->b->nics_max && crowded_one(n)) {
		if (has_room(n))
			look(n);
		return;
	}
	/* It may have been about an interface that has gone since. Start's deadline bounds this. */
	if (n->refused && !netwatch_is_current(n->watch)) {
		look(n);
		return;
	}
	n->ready = NULL;
	n->started = true;
	ready(n->b, n->why[0] ? n->why : NULL);
}

static void applied(struct box *b, uint64_t arg, const struct box_reply *r)
{
	struct box_net *n = b->net;

	(void)arg;
	if (!n || b->dead)
		return;
	n->sending = false;
	n->refused = !r->ok;
	if (r->ok)
		unplug_gone(n);
	else
		failed(n, r->text);
	send_next(n);
	settle(n);
}

static void let_in(struct box_net *n)
{
	list_for_each_safe (pos, next, &n->nics) {
		struct nic *nic = list_entry(pos, struct nic, node);
		struct virtio_dev *dev = nic->outside;
		struct err e = {0};

		if (!dev)
			continue;
		n->nic_cnt -= !nic->crowded;
		nic->crowded = !has_room(n);
		if (nic->crowded)
			continue;
		n->nic_cnt++;
		nic->outside = NULL;
		nic->early = false;
		if (machine_plug(n->b->machine, dev, &nic->slot, &e) == 0)
			continue;
		err_wrap(&e, "interface '%s'", nic->name);
		(void)snprintf(n->unplugged, sizeof(n->unplugged), "%s", e.msg);
		failed(n, e.msg);
		forget_nic(n, nic);
	}
}

static void send_next(struct box_net *n)
{
	auto_json doc = NULL;
	int rc;

	if (n->sending || !n->next || !n->open)
		return;
	doc = n->next;
	n->next = NULL;
	n->why[0] = '\0'; /* whatever became of an older one: this one is the whole */
	let_in(n);
	name_devices(n, doc);
	rc = box_request(n->b, LINK_SETUPINTERFACE,
			 json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN), applied, 0);
	if (rc < 0)
		failed(n, strerror(-rc));
	else
		n->sending = n->told = true;
}

static bool is_empty(struct json_object *doc)
{
	return json_len(doc, "interfaces") == 0 && json_len(doc, "routes") == 0 &&
	       json_len(doc, "neighbours") == 0;
}

/* ---- the embedded name server -------------------------------------------------------------------- */

/* As many as the agent asks at the same time (docs/agent-protocol.md): a guest that reads none piles up no more. */
#define ANSWERS_MAX 64u

static void answered(struct box *b, uint64_t arg, const struct box_reply *r)
{
	(void)arg;
	(void)r; /* the guest's resolver asks again */
	if (b->net)
		b->net->answers--;
}

static void hand_answer(struct box_net *n, const struct netwatch_news *w)
{
	auto_free char *text = b64_encode(w->answer, w->answer_len);
	auto_json o = json_object_new_object();

	if (n->answers == ANSWERS_MAX)
		return;
	json_add_i64(o, "id", w->answer_id);
	json_add_str(o, "answer", text);
	if (box_request(n->b, LINK_DNSANSWER,
			json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN), answered,
			0) == 0)
		n->answers++;
}

void box_net_question(struct box *b, struct json_object *o)
{
	auto_free void *msg = NULL;
	int64_t id = json_i64(o, "id", 0);
	size_t len = 0;

	if (!b->net || id < 1 || id > UINT32_MAX ||
	    b64_decode(json_str(o, "question", ""), &msg, &len) < 0)
		return;
	netwatch_ask(b->net->watch, (uint32_t)id, json_flag(o, "tcp", false), msg, len);
}

/* ---- news ---------------------------------------------------------------------------------------- */

/* 0, or why an interface of @doc cannot get into the guest. */
static int check_room(struct box_net *n, struct json_object *doc, struct err *e)
{
	struct json_object *arr = json_at(doc, "interfaces");

	for (size_t i = 0; arr && i < json_object_array_length(arr); i++) {
		struct json_object *o = json_object_array_get_idx(arr, i);
		struct nic *nic = nic_of(n, json_i64(o, "ifindex", 0));

		if (!nic)
			return err_set(e, -ENODEV, "%s", n->unplugged);
		if (nic->crowded && json_object_array_length(arr) > n->b->nics_max)
			return no_room(n, nic->name, e);
	}
	return 0;
}

static void forget_next(struct box_net *n)
{
	json_object_put(n->next);
	n->next = NULL;
}

static void take_description(struct box_net *n, struct netwatch_news *w)
{
	struct err e = {0};

	n->awaiting &= !w->asked;
	n->refused = false;
	n->why[0] = '\0';
	if (w->doc)
		unplug_unheard(n, w->doc);
	for (size_t i = 0; i < w->nic_cnt; i++) {
		struct err one = {0};

		if (plug(n, &w->nic[i], &one) == 0)
			continue;
		(void)snprintf(n->unplugged, sizeof(n->unplugged), "%s", one.msg);
		if (!e.code)
			e = one;
	}
	n->described |= w->doc != NULL;
	if (w->doc) {
		forget_next(n);
		n->next = json_object_get(w->doc);
	}
	if (w->err.code)
		failed(n, w->err.msg);
	else if (e.code || (!n->started && check_room(n, n->next, &e) < 0))
		failed(n, e.msg);
	/* A container that runs gets what can be had. An empty network is no news to a new guest. */
	if ((n->why[0] && !n->started) || (!n->told && list_empty(&n->nics) && is_empty(n->next)))
		forget_next(n);
	send_next(n);
	settle(n);
}

static void on_news(void *ctx, struct netwatch_news *w)
{
	struct box_net *n = ctx;

	if (n->b->phase < BOX_DRAINING && !n->b->dead) {
		if (w->answer_id)
			hand_answer(n, w);
		else
			take_description(n, w);
	}
	netwatch_news_free(w);
}

/* ---- the box's calls ----------------------------------------------------------------------------- */

static int confine_net(void *ctx, struct err *e)
{
	(void)ctx;
	return confine_net_thread(e);
}

int box_net_new(struct box *b, struct err *e)
{
	struct netwatch_config cfg = {.proc_fd = b->fds.proc,
				      .tun_fd = fd_take(&b->fds.tun),
				      .dev_fd = fd_take(&b->fds.dev),
				      .own_fd = fd_take(&b->fds.own),
				      .forward = b->fds.forward[0] >= 0,
				      .model = b->a->net.model,
				      .queues = MIN(b->a->size.cpus, NETTAP_QUEUES_MAX),
				      .owner = b->state->id,
				      .thread_init = confine_net,
				      .news = on_news};
	struct box_net *n = calloc(1, sizeof(*n));

	if (!n) {
		fd_close(&cfg.tun_fd);
		fd_close(&cfg.dev_fd);
		fd_close(&cfg.own_fd);
		return err_set(e, -ENOMEM, "network: out of memory");
	}
	n->b = b;
	list_init(&n->nics);
	cfg.ctx = n;
	b->net = n;
	return netwatch_new(&n->watch, b->loop, &cfg, e);
}

unsigned box_net_count(struct box *b)
{
	return netwatch_count(b->net->watch);
}

void box_net_begin(struct box *b)
{
	struct box_net *n = b->net;

	if (n->begun)
		return;
	n->begun = true;
	look(n);
}

void box_net_up(struct box *b)
{
	box_net_begin(b);
	b->net->open = true;
	send_next(b->net);
}

void box_net_slot_free(void *ctx)
{
	struct box_net *n = ((struct box *)ctx)->net;

	/* A description that is on its way brings it in as well. */
	if (n && !n->awaiting && crowded_one(n))
		look(n);
}

void box_net_await(struct box *b, box_net_ready_fn *ready)
{
	struct box_net *n = b->net;

	box_net_up(b);
	/* What failed may have been an interface that was not complete yet. */
	if (!n->awaiting && (n->why[0] || !netwatch_is_current(n->watch)))
		look(n);
	n->ready = ready;
	settle(n);
}

void box_net_free(struct box *b)
{
	struct box_net *n = b->net;

	if (!n)
		return;
	b->net = NULL;
	netwatch_free(n->watch);
	list_for_each_safe (pos, next, &n->nics) {
		struct nic *nic = list_entry(pos, struct nic, node);

		if (nic->outside)
			virtio_free(nic->outside);
		free(nic);
	}
	json_object_put(n->next);
	free(n);
}
