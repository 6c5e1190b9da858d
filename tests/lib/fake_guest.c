/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake guest: see fake_guest.h. What it knows of the rings is written down here a second time on
 * purpose, from the specification (virtio 1.2, 2.7 and 4.2) and not from the code under test.
 */
#include "tests/lib/fake_guest.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "base/clock.h"
#include "base/endian.h"

#define RING_ROOM (4u << 20) /* rings and indirect tables: one region, page-aligned */
#define WAIT_NS	  (10 * NS_PER_SEC)

struct fg {
	struct gmem mem;
	size_t data_len;
	uint64_t ring_next; /* bump pointers */
	uint64_t data_gpa, data_next;
	uint8_t *map; /* of everything */
	size_t map_len;

	struct vmmio slot;
	uint8_t *page; /* what it reads there */
	struct vmmio_ops ops;
	struct loop *loop;
	unsigned irqs;
	struct fg_queue *q[VIRTIO_QUEUES_MAX];
};

static void die(const char *why)
{
	(void)fprintf(stderr, "fake guest: %s\n", why);
	abort();
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void add_region(struct fg *g, uint64_t gpa, size_t len, uint8_t *host)
{
	if (gmem_add(&g->mem, gpa, len, host, false) < 0)
		die("gmem_add");
}

struct fg *fg_new(size_t len, unsigned flags)
{
	static const unsigned tiny[] = {1, 2, 3, 1, 16, 5, 7, 61, 100, 509, 1021, 2039, 4093};
	struct fg *g = calloc(1, sizeof(*g));
	size_t gap = flags & FG_TINY_REGIONS ? 64 * 1024 : 0;
	uint64_t gpa;
	uint8_t *host;

	if (!g)
		die("out of memory");
	g->data_len = len + (gap ? 8192 : 0);
	g->map_len = RING_ROOM + g->data_len + gap;
	g->map = mmap(NULL, g->map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->map == MAP_FAILED)
		die("mmap");
	g->ring_next = FG_BASE;
	g->data_gpa = g->data_next = FG_BASE + RING_ROOM;
	add_region(g, FG_BASE, RING_ROOM, g->map);
	gpa = g->data_gpa;
	host = g->map + RING_ROOM;
	if (gap) {
		for (unsigned i = 0; i < ARRAY_LEN(tiny); i++) {
			host += 64; /* never adjacent to the one before */
			add_region(g, gpa, tiny[i], host);
			host += tiny[i];
			gpa += tiny[i];
		}
		host += 64;
	}
	add_region(g, gpa, g->data_len - (gpa - g->data_gpa), host);
	return g;
}

void fg_free(struct fg *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		free(g->q[i]);
	(void)munmap(g->map, g->map_len);
	if (g->page)
		(void)munmap(g->page, VMMIO_PAGE);
	free(g);
}

struct fg *fg_copy(const struct fg *from)
{
	struct fg *g = malloc(sizeof(*g));

	if (!g)
		die("out of memory");
	*g = *from;
	g->page = NULL;
	g->map = mmap(NULL, g->map_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (g->map == MAP_FAILED)
		die("mmap");
	memcpy(g->map, from->map, g->map_len);
	for (unsigned i = 0; i < g->mem.cnt; i++)
		g->mem.r[i].host = g->map + (from->mem.r[i].host - from->map);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		if (!from->q[i])
			continue;
		g->q[i] = malloc(sizeof(*g->q[i]));
		if (!g->q[i])
			die("out of memory");
		*g->q[i] = *from->q[i];
		g->q[i]->g = g;
	}
	return g;
}

struct gmem *fg_mem(struct fg *g)
{
	return &g->mem;
}

static uint64_t bump(uint64_t *next, uint64_t end, size_t len, size_t align)
{
	uint64_t at = ALIGN_UP(*next, (uint64_t)align);

	if (at > end || len > end - at)
		die("out of guest memory");
	*next = at + len;
	return at;
}

uint64_t fg_alloc(struct fg *g, size_t len, size_t align)
{
	return bump(&g->data_next, g->data_gpa + g->data_len, len, align);
}

void fg_alloc_reset(struct fg *g)
{
	g->data_next = g->data_gpa;
}

static uint64_t ring_alloc(struct fg *g, size_t len, size_t align)
{
	uint64_t at = bump(&g->ring_next, FG_BASE + RING_ROOM, len, align);

	memset(fg_host(g, at), 0, len);
	return at;
}

/* With what is left of its region in *room; NULL: not mapped. */
static uint8_t *host_run(struct fg *g, uint64_t gpa, size_t *room)
{
	const struct gmem *m = &g->mem;

	for (unsigned i = 0; i < m->cnt; i++) {
		uint64_t off = gpa - m->r[i].gpa;

		if (gpa >= m->r[i].gpa && off < m->r[i].len) {
			*room = m->r[i].len - off;
			return m->r[i].host + off;
		}
	}
	return NULL;
}

uint8_t *fg_host(struct fg *g, uint64_t gpa)
{
	size_t room;

	return host_run(g, gpa, &room);
}

void fg_put(struct fg *g, uint64_t gpa, const void *src, size_t len)
{
	for (size_t done = 0, room; done < len; done += room) {
		uint8_t *p = host_run(g, gpa + done, &room);

		if (!p)
			die("store to unmapped memory");
		room = MIN(room, len - done);
		memcpy(p, (const uint8_t *)src + done, room);
	}
}

void fg_get(struct fg *g, uint64_t gpa, void *dst, size_t len)
{
	for (size_t done = 0, room; done < len; done += room) {
		const uint8_t *p = host_run(g, gpa + done, &room);

		if (!p)
			die("load from unmapped memory");
		room = MIN(room, len - done);
		memcpy((uint8_t *)dst + done, p, room);
	}
}

uint64_t fg_bytes(struct fg *g, const void *src, size_t len)
{
	uint64_t gpa = fg_alloc(g, len, 1);

	fg_put(g, gpa, src, len);
	return gpa;
}

static void put16(struct fg *g, uint64_t gpa, uint16_t v)
{
	__atomic_store_n((uint16_t *)(void *)fg_host(g, gpa), htole16(v), __ATOMIC_SEQ_CST);
}

static uint16_t get16(struct fg *g, uint64_t gpa)
{
	return le16toh(__atomic_load_n((uint16_t *)(void *)fg_host(g, gpa), __ATOMIC_SEQ_CST));
}

/* ---- device ---------------------------------------------------------------------------------- */

static void count_irq(void *ctx, unsigned slot)
{
	struct fg *g = ctx;

	(void)slot;
	(void)__atomic_add_fetch(&g->irqs, 1, __ATOMIC_SEQ_CST);
}

void fg_plug(struct fg *g, struct virtio_dev *dev, struct loop *loop)
{
	g->ops.irq = count_irq;
	g->loop = loop;
	vmmio_init(&g->slot, 0, &g->ops, g);
	if (!g->page) {
		g->page = mmap(NULL, VMMIO_PAGE, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (g->page == MAP_FAILED)
			die("mmap");
	}
	vmmio_show_in(&g->slot, g->page);
	vmmio_plug(&g->slot, dev, &g->mem, loop);
}

struct vmmio *fg_slot(struct fg *g)
{
	return &g->slot;
}

unsigned fg_irqs(const struct fg *g)
{
	return __atomic_load_n(&g->irqs, __ATOMIC_SEQ_CST);
}

uint32_t fg_reg(struct fg *g, unsigned reg)
{
	uint32_t v = 0, shown, again;

	vmmio_read(&g->slot, reg, &v, 4);
	if (g->page && reg % 4 == 0 && reg < VMMIO_WINDOW) {
		shown = __atomic_load_n((uint32_t *)(void *)(g->page + reg), __ATOMIC_ACQUIRE);
		/* A device at work may change it in between. */
		vmmio_read(&g->slot, reg, &again, 4);
		if (shown != v && again == v)
			die("a register in memory is not what it reads");
	}
	return le32toh(v);
}

void fg_set_reg(struct fg *g, unsigned reg, uint32_t v)
{
	v = htole32(v);
	vmmio_write(&g->slot, reg, &v, 4);
}

int fg_negotiate(struct fg *g, uint64_t want)
{
	fg_set_reg(g, 0x70, 0);
	fg_set_reg(g, 0x70, 1);
	fg_set_reg(g, 0x70, 3);
	for (unsigned w = 0; w < 2; w++) {
		fg_set_reg(g, 0x14, w);
		fg_set_reg(g, 0x24, w);
		fg_set_reg(g, 0x20, fg_reg(g, 0x10) & (uint32_t)(want >> (32 * w)));
	}
	fg_set_reg(g, 0x70, 3 | 8);
	return fg_reg(g, 0x70) & 8 ? 0 : -1;
}

struct fg_queue *fg_setup_queue(struct fg *g, unsigned idx, unsigned num)
{
	struct fg_queue *q = g->q[idx] ? g->q[idx] : malloc(sizeof(*q));

	if (!q)
		die("out of memory");
	memset(q, 0, sizeof(*q));
	g->q[idx] = q;
	fg_set_reg(g, 0x30, idx);
	if (!num)
		num = fg_reg(g, 0x34);
	q->g = g;
	q->idx = idx;
	q->num = (uint16_t)num;
	q->desc = ring_alloc(g, 16ul * num, 4096);
	q->avail = ring_alloc(g, 6 + 2ul * num, 2);
	q->used = ring_alloc(g, 6 + 8ul * num, 4);
	for (unsigned i = 0; i < num; i++)
		q->next[i] = (uint16_t)(i + 1);
	q->free_cnt = q->num;
	fg_set_reg(g, 0x38, num);
	fg_set_reg(g, 0x80, (uint32_t)q->desc);
	fg_set_reg(g, 0x84, (uint32_t)(q->desc >> 32));
	fg_set_reg(g, 0x90, (uint32_t)q->avail);
	fg_set_reg(g, 0x94, (uint32_t)(q->avail >> 32));
	fg_set_reg(g, 0xa0, (uint32_t)q->used);
	fg_set_reg(g, 0xa4, (uint32_t)(q->used >> 32));
	fg_set_reg(g, 0x44, 1);
	return q;
}

void fg_go(struct fg *g)
{
	fg_set_reg(g, 0x70, 3 | 8 | 4);
}

int fg_start(struct fg *g, uint64_t want)
{
	if (fg_negotiate(g, want) < 0)
		return -1;
	/* Nothing uses rings after the reset. */
	g->ring_next = FG_BASE;
	for (unsigned i = 0; i < g->slot.dev->queue_cnt; i++)
		(void)fg_setup_queue(g, i, 0);
	fg_go(g);
	return 0;
}

void fg_reset(struct fg *g)
{
	fg_set_reg(g, 0x70, 0);
}

struct fg_queue *fg_q(struct fg *g, unsigned idx)
{
	if (!g->q[idx])
		die("no such queue");
	return g->q[idx];
}

/* ---- well-behaved ring use ------------------------------------------------------------------- */

static bool accepted(const struct fg *g, uint64_t feature)
{
	return (g->slot.dev->acked & feature) != 0;
}

void fg_desc(struct fg *g, uint64_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
	     unsigned next)
{
	struct {
		le64_t addr;
		le32_t len;
		le16_t flags, next;
	} d = {le64_of(addr), le32_of(len), le16_of((uint16_t)flags), le16_of((uint16_t)next)};

	_Static_assert(sizeof(d) == 16, "descriptor");
	fg_put(g, table + 16ul * i, &d, sizeof(d));
}

static uint16_t take_desc(struct fg_queue *q)
{
	uint16_t i = q->free_head;

	if (!q->free_cnt)
		die("out of descriptors");
	q->free_cnt--;
	q->free_head = q->next[i];
	return i;
}

uint16_t fg_add(struct fg_queue *q, const struct fg_buf *buf, unsigned cnt, unsigned flags)
{
	bool indirect = (flags & FG_INDIRECT) != 0;
	uint64_t table = q->desc;
	uint16_t head = take_desc(q), at = head;

	if (indirect) {
		/* Tables live until the next fg_start(); tests add few. */
		table = ring_alloc(q->g, 16ul * cnt, 16);
		fg_desc(q->g, q->desc, head, table, 16 * cnt, FG_D_INDIRECT, 0);
		at = 0;
	}
	q->chain[head] = 1;
	for (unsigned i = 0; i < cnt; i++) {
		unsigned more = i + 1 < cnt;
		uint16_t next = 0;

		if (more && indirect) {
			next = (uint16_t)(i + 1);
		} else if (more) {
			next = take_desc(q);
			q->next[at] = next;
			q->chain[head]++;
		}
		fg_desc(q->g, table, at, buf[i].gpa, buf[i].len,
			(more ? FG_D_NEXT : 0) | (buf[i].write ? FG_D_WRITE : 0), next);
		at = next;
	}
	fg_avail_raw(q, head);
	return head;
}

void fg_avail_raw(struct fg_queue *q, uint16_t head)
{
	put16(q->g, q->avail + 4 + 2ul * (q->avail_idx % q->num), head);
	fg_set_avail_idx(q, (uint16_t)(q->avail_idx + 1));
}

void fg_set_avail_idx(struct fg_queue *q, uint16_t idx)
{
	q->avail_idx = idx;
	put16(q->g, q->avail + 2, idx);
}

bool fg_kick(struct fg_queue *q)
{
	uint16_t was = q->kicked_idx;
	bool want;

	q->kicked_idx = q->avail_idx;
	if (accepted(q->g, VIRTIO_F_EVENT_IDX)) {
		uint16_t event = get16(q->g, q->used + 4 + 8ul * q->num);

		want = (uint16_t)(q->avail_idx - event - 1) < (uint16_t)(q->avail_idx - was);
	} else {
		want = !(get16(q->g, q->used) & 1);
	}
	if (want) {
		q->kicks++;
		fg_set_reg(q->g, 0x50, q->idx);
	}
	return want;
}

int fg_take(struct fg_queue *q, uint32_t *written)
{
	le32_t e[2];
	uint16_t head, at;

	if (get16(q->g, q->used + 2) == q->last_used)
		return -1;
	fg_get(q->g, q->used + 4 + 8ul * (q->last_used % q->num), e, sizeof(e));
	q->last_used++;
	if (le32_get(e[0]) >= q->num)
		die("used entry names no descriptor");
	head = (uint16_t)le32_get(e[0]);
	if (written)
		*written = le32_get(e[1]);
	/* Back to the free list with all of it. */
	at = head;
	for (unsigned i = 1; i < q->chain[head]; i++)
		at = q->next[at];
	q->next[at] = q->free_head;
	q->free_head = head;
	q->free_cnt = (uint16_t)(q->free_cnt + q->chain[head]);
	if (accepted(q->g, VIRTIO_F_EVENT_IDX))
		fg_set_used_event(q, q->last_used);
	return head;
}

void fg_set_used_event(struct fg_queue *q, uint16_t event)
{
	put16(q->g, q->avail + 4 + 2ul * q->num, event);
}

void fg_set_no_interrupt(struct fg_queue *q, bool on)
{
	put16(q->g, q->avail, on);
}

static void tick(struct loop_op *op, int res, unsigned flags)
{
	(void)op;
	(void)res;
	(void)flags;
}

bool fg_run_until(struct fg *g, bool (*done)(void *arg), void *arg)
{
	uint64_t end = clock_ns() + WAIT_NS;
	struct loop_timer t = {.op = {.done = tick, .what = "fake guest"}};
	bool ok;

	while (!(ok = done(arg)) && g->loop && clock_ns() < end) {
		if (!t.op.busy)
			loop_timer(g->loop, &t, clock_ns() + 100 * NS_PER_MS);
		if (loop_step(g->loop, true) < 0)
			die("loop_step");
	}
	if (t.op.busy)
		loop_cancel(g->loop, &t.op);
	while (t.op.busy)
		if (loop_step(g->loop, true) < 0)
			die("loop_step");
	return ok;
}

static void set(void *arg)
{
	*(bool *)arg = true;
}

static bool is_set(void *arg)
{
	return *(bool *)arg;
}

void fg_shut(struct fg *g, struct virtio_dev *dev)
{
	bool over = false;

	virtio_shutdown(dev, set, &over);
	if (!fg_run_until(g, is_set, &over))
		die("a device does not end");
	virtio_free(dev);
}

struct buf fg_save(struct fg *g, struct virtio_dev *dev)
{
	struct buf b = {0};
	struct err e = {0};
	bool still = false;

	virtio_freeze(dev, set, &still);
	if (!fg_run_until(g, is_set, &still))
		die("a device does not rest");
	if (virtio_save(dev, &b, &e) < 0)
		die(e.msg);
	return b;
}

static bool has_used(void *arg)
{
	struct fg_queue *q = arg;

	return get16(q->g, q->used + 2) != q->last_used;
}

int fg_take_wait(struct fg_queue *q, uint32_t *written)
{
	(void)fg_run_until(q->g, has_used, q);
	return fg_take(q, written);
}

/* ---- watching accesses ----------------------------------------------------------------------- */

#if defined(__x86_64__)
#define EFLAGS_TRAP 0x100
#define WATCH_ADDRS 4096u

static struct {
	struct fg *g;
	uint8_t *page; /* what is protected: whole pages around the range */
	size_t page_len;
	uint64_t gpa;
	size_t len;
	void (*after)(void *ctx, uint64_t gpa, unsigned count);
	void *ctx;
	uint64_t at; /* the access being stepped over */
	bool inside;
	uint8_t count[WATCH_ADDRS];
	unsigned most;
} watch;

static void protect(int prot)
{
	if (mprotect(watch.page, watch.page_len, prot) < 0)
		die("mprotect");
}

static void on_segv(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;
	uint8_t *p = si->si_addr;

	(void)sig;
	if (!watch.g || p < watch.page || p >= watch.page + watch.page_len)
		die("a real segmentation fault");
	watch.at = watch.gpa + (uint64_t)(p - fg_host(watch.g, watch.gpa));
	watch.inside = watch.at - watch.gpa < watch.len;
	protect(PROT_READ | PROT_WRITE);
	uc->uc_mcontext.gregs[REG_EFL] |= EFLAGS_TRAP;
}

static void on_trap(int sig, siginfo_t *si, void *ucv)
{
	ucontext_t *uc = ucv;
	unsigned n;

	(void)sig;
	(void)si;
	uc->uc_mcontext.gregs[REG_EFL] &= ~EFLAGS_TRAP;
	if (watch.inside) {
		n = ++watch.count[watch.at - watch.gpa];
		watch.most = MAX(watch.most, n);
		if (watch.after)
			watch.after(watch.ctx, watch.at, n);
	}
	protect(PROT_NONE);
}

void fg_watch_begin(struct fg *g, uint64_t gpa, size_t len,
		    void (*after)(void *ctx, uint64_t gpa, unsigned count), void *ctx)
{
	struct sigaction segv = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
	struct sigaction trap = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
	uintptr_t a = (uintptr_t)fg_host(g, gpa);

	if (watch.g || len > WATCH_ADDRS)
		die("one watch of at most 4096 bytes");
	memset(&watch, 0, sizeof(watch));
	watch.g = g;
	watch.page = fg_host(g, gpa) - a % 4096;
	watch.page_len = ALIGN_UP(a % 4096 + len, (size_t)4096);
	watch.gpa = gpa;
	watch.len = len;
	watch.after = after;
	watch.ctx = ctx;
	if (sigaction(SIGSEGV, &segv, NULL) < 0 || sigaction(SIGTRAP, &trap, NULL) < 0)
		die("sigaction");
	protect(PROT_NONE);
}

unsigned fg_watch_end(struct fg *g)
{
	if (watch.g != g)
		die("no watch");
	protect(PROT_READ | PROT_WRITE);
	watch.g = NULL;
	(void)signal(SIGSEGV, SIG_DFL);
	(void)signal(SIGTRAP, SIG_DFL);
	return watch.most;
}
#endif
