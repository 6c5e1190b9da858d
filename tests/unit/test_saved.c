/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Saved machines: the file's form, what is believed of it, and how another shape is told. The rest needs KVM:
 * tests/it/vmm-save.sh.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/endian.h"
#include "virtio/virtio.h"
#include "vmm/cpuid_x86.h"
#include "vmm/machine_saved.h"
#include "vmm/memmap.h"
#include "vmm/savefile.h"
#include "vmm/vcpu_snap.h"

#define MIB	     (1u << 20)
#define OFF_VERSION  16
#define OFF_SECTIONS 20
#define OFF_RECORDS  24
#define OFF_RAM	     32
#define OFF_SECTION0 64

static int fd;
static char path[64];
static struct err e;
static struct savefile out;
static uint8_t *ram;

static struct saved_shape plain_shape(void)
{
	return (struct saved_shape){.cpus = 2,
				    .memory = 16 * MIB,
				    .hw = MACHINE_HW_FDT,
				    .pins = 6,
				    .slot_cnt = 2,
				    .pmem_cnt = 1,
				    .pmem[0] = {GPA_PMEM, 2 * MIB, true},
				    .slot = {{VIRTIO_ID_BLK, "blk0"}, {VIRTIO_ID_9P, "9p0"}}};
}

static void put_clock_and_cpuid(size_t clock_len, size_t cpuid_len)
{
	static const struct kvm_cpuid_entry2 leaf[CPUID_ENTRIES_MAX + 1] = {{.function = 7}};
	le64_t clock = le64_of(0x123456789);

	cr_assert_eq(snap_put(&out.records, SAVED_TAG_CLOCK, SAVED_VERSION, &clock, clock_len), 0);
	cr_assert_eq(snap_put(&out.records, SAVED_TAG_CPUID, SAVED_VERSION, leaf, cpuid_len), 0);
}

/* A file with all that is read at once, a record behind it, and 16 MiB of which three pages are not zero. */
static void make(const struct saved_shape *shape, size_t clock_len, size_t cpuid_len)
{
	fd = memfd_create("saved", MFD_CLOEXEC);
	cr_assert_geq(fd, 0);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ram = calloc(1, 16 * MIB);
	cr_assert_not_null(ram);
	ram[0] = 1;
	ram[5000] = 2;
	ram[16 * MIB - 1] = 3;
	cr_assert_eq(saved_put_shape(&out.records, shape), 0);
	put_clock_and_cpuid(clock_len, cpuid_len);
	cr_assert_eq(snap_put(&out.records, SNAP_TAG('N', 'E', 'X', 'T'), 1, "next", 4), 0);
	out.section[0] = (struct savefile_section){GPA_RAM_LOW, 16 * MIB};
	out.section_cnt = 1;
	cr_assert_eq(savefile_write_head(fd, &out), 0);
	cr_assert_eq(savefile_write_section(fd, &out, 0, ram), 0);
}

static void begin(void)
{
	struct saved_shape shape = plain_shape();

	make(&shape, sizeof(le64_t), 2 * sizeof(struct kvm_cpuid_entry2));
}

static void end(void)
{
	savefile_free(&out);
	free(ram);
	(void)close(fd);
}

TestSuite(saved, .init = begin, .fini = end);

static void poke(size_t off, uint64_t v, size_t len)
{
	le64_t w = le64_of(v);

	cr_assert_eq(pwrite(fd, &w, len, (off_t)off), (ssize_t)len);
}

static void refused(int code, const char *text)
{
	struct machine_saved *s = NULL;

	e = (struct err){0};
	cr_assert_eq(machine_saved_open(&s, path, &e), code, "%d: %s", e.code, e.msg);
	cr_assert_not_null(strstr(e.msg, text), "%s", e.msg);
	cr_assert_null(s);
}

Test(saved, memory_comes_back_and_zeros_are_holes)
{
	struct machine_saved *s;
	uint8_t *back = calloc(1, 16 * MIB);
	struct machine_config cfg = {0};
	const uint8_t *p;
	struct stat st;
	size_t len;

	cr_assert_eq(machine_saved_open(&s, path, &e), 0, "%s", e.msg);
	cr_assert_eq(savefile_read_section(s->fd, &s->file, 0, back), 0);
	cr_assert_eq(memcmp(back, ram, 16 * MIB), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_leq(st.st_blocks * 512, 64 << 10);
	cr_assert_eq(s->shape.slot[1].id, VIRTIO_ID_9P);
	cr_assert_str_eq(s->shape.slot[1].name, "9p0");
	cr_assert_eq(snap_get(&s->rest, SNAP_TAG('N', 'E', 'X', 'T'), 1, 4, &p, &len), 0);
	cr_assert_eq(s->rest.left, 0);
	cr_assert_eq(s->clock, 0x123456789);
	cr_assert_eq(s->cpuid.nent, 2);
	cr_assert_eq(s->cpuid.entry[0].function, 7);
	machine_saved_config(s, &cfg);
	cr_assert_eq(cfg.cpus, 2);
	cr_assert_eq(cfg.memory, 16 * MIB);
	cr_assert_eq(cfg.saved, s);
	machine_saved_free(s);
	free(back);
}

/* Writes go in pieces: a run that is longer than one, with zeros before and behind. */
Test(saved, long_runs)
{
	uint8_t *back = calloc(1, 16 * MIB);

	memset(ram + 4096 * 3, 0x5a, 3 * MIB);
	ram[4096 * 3 + 2 * MIB] = 0;
	cr_assert_eq(savefile_write_section(fd, &out, 0, ram), 0);
	cr_assert_eq(savefile_read_section(fd, &out, 0, back), 0);
	cr_assert_eq(memcmp(back, ram, 16 * MIB), 0);
	free(back);
}

Test(saved, a_file_that_shrinks_is_noticed)
{
	uint8_t *back = calloc(1, 16 * MIB);

	cr_assert_eq(ftruncate(fd, (off_t)(out.ram_off + 16 * MIB - 4096)), 0);
	cr_assert_eq(savefile_read_section(fd, &out, 0, back), -ENODATA);
	cr_assert_eq(ftruncate(fd, (off_t)out.ram_off), 0);
	cr_assert_eq(savefile_read_section(fd, &out, 0, back), -ENODATA);
	free(back);
}

Test(saved, not_one)
{
	poke(0, 0, 1);
	refused(-EINVAL, "not a saved machine");
	cr_assert_eq(ftruncate(fd, 10), 0);
	refused(-EINVAL, "not a saved machine");
	cr_assert_eq(ftruncate(fd, 0), 0);
	refused(-EINVAL, "not a saved machine");
}

Test(saved, another_version)
{
	poke(OFF_VERSION, 2, 4);
	refused(-EOPNOTSUPP, "of version 2; this is 1");
}

Test(saved, cut_off)
{
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(ftruncate(fd, st.st_size - 1), 0);
	refused(-EPROTO, "cut off or damaged");
	cr_assert_eq(ftruncate(fd, st.st_size + 1), 0);
	refused(-EPROTO, "cut off or damaged");
	for (off_t at = 64; at < (off_t)out.ram_off; at += 7) {
		cr_assert_eq(ftruncate(fd, at), 0);
		refused(-EPROTO, "cut off or damaged");
	}
}

Test(saved, sections_of_the_head)
{
	static const uint64_t cnt[] = {0, SAVEFILE_SECTIONS_MAX + 1, UINT32_MAX, 2};

	for (size_t i = 0; i < sizeof(cnt) / sizeof(cnt[0]); i++) {
		poke(OFF_SECTIONS, cnt[i], 4);
		refused(-EPROTO, "cut off or damaged");
	}
	poke(OFF_SECTIONS, 1, 4);
	poke(OFF_SECTION0 + 8, 16 * MIB - 1, 8);
	refused(-EPROTO, "cut off or damaged");
	poke(OFF_SECTION0 + 8, 0, 8);
	refused(-EPROTO, "cut off or damaged");
	/* Both ends wrap; of the first the file's length is right. */
	poke(OFF_SECTION0, UINT64_MAX - 4095, 8);
	poke(OFF_SECTION0 + 8, 8192, 8);
	cr_assert_eq(ftruncate(fd, (off_t)(out.ram_off + 8192)), 0);
	refused(-EPROTO, "cut off or damaged");
	poke(OFF_SECTION0, 0, 8);
	poke(OFF_SECTION0 + 8, UINT64_MAX - 4095, 8);
	refused(-EPROTO, "cut off or damaged");
}

/* Right by itself, but not the memory of such a machine. */
Test(saved, sections_of_the_machine)
{
	poke(OFF_SECTION0, 4096, 8);
	refused(-EPROTO, "damaged, or of another version");
	poke(OFF_SECTION0, 0, 8);
	poke(OFF_SECTION0 + 8, 8 * MIB, 8);
	cr_assert_eq(ftruncate(fd, (off_t)(out.ram_off + 8 * MIB)), 0);
	refused(-EPROTO, "damaged, or of another version");
}

Test(saved, records_of_the_head)
{
	poke(OFF_RECORDS, SAVEFILE_RECORDS_MAX + 1ull, 8);
	refused(-EPROTO, "damaged");
	poke(OFF_RECORDS, UINT64_MAX - 100, 8);
	refused(-EPROTO, "damaged");
	poke(OFF_RECORDS, 4, 8);
	refused(-EPROTO, "damaged");
	poke(OFF_RECORDS, out.records.len, 8);
	poke(OFF_RAM, out.ram_off + 4096, 8);
	refused(-EPROTO, "damaged");
}

/* What is no clock, and no table of CPUID or one that is too long. */
Test(saved, clock_and_cpuid)
{
	const size_t each = sizeof(struct kvm_cpuid_entry2);
	const size_t len[][2] = {
	    {7, each}, {8, 0}, {8, each - 1}, {8, each + 1}, {8, (CPUID_ENTRIES_MAX + 1) * each}};
	struct saved_shape shape = plain_shape();

	for (size_t i = 0; i < sizeof(len) / sizeof(len[0]); i++) {
		end();
		out = (struct savefile){0};
		make(&shape, len[i][0], len[i][1]);
		refused(-EPROTO, "damaged, or of another version");
	}
	end();
	out = (struct savefile){0};
	make(&shape, 8, CPUID_ENTRIES_MAX * each);
	{
		struct machine_saved *s;

		cr_assert_eq(machine_saved_open(&s, path, &e), 0, "%s", e.msg);
		machine_saved_free(s);
	}
}

static void shape_refused(void (*change)(struct saved_shape *s))
{
	struct saved_shape shape = plain_shape(), got;
	struct buf b = {0};
	struct snap_rd r;

	change(&shape);
	cr_assert_eq(saved_put_shape(&b, &shape), 0);
	r = (struct snap_rd){b.data, b.len};
	cr_assert_eq(saved_get_shape(&r, &got), -EPROTO);
	buf_free(&b);
}
static void no_cpus(struct saved_shape *s)
{
	s->cpus = 0;
}
static void many_cpus(struct saved_shape *s)
{
	s->cpus = MACHINE_CPUS_MAX + 1;
}
static void little_memory(struct saved_shape *s)
{
	s->memory = MACHINE_MEMORY_MIN - 4096;
}
static void much_memory(struct saved_shape *s)
{
	s->memory = MEMMAP_RAM_MAX + 4096;
}
static void odd_memory(struct saved_shape *s)
{
	s->memory += 1;
}
static void no_hw(struct saved_shape *s)
{
	s->hw = MACHINE_HW_AUTO;
}
static void no_pins(struct saved_shape *s)
{
	s->pins = 0;
}
static void many_pins(struct saved_shape *s)
{
	s->pins = 25;
}
static void long_name(struct saved_shape *s)
{
	memset(s->slot[0].name, 'x', sizeof(s->slot[0].name));
}
static void odd_name(struct saved_shape *s)
{
	s->slot[0].name[1] = '\n';
}

Test(saved, shapes_that_no_machine_has)
{
	void (*const change[])(struct saved_shape *
			       s) = {no_cpus, many_cpus, little_memory, much_memory, odd_memory,
				     no_hw,   no_pins,	 many_pins,	long_name,   odd_name};

	for (size_t i = 0; i < sizeof(change) / sizeof(change[0]); i++)
		shape_refused(change[i]);
}

/* The counts of windows and slots against the record's length, and against their bounds. */
Test(saved, counts_of_the_shape)
{
	struct saved_shape shape = plain_shape(), got;
	struct buf b = {0};

	cr_assert_eq(saved_put_shape(&b, &shape), 0);
	for (size_t at = 12 + 18; at < 12 + 20; at++) { /* pmem_cnt, slot_cnt */
		uint8_t was = b.data[at];

		for (unsigned v = 0; v < 256; v++) {
			struct snap_rd r = {b.data, b.len};

			b.data[at] = (uint8_t)v;
			if (v != was)
				cr_assert_eq(saved_get_shape(&r, &got), -EPROTO, "%zu: %u", at, v);
		}
		b.data[at] = was;
	}
	buf_free(&b);
}

static void differs(const struct saved_shape *now, const char *text)
{
	struct saved_shape was = plain_shape();

	e = (struct err){0};
	cr_assert_eq(saved_compare(&was, now, &e), -EINVAL);
	cr_assert_not_null(strstr(e.msg, text), "%s", e.msg);
}

Test(saved, another_shape_is_told)
{
	struct saved_shape now = plain_shape(), was = plain_shape();

	cr_assert_eq(saved_compare(&was, &now, &e), 0);
	now.cpus = 3;
	differs(&now, "saved with 2 CPUs, and now has 3");
	now = was;
	now.memory *= 2;
	differs(&now, "saved with 16 MiB of memory, and now has 32");
	now = was;
	now.hw = MACHINE_HW_MPTABLE;
	differs(&now, "described in another way");
	now = was;
	now.serial = true;
	differs(&now, "saved without a serial port");
	now = was;
	now.slot[1].id = VIRTIO_ID_NET;
	differs(&now, "device 1 was saved as '9p0'");
	now = was;
	(void)strcpy(now.slot[0].name, "blk1");
	differs(&now, "device 0 was saved as 'blk0', and now is 'blk1'");
	now = was;
	now.slot_cnt = 3;
	differs(&now, "another number of slots");
	now = was;
	now.pins++;
	differs(&now, "another number of slots");
	now = was;
	now.pmem_cnt = 0;
	differs(&now, "saved with 1 --pmem, and now has 0");
	now = was;
	now.pmem[0].len *= 2;
	differs(&now, "pmem 0 was saved as 2 MiB,ro, and now is 4 MiB,ro");
	now = was;
	now.pmem[0].readonly = false;
	differs(&now, "and now is 2 MiB");
}

/* ---- registers, features --------------------------------------------------------------------------- */

Test(saved, deadline_comes_last_and_hyperv_goes)
{
	uint32_t idx[] = {0x6e0, 0x10, 0x40000000, 0x400001ff, 0x40000200, 0x4b564d00};
	static const uint32_t want[] = {0x10, 0x40000200, 0x4b564d00, 0x6e0};

	cr_assert_eq(vcpu_saved_msrs(idx, 6), 4);
	cr_assert_eq(memcmp(idx, want, sizeof(want)), 0);
	idx[0] = 0x10;
	cr_assert_eq(vcpu_saved_msrs(idx, 1), 1);
}

Test(saved, a_host_with_less_is_refused)
{
	static struct cpuid host, was;
	uint32_t leaf = 0;

	was.nent = host.nent = 3;
	was.entry[0] = (struct kvm_cpuid_entry2){.function = 1, .ecx = 0x81, .edx = 2, .ebx = 7};
	was.entry[1] = (struct kvm_cpuid_entry2){.function = 7, .ebx = 0x20};
	was.entry[2] = (struct kvm_cpuid_entry2){.function = 4, .eax = 5};
	memcpy(host.entry, was.entry, sizeof(was.entry));
	cr_assert(cpuid_covers(&host, &was, &leaf));
	/* More is fine, and what is no feature may differ. */
	host.entry[0].ecx |= 0x100;
	host.entry[0].ebx = 9;
	host.entry[2].eax = 6;
	/* What the guest switches on itself, or what comes with its number of processors. */
	was.entry[0].ecx |= 1u << 27;
	was.entry[0].edx |= 1u << 28;
	cr_assert(cpuid_covers(&host, &was, &leaf));
	was.entry[1].ebx |= 0x40;
	cr_assert_not(cpuid_covers(&host, &was, &leaf));
	cr_assert_eq(leaf, 7);
	host.nent = 1; /* the leaf is missing */
	was.entry[1].ebx = 0;
	cr_assert(cpuid_covers(&host, &was, &leaf));
	was.entry[1].ebx = 1;
	cr_assert_not(cpuid_covers(&host, &was, &leaf));
}
