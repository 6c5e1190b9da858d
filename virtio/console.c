/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio-console with several ports (virtio 1.2, section 5.3). Loop thread; all state is the
 * device's.
 *
 * Theory of operation
 *
 * Queues: 0 and 1 are port 0's input and output (from the guest's point of view), 2 and 3 the
 * control queues, 2n+2 and 2n+3 those of port n. A driver without MULTIPORT knows 0 and 1 only;
 * port 0 is open to it as soon as it runs.
 *
 * With MULTIPORT each port goes through this handshake, of which the right column is what we keep:
 *
 *   guest: DEVICE_READY 1   ──▶  for all ports                    pending |= ADD
 *                           ◀──  DEVICE_ADD n
 *   guest: PORT_READY 1     ──▶                                   ready; pending |= what follows
 *                           ◀──  CONSOLE_PORT 1, RESIZE (consoles), PORT_NAME (if any), PORT_OPEN 1
 *   guest: PORT_OPEN 1 | 0  ──▶  opened(true | false)             guest_open
 *
 * Linux ignores RESIZE before CONSOLE_PORT, blocks writers before PORT_OPEN, and makes no `name`
 * file when PORT_NAME comes without a DEVICE_ADD before: hence the order. What is to be sent is a
 * set of bits per port and not a list, so that no amount of messages from the guest makes anything
 * grow; it is flushed as far as the guest has posted control buffers, and again when it posts more.
 *
 * Output (guest to host): a chain is popped and handed to the port's output() as spans, without a
 * copy. If that takes only a part, the chain stays held at that place, and the port is stalled
 * until vcon_output_resume(): at most one chain per port is ours, the guest's ring is the buffer,
 * and the guest's writers block when it is full.
 *
 * Input (host to guest): vcon_send() copies into the buffers that the guest has posted and says how
 * much fitted. Kicks of input queues are off except while somebody waits for room, so a guest that
 * posts buffers costs no exit.
 *
 * One call of the loop into us takes at most a ring's worth of chains from a queue; what is left is
 * posted back to the loop (`more`), so that no port keeps the loop for itself.
 */
#include "virtio/devices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"

/* virtio 1.2, 5.3.3. */
#define VCON_F_SIZE	 (1ull << 0)
#define VCON_F_MULTIPORT (1ull << 1)

struct vcon_config_wire {
	le16_t cols, rows;
	le32_t max_nr_ports;
	le32_t emerg_wr;
};
_Static_assert(sizeof(struct vcon_config_wire) == 12, "virtio 1.2, 5.3.4");

/* 5.3.6.2 */
enum {
	CTL_DEVICE_READY = 0,
	CTL_DEVICE_ADD = 1,
	CTL_PORT_READY = 3,
	CTL_CONSOLE_PORT = 4,
	CTL_RESIZE = 5,
	CTL_PORT_OPEN = 6,
	CTL_PORT_NAME = 7,
};

struct ctl_wire {
	le32_t id;
	le16_t event, value;
};
_Static_assert(sizeof(struct ctl_wire) == 8, "virtio 1.2, 5.3.6.2");

struct resize_wire {
	le16_t cols, rows;
};
_Static_assert(sizeof(struct resize_wire) == 4, "virtio 1.2, 5.3.6.2");

#define NAME_MAX_LEN 63u

/*
 * Queue sizes. Linux fills an input queue with one page per entry, and writes at most 32 KiB per
 * output buffer: 64 entries are 256 KiB towards the guest and 2 MiB from it. Control queues and
 * consoles need little, and each page costs time at boot.
 */
#define DATA_NUM    64u
#define CONSOLE_NUM 16u
#define CONTROL_NUM 16u

#define CTL_IN_Q    2u
#define CTL_OUT_Q   3u

struct port {
	struct vcon_port_config cfg;
	char name[NAME_MAX_LEN + 1];
	uint16_t cols, rows;
	bool sized; /* cols and rows were set */

	/* Since the driver's start. */
	unsigned pending; /* bits 1 << CTL_*: to be sent */
	bool ready, guest_open;
	bool want_room; /* a vcon_send() came out short */

	/* The chain that output() has not taken wholly yet: at and cnt are what is left of its
	 * spans. */
	bool held, in_output, again;
	uint32_t skip; /* bytes of the next chain that output() had taken before a snapshot */
	struct vq_chain out;
	struct iovec *at;
	unsigned cnt;
	size_t left;
	struct iovec *iov;
};

struct vcon {
	struct virtio_dev dev;
	unsigned cnt;
	bool multiport;
	uint32_t writes;       /* kicks of port 0's output, without MULTIPORT */
	uint64_t more_mask[2]; /* queues with chains left over */
	struct loop_work more;
	struct iovec iov[VQ_SIZE_MAX + GMEM_REGIONS_MAX]; /* input and control: used up in one go */
	struct port port[VCON_PORTS_MAX];
};

#define IOV_CAP (VQ_SIZE_MAX + GMEM_REGIONS_MAX)

static struct vcon *vcon_of(struct virtio_dev *dev)
{
	return container_of(dev, struct vcon, dev);
}

static unsigned in_idx(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

static struct vq *in_q(struct vcon *vc, const struct port *p)
{
	return &vc->dev.vq[in_idx((unsigned)(p - vc->port))];
}

static struct vq *out_q(struct vcon *vc, const struct port *p)
{
	return &vc->dev.vq[in_idx((unsigned)(p - vc->port)) + 1];
}

static bool usable(const struct vcon *vc)
{
	return vc->dev.running && !vc->dev.stopping && !vc->dev.broken;
}

/* ---- sharing the loop --------------------------------------------------------------------------
 */

/* Chains to take in one go. Without a loop (unit tests) nobody else waits. */
static unsigned budget(const struct vcon *vc, const struct vq *q)
{
	return vc->dev.loop ? q->num : UINT32_MAX;
}

static void later(struct vcon *vc, const struct vq *q)
{
	vc->more_mask[q->idx / 64] |= 1ull << (q->idx % 64);
	loop_post(vc->dev.loop, &vc->more);
}

static void run_more(struct loop_work *w)
{
	struct vcon *vc = container_of(w, struct vcon, more);

	for (unsigned i = 0; i < ARRAY_LEN(vc->more_mask); i++) {
		uint64_t mask = vc->more_mask[i];

		vc->more_mask[i] = 0;
		for (; mask; mask &= mask - 1)
			virtio_kick(&vc->dev, 64 * i + (unsigned)__builtin_ctzll(mask));
	}
}

static void port_out(struct vcon *vc, struct port *p);

/* ---- control queues ----------------------------------------------------------------------------
 */

/* The message for bit @event of @p. Returns its length. */
static size_t ctl_format(const struct vcon *vc, const struct port *p, unsigned event, uint8_t *buf)
{
	struct ctl_wire m = {.id = le32_of((uint32_t)(p - vc->port)),
			     .event = le16_of((uint16_t)event),
			     .value = le16_of(event == CTL_CONSOLE_PORT || event == CTL_PORT_OPEN)};
	struct resize_wire r = {.cols = le16_of(p->cols), .rows = le16_of(p->rows)};
	size_t len = 0;

	memcpy(buf, &m, sizeof(m));
	if (event == CTL_RESIZE) {
		len = sizeof(r);
		memcpy(buf + sizeof(m), &r, len);
	} else if (event == CTL_PORT_NAME) {
		len = strlen(p->name);
		memcpy(buf + sizeof(m), p->name, len);
	}
	return sizeof(m) + len;
}

/* Sends one message. False when the guest has no buffer for it now. */
static bool ctl_send(struct vcon *vc, const struct port *p, unsigned event)
{
	struct vq *q = &vc->dev.vq[CTL_IN_Q];
	struct vq_chain c = {.iov = vc->iov, .cap = IOV_CAP};
	uint8_t buf[sizeof(struct ctl_wire) + NAME_MAX_LEN];
	size_t len = ctl_format(vc, p, event, buf);

	if (vq_pop(q, &c) != 1)
		return false;
	if (c.in_len < len) {
		virtio_fail(&vc->dev, "control buffer of %zu bytes for a message of %zu", c.in_len,
			    len);
		vq_push(q, c.head, 0);
		return false;
	}
	(void)iov_write(vq_in(&c), c.in_cnt, 0, buf, len);
	vq_push(q, c.head, (uint32_t)len);
	return true;
}

static void ctl_flush(struct vcon *vc)
{
	/* See the theory: this order. */
	static const uint8_t order[] = {CTL_DEVICE_ADD, CTL_CONSOLE_PORT, CTL_RESIZE, CTL_PORT_NAME,
					CTL_PORT_OPEN};

	if (!vc->multiport)
		return;
	for (struct port *p = vc->port; p < vc->port + vc->cnt; p++) {
		for (unsigned i = 0; i < ARRAY_LEN(order); i++) {
			if (!(p->pending & (1u << order[i])))
				continue;
			if (!ctl_send(vc, p, order[i]))
				goto out;
			p->pending &= ~(1u << order[i]);
		}
	}
out:
	vq_notify(&vc->dev.vq[CTL_IN_Q]);
}

static void port_opened(struct port *p, bool open)
{
	if (p->guest_open == open)
		return;
	p->guest_open = open;
	if (p->cfg.ops->opened)
		p->cfg.ops->opened(p->cfg.ctx, open);
	if (open && p->want_room && p->cfg.ops->input_room) {
		p->want_room = false;
		p->cfg.ops->input_room(p->cfg.ctx);
	}
}

static void ctl_handle(struct vcon *vc, const struct ctl_wire *m)
{
	uint32_t id = le32_get(m->id);
	uint16_t value = le16_get(m->value);
	struct port *p = id < vc->cnt ? &vc->port[id] : NULL;

	switch (le16_get(m->event)) {
	case CTL_DEVICE_READY:
		if (!value)
			log_limited(&vc->dev.log, LOG_LVL_WARN,
				    "%s: the guest's driver could not start", vc->dev.name);
		for (unsigned i = 0; value && i < vc->cnt; i++)
			vc->port[i].pending |= 1u << CTL_DEVICE_ADD;
		break;
	case CTL_PORT_READY:
		if (!p)
			break;
		p->ready = value != 0;
		if (!value) {
			log_limited(&vc->dev.log, LOG_LVL_WARN,
				    "%s: the guest could not add port %u", vc->dev.name, id);
			break;
		}
		p->pending |= 1u << CTL_PORT_OPEN;
		if (p->cfg.console)
			p->pending |= 1u << CTL_CONSOLE_PORT;
		if (p->cfg.console && p->sized)
			p->pending |= 1u << CTL_RESIZE;
		if (p->name[0])
			p->pending |= 1u << CTL_PORT_NAME;
		break;
	case CTL_PORT_OPEN:
		if (!p)
			break;
		/* The kick for what was written before may be behind this message. */
		if (!value)
			port_out(vc, p);
		port_opened(p, value != 0);
		break;
	default: /* 5.3.6.2: nothing else comes from a driver; what does is nobody's */
		break;
	}
}

static void ctl_out(struct vcon *vc)
{
	struct vq *q = &vc->dev.vq[CTL_OUT_Q];
	unsigned max = budget(vc, q);

	for (unsigned i = 0; usable(vc); i++) {
		struct vq_chain c = {.iov = vc->iov, .cap = IOV_CAP};
		struct ctl_wire m;

		if (i == max) {
			later(vc, q);
			break;
		}
		if (vq_pop(q, &c) != 1)
			break;
		if (iov_read(vq_out(&c), c.out_cnt, 0, &m, sizeof(m)) == sizeof(m)) {
			/* Given back first: Linux spins for it. The callbacks may take their time.
			 */
			vq_push(q, c.head, 0);
			ctl_handle(vc, &m);
		} else {
			vq_push(q, c.head, 0);
		}
	}
	vq_notify(q);
	ctl_flush(vc);
}

/* ---- guest to host --------------------------------------------------------------------------- */

/* The first @n bytes of what is left have been taken. */
static void port_advance(struct port *p, size_t n)
{
	p->left -= n;
	while (p->cnt && n >= p->at->iov_len) {
		n -= p->at->iov_len;
		p->at++;
		p->cnt--;
	}
	if (n) {
		p->at->iov_base = (uint8_t *)p->at->iov_base + n;
		p->at->iov_len -= n;
	}
}

/* Hands the held chain on. True when it has been taken wholly. */
static bool port_output(struct vcon *vc, struct port *p)
{
	do {
		size_t n;

		if (!p->left)
			return true;
		p->again = false;
		p->in_output = true;
		n = p->cfg.ops->output(p->cfg.ctx, p->at, p->cnt, p->left);
		p->in_output = false;
		BUG_ON(n > p->left);
		if (!vc->dev.running)
			return false;
		port_advance(p, n);
	} while (p->left && p->again); /* resumed before it returned */
	return p->left == 0;
}

static void port_out(struct vcon *vc, struct port *p)
{
	struct vq *q = out_q(vc, p);
	unsigned max = budget(vc, q);

	if (p->in_output)
		return;
	for (unsigned i = 0; usable(vc); i++) {
		if (!p->held) {
			if (i >= max) {
				later(vc, q);
				break;
			}
			p->out = (struct vq_chain){.iov = p->iov, .cap = IOV_CAP};
			if (vq_pop(q, &p->out) != 1)
				break;
			p->held = true;
			p->at = p->iov;
			p->cnt = p->out.out_cnt;
			p->left = p->out.out_len;
			port_advance(p, MIN((size_t)p->skip, p->left));
			p->skip = 0;
		}
		if (!port_output(vc, p))
			break;
		p->held = false;
		vq_push(q, p->out.head, 0);
	}
	vq_notify(q);
}

void vcon_output_resume(struct virtio_dev *dev, unsigned port)
{
	struct vcon *vc = vcon_of(dev);
	struct port *p = &vc->port[port];

	BUG_ON(port >= vc->cnt);
	if (p->in_output)
		p->again = true;
	else if (usable(vc) && p->held)
		port_out(vc, p);
}

/* ---- host to guest --------------------------------------------------------------------------- */

size_t vcon_send(struct virtio_dev *dev, unsigned port, const void *buf, size_t len)
{
	struct vcon *vc = vcon_of(dev);
	struct port *p = &vc->port[port];
	struct vq *q = in_q(vc, p);
	size_t done = 0;

	BUG_ON(port >= vc->cnt);
	p->want_room = len != 0;
	if (!usable(vc) || !p->guest_open)
		return 0;
	for (unsigned i = 0; done < len; i++) {
		struct vq_chain c = {.iov = vc->iov, .cap = IOV_CAP};
		size_t n;
		int rc;

		/* Buffers without room are no progress: a guest could post them for ever. */
		if (i == 2u * q->num) {
			if (dev->loop)
				later(vc, q);
			break;
		}
		rc = vq_pop(q, &c);
		if (rc < 0)
			break;
		if (rc == 0) {
			if (p->cfg.drained ? vq_kicks_on_half(q) : vq_kicks_on(q))
				continue;
			break;
		}
		n = iov_write(vq_in(&c), c.in_cnt, 0, (const uint8_t *)buf + done, len - done);
		vq_push(q, c.head, (uint32_t)n);
		done += n;
	}
	vq_notify(q);
	p->want_room = done < len;
	return done;
}

static void port_room(struct vcon *vc, struct port *p)
{
	vq_kicks_off(in_q(vc, p));
	if (!p->want_room || !p->guest_open)
		return;
	p->want_room = false;
	if (p->cfg.ops->input_room)
		p->cfg.ops->input_room(p->cfg.ctx);
}

static void set_size(struct virtio_dev *dev, void *arg)
{
	const struct port *p = arg;
	struct vcon_config_wire *w = (struct vcon_config_wire *)(void *)dev->cfg;

	w->cols = le16_of(p->cols);
	w->rows = le16_of(p->rows);
}

void vcon_resize(struct virtio_dev *dev, unsigned port, uint16_t cols, uint16_t rows)
{
	struct vcon *vc = vcon_of(dev);
	struct port *p = &vc->port[port];

	BUG_ON(port >= vc->cnt);
	if (!p->cfg.console || (p->sized && p->cols == cols && p->rows == rows))
		return;
	p->cols = cols;
	p->rows = rows;
	p->sized = true;
	/* With MULTIPORT a message says it, and config bytes are for the next driver. */
	if (port == 0)
		virtio_cfg_update(dev, set_size, p);
	if (p->ready) {
		p->pending |= 1u << CTL_RESIZE;
		if (usable(vc))
			ctl_flush(vc);
	}
}

/* ---- the device ------------------------------------------------------------------------------ */

static int vcon_start(struct virtio_dev *dev)
{
	struct vcon *vc = vcon_of(dev);

	vc->multiport = virtio_has(dev, VCON_F_MULTIPORT);
	/* Without it the first buffers of port 0 are what tells that the port is there. */
	if (!vc->multiport)
		return 0;
	for (unsigned i = 0; i < vc->cnt; i++)
		vq_kicks_off(in_q(vc, &vc->port[i]));
	return 0;
}

/*
 * Without MULTIPORT Linux takes the size from the config bytes only when told of a change, and loses that
 * until its hvc is registered, of which output is the only sign; during the registration itself, boot
 * messages are output too. So: with the first output, and each time there has been twice as much.
 */
static void tell_size(struct vcon *vc)
{
	struct port *p = &vc->port[0];

	vc->writes++;
	if (p->sized && (vc->writes & (vc->writes - 1)) == 0)
		virtio_cfg_update(&vc->dev, set_size, p);
}

static void vcon_kick(struct virtio_dev *dev, struct vq *q)
{
	struct vcon *vc = vcon_of(dev);
	struct port *p;

	if (!vc->multiport) {
		if (q->idx > 1)
			return;
		port_opened(&vc->port[0], true);
		if (q->idx == 1)
			tell_size(vc);
	} else if (q->idx == CTL_IN_Q) {
		ctl_flush(vc);
		return;
	} else if (q->idx == CTL_OUT_Q) {
		ctl_out(vc);
		return;
	}
	p = &vc->port[q->idx < 2 ? 0 : q->idx / 2 - 1];
	if (q->idx % 2)
		port_out(vc, p);
	else
		port_room(vc, p);
}

static void vcon_stop(struct virtio_dev *dev)
{
	struct vcon *vc = vcon_of(dev);

	if (dev->loop)
		loop_unpost(dev->loop, &vc->more);
	memset(vc->more_mask, 0, sizeof(vc->more_mask));
	vc->writes = 0;
	for (struct port *p = vc->port; p < vc->port + vc->cnt; p++) {
		p->pending = 0;
		p->ready = false;
		p->held = false;
		p->left = 0;
		p->skip = 0;
		port_opened(p, false);
	}
	virtio_stopped(dev);
}

/* A chain of which a part has been taken goes back with a note how much. */
static void vcon_freeze(struct virtio_dev *dev)
{
	struct vcon *vc = vcon_of(dev);

	for (struct port *p = vc->port; p < vc->port + vc->cnt; p++) {
		if (!p->held)
			continue;
		p->skip = (uint32_t)(p->out.out_len - p->left);
		vq_unpop(out_q(vc, p), &p->out);
		p->held = false;
		p->left = 0;
	}
	virtio_quiet(dev);
}

struct port_wire {
	le32_t pending, skip;
	le16_t cols, rows;
	uint8_t sized, ready, guest_open, zero;
};
_Static_assert(sizeof(struct port_wire) == 16, "no padding");

static int vcon_save(struct virtio_dev *dev, struct buf *to, struct err *e)
{
	const struct vcon *vc = vcon_of(dev);
	int rc = 0;

	(void)e;
	for (unsigned i = 0; rc == 0 && i < vc->cnt; i++) {
		const struct port *p = &vc->port[i];
		struct port_wire w = {.pending = le32_of(p->pending),
				      .skip = le32_of(p->skip),
				      .cols = le16_of(p->cols),
				      .rows = le16_of(p->rows),
				      .sized = p->sized,
				      .ready = p->ready,
				      .guest_open = p->guest_open};

		rc = buf_append(to, &w, sizeof(w));
	}
	return rc;
}

static int vcon_load(struct virtio_dev *dev, const uint8_t *from, size_t len, struct err *e)
{
	struct vcon *vc = vcon_of(dev);

	(void)e;
	if (len != vc->cnt * sizeof(struct port_wire))
		return -EPROTO;
	for (unsigned i = 0; i < vc->cnt; i++) {
		struct port *p = &vc->port[i];
		struct port_wire w;

		memcpy(&w, from + i * sizeof(w), sizeof(w));
		p->pending |= le32_get(w.pending);
		p->skip = le32_get(w.skip);
		p->ready = w.ready;
		if (!p->sized) { /* else the new side has said how large it is */
			p->cols = le16_get(w.cols);
			p->rows = le16_get(w.rows);
			p->sized = w.sized;
		} else if (p->ready) {
			p->pending |= 1u << CTL_RESIZE;
		}
		port_opened(p, w.guest_open);
	}
	return 0;
}

static void vcon_free(struct virtio_dev *dev)
{
	struct vcon *vc = vcon_of(dev);

	for (unsigned i = 0; i < vc->cnt; i++)
		free(vc->port[i].iov);
	virtio_fini(dev);
	free(vc);
}

static const struct virtio_ops vcon_ops = {
    .name = "console",
    .id = VIRTIO_ID_CONSOLE,
    .start = vcon_start,
    .kick = vcon_kick,
    .stop = vcon_stop,
    .freeze = vcon_freeze,
    .save_version = 1,
    .save = vcon_save,
    .load = vcon_load,
    .free = vcon_free,
};

static int port_init(struct port *p, const struct vcon_port_config *cfg, struct err *e)
{
	p->cfg = *cfg;
	p->cfg.name = NULL;
	if (cfg->name) {
		if (strlen(cfg->name) > NAME_MAX_LEN)
			return err_set(e, -ENAMETOOLONG,
				       "console port '%s': the name has more than %u bytes",
				       cfg->name, NAME_MAX_LEN);
		memcpy(p->name, cfg->name, strlen(cfg->name) + 1);
	}
	p->iov = malloc(IOV_CAP * sizeof(*p->iov));
	return p->iov ? 0 : err_set(e, -ENOMEM, "console: out of memory");
}

int vcon_new(struct virtio_dev **ret, const char *name, const struct vcon_port_config *ports,
	     unsigned cnt, struct err *e)
{
	uint16_t max[VIRTIO_QUEUES_MAX] = {0};
	uint64_t features = VCON_F_SIZE;
	struct vcon_config_wire *w;
	struct vcon *vc;
	int rc;

	if (cnt == 0 || cnt > VCON_PORTS_MAX)
		return err_set(e, -EINVAL, "console '%s': %u ports, 1 to %u are possible", name,
			       cnt, VCON_PORTS_MAX);
	vc = calloc(1, sizeof(*vc));
	if (!vc)
		return err_set(e, -ENOMEM, "console: out of memory");
	max[CTL_IN_Q] = max[CTL_OUT_Q] = CONTROL_NUM;
	for (unsigned i = 0; i < cnt; i++)
		max[in_idx(i)] = max[in_idx(i) + 1] = ports[i].console ? CONSOLE_NUM : DATA_NUM;
	/*
	 * A lone console goes without the handshake: Linux makes it while it probes the device, and so before
	 * init opens /dev/console. With it a work queue does, some time later, and init may be quicker.
	 */
	if (cnt > 1 || !ports[0].console || ports[0].name)
		features |= VCON_F_MULTIPORT;
	rc = virtio_init(&vc->dev, &vcon_ops, name, features, 2 * cnt + 2, max, sizeof(*w));
	if (rc < 0) {
		free(vc);
		return err_set(e, rc, "console: out of memory");
	}
	vc->more.fn = run_more;
	for (vc->cnt = 0; vc->cnt < cnt; vc->cnt++) {
		rc = port_init(&vc->port[vc->cnt], &ports[vc->cnt], e);
		if (rc < 0) {
			vcon_free(&vc->dev);
			return rc;
		}
	}
	w = (struct vcon_config_wire *)(void *)vc->dev.cfg;
	w->max_nr_ports = le32_of(cnt);
	*ret = &vc->dev;
	return 0;
}
