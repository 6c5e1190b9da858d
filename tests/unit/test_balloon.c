/* SPDX-License-Identifier: Apache-2.0 */
/*
 * balloon.c: pages really go back to the host, and only pages of RAM; statistics; reporting.
 */
#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>

#include "base/endian.h"
#include "tests/lib/fake_guest.h"
#include "virtio/devices.h"

#define RAM	  0x80000000ull /* page-aligned memory beside the fake guest's own */
#define RAM_PAGES 64u
#define PMEM	  0x90000000ull
#define PAGE	  4096u

static struct virtio_dev *dev;
static struct fg *g;
static struct loop *l;
static uint8_t *ram, *pmem;
static unsigned changes;

static void count_change(void *ctx)
{
	(void)ctx;
	changes++;
}

static uint8_t *pages(unsigned cnt, uint8_t fill)
{
	uint8_t *p =
	    mmap(NULL, cnt * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(p != MAP_FAILED);
	memset(p, fill, cnt * PAGE);
	return p;
}

static void begin(bool stats, uint64_t want)
{
	static const struct log_config quiet = {
	    .program = "test", .file_fd = -1, .stderr_level = -1};
	struct balloon_config cfg = {
	    .stats = stats, .deflate_on_oom = true, .changed = count_change};
	struct err e = {0};

	log_setup(&quiet);
	cr_assert_eq(loop_new(&l, 8, &e), 0, "%s", e.msg);
	g = fg_new(1 << 20, 0);
	ram = pages(RAM_PAGES, 'r');
	pmem = pages(4, 'p');
	cr_assert_eq(gmem_add_ram(fg_mem(g), RAM, RAM_PAGES * PAGE, ram), 0);
	cr_assert_eq(gmem_add(fg_mem(g), PMEM, 4 * PAGE, pmem, false), 0);
	cr_assert_eq(balloon_new(&dev, "balloon0", &cfg, &e), 0);
	fg_plug(g, dev, l);
	cr_assert_eq(fg_start(g, want), 0);
	changes = 0;
}

static void end(void)
{
	fg_reset(g);
	while (dev->running)
		cr_assert_eq(loop_step(l, true), 0);
	virtio_free(dev);
	loop_free(l);
	fg_free(g);
	(void)munmap(ram, RAM_PAGES * PAGE);
	(void)munmap(pmem, 4 * PAGE);
}

/* Puts a list of page numbers into queue @q. */
static void list(unsigned q, const uint32_t *pfn, unsigned cnt)
{
	le32_t w[2048];

	for (unsigned i = 0; i < cnt; i++)
		w[i] = le32_of(pfn[i]);
	(void)fg_add(fg_q(g, q), &(struct fg_buf){fg_bytes(g, w, cnt * 4), cnt * 4, false}, 1, 0);
	(void)fg_kick(fg_q(g, q));
}

/* Is page @i of @at in memory? */
static bool resident(uint8_t *at, unsigned i)
{
	unsigned char v = 0;

	cr_assert_eq(mincore(at + (size_t)i * PAGE, PAGE, &v), 0);
	return v & 1;
}

static bool broken(void)
{
	return fg_reg(g, 0x70) & VIRTIO_S_NEEDS_RESET;
}

#define PFN(i) ((uint32_t)(RAM / PAGE) + (i))

Test(balloon, inflating_gives_pages_back)
{
	/* Out of order, one twice, neighbours among them. */
	const uint32_t pfn[] = {PFN(9), PFN(3), PFN(4), PFN(3), PFN(5), PFN(63)};

	begin(false, FG_ALL);
	list(0, pfn, ARRAY_LEN(pfn));
	cr_assert_geq(fg_take_wait(fg_q(g, 0), NULL), 0);
	for (unsigned i = 0; i < RAM_PAGES; i++) {
		bool gone = i == 9 || (i >= 3 && i <= 5) || i == 63;

		cr_assert_eq(resident(ram, i), !gone, "page %u", i);
		cr_assert_eq(ram[i * PAGE], gone ? 0 : 'r');
	}
	end();
}

Test(balloon, deflating_changes_nothing)
{
	const uint32_t pfn[] = {PFN(1), UINT32_MAX};

	begin(false, FG_ALL);
	list(1, pfn, ARRAY_LEN(pfn));
	cr_assert_geq(fg_take_wait(fg_q(g, 1), NULL), 0);
	cr_assert(resident(ram, 1));
	cr_assert(!broken());
	end();
}

/* Each is no RAM: beyond it, persistent memory, nothing at all; behind a good page, and alone. */
Test(balloon, pages_that_are_no_ram_are_refused)
{
	const uint32_t bad[] = {PFN(RAM_PAGES), PFN(0) - 1, (uint32_t)(PMEM / PAGE), 0, UINT32_MAX};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		const uint32_t pfn[] = {PFN(RAM_PAGES - 1), bad[i]};

		begin(false, FG_ALL);
		list(0, pfn, 2);
		cr_assert(broken(), "page number %#x", bad[i]);
		cr_assert_eq(pmem[0], 'p');
		/* A reset heals it. */
		cr_assert_eq(fg_start(g, FG_ALL), 0);
		list(0, (const uint32_t[]){PFN(0)}, 1);
		cr_assert_geq(fg_take_wait(fg_q(g, 0), NULL), 0);
		end();
	}
}

Test(balloon, lists_have_a_largest_size)
{
	static uint32_t pfn[1025];

	for (unsigned i = 0; i < ARRAY_LEN(pfn); i++)
		pfn[i] = PFN(i % RAM_PAGES);
	begin(false, FG_ALL);
	list(0, pfn, 1024);
	cr_assert(!broken());
	list(0, pfn, 1025);
	cr_assert(broken());
	end();
}

Test(balloon, odd_lists_are_refused)
{
	const struct fg_buf bad[] = {{FG_BASE + (4 << 20), 7, false},
				     {FG_BASE + (4 << 20), 8, true}};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		begin(false, FG_ALL);
		(void)fg_alloc(g, 4096, 1);
		(void)fg_add(fg_q(g, 0), &bad[i], 1, 0);
		(void)fg_kick(fg_q(g, 0));
		cr_assert(broken(), "%u", i);
		end();
	}
}

/* The list is copied before it is looked at: what the guest changes afterwards counts for nothing. */
static void rewrite(void *ctx, uint64_t gpa, unsigned count)
{
	/* The byte that was accessed and no other: the copy may go byte by byte. */
	(void)ctx;
	(void)count;
	fg_put(g, gpa, "\xff", 1);
}

Test(balloon, lists_are_fetched_once)
{
	/* Three: a copy of 12 bytes has no byte that is loaded twice by itself. */
	const le32_t w[3] = {le32_of(PFN(2)), le32_of(PFN(7)), le32_of(PFN(11))};
	uint64_t at;

	begin(false, FG_ALL);
	at = fg_bytes(g, w, sizeof(w));
	(void)fg_add(fg_q(g, 0), &(struct fg_buf){at, sizeof(w), false}, 1, 0);
	fg_watch_begin(g, at, sizeof(w), rewrite, NULL);
	(void)fg_kick(fg_q(g, 0));
	cr_assert_eq(fg_watch_end(g), 1);
	cr_assert_geq(fg_take_wait(fg_q(g, 0), NULL), 0);
	cr_assert(!broken());
	cr_assert(!resident(ram, 2) && !resident(ram, 7) && !resident(ram, 11));
	end();
}

/* ---- reporting: queue 2 without statistics, 3 with ---------------------------------------------- */
static void report(unsigned q, const struct fg_buf *buf, unsigned cnt)
{
	(void)fg_add(fg_q(g, q), buf, cnt, FG_INDIRECT);
	(void)fg_kick(fg_q(g, q));
}

Test(balloon, reported_memory_goes_back)
{
	for (unsigned stats = 0; stats < 2; stats++) {
		struct balloon_stats s;

		begin(stats, FG_ALL);
		/* Whole pages, and parts of pages, which stay; two that overlap. */
		report(2 + stats,
		       (const struct fg_buf[]){{RAM, 4 * PAGE, true},
					       {RAM + 3 * PAGE, 2 * PAGE, true},
					       {RAM + 8 * PAGE + 1, 2 * PAGE, true},
					       {RAM + 20 * PAGE, PAGE - 1, true}},
		       4);
		cr_assert_geq(fg_take_wait(fg_q(g, 2 + stats), NULL), 0);
		for (unsigned i = 0; i < RAM_PAGES; i++)
			cr_assert_eq(resident(ram, i), i >= 5 && i != 9, "page %u", i);
		balloon_stats(dev, &s);
		cr_assert_gt(s.reported, 5 * PAGE);
		end();
	}
}

Test(balloon, reports_of_what_is_no_ram_are_refused)
{
	const struct fg_buf bad[] = {
	    {PMEM, PAGE, true}, {RAM + RAM_PAGES * PAGE - 1, 2, true}, {RAM, PAGE, false}};

	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		begin(false, FG_ALL);
		report(2, &bad[i], 1);
		cr_assert(broken(), "%u", i);
		cr_assert_eq(pmem[0], 'p');
		cr_assert_eq(ram[RAM_PAGES * PAGE - 1], 'r');
		cr_assert(resident(ram, 0));
		end();
	}
}

/* A kernel that wants a pattern in its free pages keeps them. */
Test(balloon, poisoned_pages_stay)
{
	le32_t poison = le32_of(0xaaaaaaaa);

	begin(false, FG_ALL);
	vmmio_write(fg_slot(g), 0x100 + 12, &poison, 4);
	report(2, &(const struct fg_buf){RAM, PAGE, true}, 1);
	cr_assert_geq(fg_take_wait(fg_q(g, 2), NULL), 0);
	cr_assert(resident(ram, 0));
	end();
}

/* ---- statistics, target --------------------------------------------------------------------------- */
static void tell(uint16_t tag, uint64_t val, unsigned times)
{
	struct {
		le16_t tag;
		le64_t val;
	} __attribute__((packed)) w[64];

	for (unsigned i = 0; i < times; i++) {
		w[i].tag = le16_of(tag);
		w[i].val = le64_of(val);
	}
	(void)fg_add(fg_q(g, 2), &(struct fg_buf){fg_bytes(g, w, times * 10), times * 10, false}, 1,
		     0);
	(void)fg_kick(fg_q(g, 2));
}

Test(balloon, statistics_are_asked_for_and_told)
{
	struct balloon_stats s;

	begin(true, FG_ALL);
	cr_assert(!balloon_ask(dev), "no buffer yet");
	balloon_stats(dev, &s);
	cr_assert(!s.guest);
	cr_assert_eq(s.free, BALLOON_STAT_NONE);
	tell(4, 12345, 1);
	cr_assert_eq(changes, 1);
	balloon_stats(dev, &s);
	cr_assert(s.guest);
	cr_assert_eq(s.free, 12345);
	cr_assert_eq(s.total, BALLOON_STAT_NONE);
	cr_assert_eq(fg_take(fg_q(g, 2), NULL), -1, "kept until somebody asks");
	cr_assert(balloon_ask(dev));
	cr_assert(!balloon_ask(dev), "asked already");
	cr_assert_geq(fg_take_wait(fg_q(g, 2), NULL), 0);
	tell(5, 99, 1);
	balloon_stats(dev, &s);
	cr_assert_eq(s.total, 99);
	cr_assert_eq(s.free, BALLOON_STAT_NONE);
	end();
}

Test(balloon, strange_statistics_harm_nobody)
{
	struct balloon_stats s;

	begin(true, FG_ALL);
	tell(8, 1, 1);	   /* a kind that we do not keep */
	tell(65535, 1, 1); /* and one that nobody knows */
	tell(4, 7, 64);	   /* more than there are */
	balloon_stats(dev, &s);
	cr_assert_eq(s.free, 7);
	/* Two buffers were one too many: they came back at once. */
	cr_assert_geq(fg_take(fg_q(g, 2), NULL), 0);
	cr_assert_geq(fg_take(fg_q(g, 2), NULL), 0);
	cr_assert_eq(fg_take(fg_q(g, 2), NULL), -1);
	/* Empty; and with room to write. */
	(void)fg_add(fg_q(g, 2), &(struct fg_buf){RAM, 0, false}, 1, 0);
	(void)fg_kick(fg_q(g, 2));
	balloon_stats(dev, &s);
	cr_assert(!s.guest);
	(void)fg_add(fg_q(g, 2), &(struct fg_buf){RAM, 10, true}, 1, 0);
	(void)fg_kick(fg_q(g, 2));
	cr_assert(broken());
	cr_assert(!balloon_ask(dev));
	end();
}

Test(balloon, the_target_is_told_and_the_size_is_read)
{
	struct balloon_stats s;
	le32_t w = {0};
	unsigned irqs;

	begin(false, FG_ALL);
	irqs = fg_irqs(g);
	balloon_set_target(dev, 10 * PAGE + 5);
	cr_assert_eq(fg_irqs(g), irqs + 1);
	vmmio_read(fg_slot(g), 0x100, &w, 4);
	cr_assert_eq(le32_get(w), 10);
	w = le32_of(3);
	vmmio_write(fg_slot(g), 0x104, &w, 4);
	cr_assert_eq(changes, 1);
	balloon_stats(dev, &s);
	cr_assert_eq(s.target, 10 * PAGE);
	cr_assert_eq(s.actual, 3 * PAGE);
	/* What is ours the driver cannot write. */
	vmmio_write(fg_slot(g), 0x100, &w, 4);
	balloon_stats(dev, &s);
	cr_assert_eq(s.target, 10 * PAGE);
	balloon_set_target(dev, UINT64_MAX);
	balloon_stats(dev, &s);
	cr_assert_eq(s.target, (uint64_t)UINT32_MAX * PAGE);
	end();
}

/* More lists than one turn takes; a reset while the rest waits. */
Test(balloon, many_lists_take_turns)
{
	const uint32_t pfn[] = {PFN(1)};
	unsigned taken = 0;

	begin(false, FG_ALL);
	for (unsigned i = 0; i < 100; i++) {
		le32_t w = le32_of(pfn[0]);

		(void)fg_add(fg_q(g, 0), &(struct fg_buf){fg_bytes(g, &w, 4), 4, false}, 1, 0);
	}
	(void)fg_kick(fg_q(g, 0));
	while (fg_take(fg_q(g, 0), NULL) >= 0)
		taken++;
	cr_assert_eq(taken, 32, "one turn");
	while (taken < 100 && fg_take_wait(fg_q(g, 0), NULL) >= 0)
		taken++;
	cr_assert_eq(taken, 100);
	for (unsigned i = 0; i < 100; i++) {
		le32_t w = le32_of(pfn[0]);

		(void)fg_add(fg_q(g, 0), &(struct fg_buf){fg_bytes(g, &w, 4), 4, false}, 1, 0);
	}
	(void)fg_kick(fg_q(g, 0));
	end();
}
