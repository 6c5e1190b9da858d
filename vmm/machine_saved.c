/* SPDX-License-Identifier: Apache-2.0 */
/* See machine_saved.h, and machine.h for machine_saved_open(). */
#include "vmm/machine_saved.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "base/fd.h"
#include "vmm/ioapic.h"
#include "vmm/memmap.h"

#define TAG_SHAPE SNAP_TAG('M', 'S', 'H', 'P')
#define VERSION	  1u

struct shape_wire {
	le64_t memory;
	le32_t cpus, pins;
	uint8_t hw, serial, pmem_cnt, slot_cnt;
	le32_t zero;
};
_Static_assert(sizeof(struct shape_wire) == 24, "no padding");

struct window_wire {
	le64_t gpa, len, readonly;
};
struct slot_wire {
	le32_t id;
	char name[16];
};
_Static_assert(sizeof(((struct saved_slot *)0)->name) == sizeof(((struct slot_wire *)0)->name),
	       "the same names");

/* ---- the shape ------------------------------------------------------------------------------------- */

int saved_put_shape(struct buf *to, const struct saved_shape *s)
{
	struct shape_wire w = {.memory = le64_of(s->memory),
			       .cpus = le32_of(s->cpus),
			       .pins = le32_of(s->pins),
			       .hw = (uint8_t)s->hw,
			       .serial = s->serial,
			       .pmem_cnt = (uint8_t)s->pmem_cnt,
			       .slot_cnt = (uint8_t)s->slot_cnt};
	struct buf b = {0};
	int rc = buf_append(&b, &w, sizeof(w));

	for (unsigned i = 0; rc == 0 && i < s->pmem_cnt; i++) {
		struct window_wire p = {le64_of(s->pmem[i].gpa), le64_of(s->pmem[i].len),
					le64_of(s->pmem[i].readonly)};

		rc = buf_append(&b, &p, sizeof(p));
	}
	for (unsigned i = 0; rc == 0 && i < s->slot_cnt; i++) {
		struct slot_wire p = {.id = le32_of(s->slot[i].id)};

		memcpy(p.name, s->slot[i].name, sizeof(p.name));
		rc = buf_append(&b, &p, sizeof(p));
	}
	if (rc == 0)
		rc = snap_put(to, TAG_SHAPE, VERSION, b.data, b.len);
	buf_free(&b);
	return rc;
}

static bool is_name(const char name[16])
{
	size_t n = strnlen(name, 16);

	for (size_t i = 0; i < n; i++)
		if (!isgraph((unsigned char)name[i]))
			return false;
	return n < 16;
}

static bool is_possible(const struct saved_shape *s)
{
	return s->cpus && s->cpus <= MACHINE_CPUS_MAX && s->memory >= MACHINE_MEMORY_MIN &&
	       s->memory <= MEMMAP_RAM_MAX && s->memory % 4096 == 0 &&
	       (s->hw == MACHINE_HW_FDT || s->hw == MACHINE_HW_MPTABLE) && s->pins &&
	       s->pins <= IOAPIC_PINS && s->pmem_cnt <= BOOT_PMEM_MAX &&
	       s->slot_cnt <= MACHINE_SLOTS_MAX;
}

int saved_get_shape(struct snap_rd *r, struct saved_shape *s)
{
	struct shape_wire w;
	const uint8_t *p;
	size_t len;
	int rc = snap_get(r, TAG_SHAPE, VERSION, sizeof(w), &p, &len);

	if (rc < 0)
		return rc;
	memcpy(&w, p, sizeof(w));
	*s = (struct saved_shape){.memory = le64_get(w.memory),
				  .cpus = le32_get(w.cpus),
				  .pins = le32_get(w.pins),
				  .hw = (enum machine_hw)w.hw,
				  .serial = w.serial != 0,
				  .pmem_cnt = w.pmem_cnt,
				  .slot_cnt = w.slot_cnt};
	if (!is_possible(s) || len != sizeof(w) + s->pmem_cnt * sizeof(struct window_wire) +
					  s->slot_cnt * sizeof(struct slot_wire))
		return -EPROTO;
	p += sizeof(w);
	for (unsigned i = 0; i < s->pmem_cnt; i++, p += sizeof(struct window_wire)) {
		struct window_wire win;

		memcpy(&win, p, sizeof(win));
		s->pmem[i] = (struct saved_window){le64_get(win.gpa), le64_get(win.len),
						   le64_get(win.readonly) != 0};
	}
	for (unsigned i = 0; i < s->slot_cnt; i++, p += sizeof(struct slot_wire)) {
		struct slot_wire slot;

		memcpy(&slot, p, sizeof(slot));
		if (!is_name(slot.name))
			return -EPROTO;
		s->slot[i].id = le32_get(slot.id);
		memcpy(s->slot[i].name, slot.name, sizeof(slot.name));
	}
	return 0;
}

static int compare_windows(const struct saved_shape *was, const struct saved_shape *now,
			   struct err *e)
{
	if (was->pmem_cnt != now->pmem_cnt)
		return err_set(e, -EINVAL, "it was saved with %u --pmem, and now has %u",
			       was->pmem_cnt, now->pmem_cnt);
	for (unsigned i = 0; i < was->pmem_cnt; i++) {
		const struct saved_window *a = &was->pmem[i], *b = &now->pmem[i];

		if (a->gpa != b->gpa || a->len != b->len || a->readonly != b->readonly)
			return err_set(
			    e, -EINVAL, "pmem %u was saved as %llu MiB%s, and now is %llu MiB%s", i,
			    (unsigned long long)(a->len >> 20), a->readonly ? ",ro" : "",
			    (unsigned long long)(b->len >> 20), b->readonly ? ",ro" : "");
	}
	return 0;
}

int saved_compare(const struct saved_shape *was, const struct saved_shape *now, struct err *e)
{
	unsigned slots = MAX(was->slot_cnt, now->slot_cnt);

	if (was->cpus != now->cpus)
		return err_set(e, -EINVAL, "it was saved with %u CPUs, and now has %u", was->cpus,
			       now->cpus);
	if (was->memory != now->memory)
		return err_set(e, -EINVAL, "it was saved with %llu MiB of memory, and now has %llu",
			       (unsigned long long)(was->memory >> 20),
			       (unsigned long long)(now->memory >> 20));
	if (was->hw != now->hw)
		return err_set(e, -EINVAL, "its hardware was described in another way");
	if (was->serial != now->serial)
		return err_set(e, -EINVAL, "it was saved %s a serial port",
			       was->serial ? "with" : "without");
	for (unsigned i = 0; i < slots; i++) {
		const struct saved_slot *a = &was->slot[i], *b = &now->slot[i];

		if (a->id != b->id || strcmp(a->name, b->name) != 0)
			return err_set(e, -EINVAL,
				       "its device %u was saved as '%s', and now is '%s': the same "
				       "options are needed again",
				       i, a->id ? a->name : "none", b->id ? b->name : "none");
	}
	if (was->slot_cnt != now->slot_cnt || was->pins != now->pins)
		return err_set(e, -EINVAL, "it was saved with another number of slots");
	return compare_windows(was, now, e);
}

/* ---- the file -------------------------------------------------------------------------------------- */

/* RAM comes first, below the hole and above it; what was added later is third. */
static bool sections_fit(const struct machine_saved *s)
{
	const uint64_t low = memmap_low_len(s->shape.memory),
		       high = memmap_high_len(s->shape.memory);
	const struct savefile_section *sec = s->file.section;
	unsigned n = 0;

	if (sec[n].gpa != GPA_RAM_LOW || sec[n].len != low)
		return false;
	n++;
	if (high) {
		if (n == s->file.section_cnt || sec[n].gpa != GPA_RAM_HIGH || sec[n].len != high)
			return false;
		n++;
	}
	if (n < s->file.section_cnt) {
		if (sec[n].gpa != GPA_VIRTIO_MEM ||
		    sec[n].len > GPA_VIRTIO_MEM_END - GPA_VIRTIO_MEM)
			return false;
		n++;
	}
	return n == s->file.section_cnt;
}

int saved_damaged(const struct machine_saved *s, struct err *e)
{
	return err_set(e, -EPROTO, "'%s': this saved machine is damaged, or of another version",
		       s->name);
}

static int get_clock(struct machine_saved *s)
{
	const uint8_t *p;
	size_t len;
	le64_t w;
	int rc = snap_get(&s->rest, SAVED_TAG_CLOCK, SAVED_VERSION, sizeof(w), &p, &len);

	if (rc < 0)
		return rc;
	memcpy(&w, p, sizeof(w));
	s->clock = le64_get(w);
	return 0;
}

static int get_cpuid(struct machine_saved *s)
{
	const size_t each = sizeof(s->cpuid.entry[0]);
	const uint8_t *p;
	size_t len;
	int rc = snap_get(&s->rest, SAVED_TAG_CPUID, SAVED_VERSION, each, &p, &len);

	if (rc < 0)
		return rc;
	if (len % each || len > sizeof(s->cpuid.entry))
		return -EPROTO;
	s->cpuid.nent = (uint32_t)(len / each);
	memcpy(s->cpuid.entry, p, len);
	return 0;
}

static int parse(struct machine_saved *s, struct err *e)
{
	int rc;

	s->rest = (struct snap_rd){s->file.records.data, s->file.records.len};
	rc = saved_get_shape(&s->rest, &s->shape);
	if (rc == 0 && !sections_fit(s))
		rc = -EPROTO;
	if (rc == 0)
		rc = get_clock(s);
	if (rc == 0)
		rc = get_cpuid(s);
	return rc < 0 ? saved_damaged(s, e) : 0;
}

int machine_saved_open(struct machine_saved **ret, const char *path, struct err *e)
{
	struct machine_saved *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd < 0) {
		rc = -errno;
		free(s);
		return err_sys(e, rc, "saved machine '%s'", path);
	}
	s->name = strdup(path);
	rc = s->name ? savefile_read_head(s->fd, s->name, &s->file, e)
		     : err_set(e, -ENOMEM, "out of memory");
	if (rc == 0)
		rc = parse(s, e);
	if (rc < 0) {
		machine_saved_free(s);
		return rc;
	}
	*ret = s;
	return 0;
}

void machine_saved_free(struct machine_saved *s)
{
	if (!s)
		return;
	savefile_free(&s->file);
	fd_close(&s->fd);
	free(s->name);
	free(s);
}

void machine_saved_config(const struct machine_saved *s, struct machine_config *cfg)
{
	cfg->saved = s;
	cfg->cpus = s->shape.cpus;
	cfg->memory = s->shape.memory;
	cfg->hw = s->shape.hw;
	cfg->kernel_fd = cfg->initrd_fd = -1;
	cfg->kernel_name = s->name;
}
