/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a saved machine from nobody knows where, up to the point where KVM and the devices (fuzz_snap.c) judge
 * their own records: the first byte says whether the rest is the file, or the records of one whose head is right.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/machine_saved.h"
#include "vmm/memmap.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void die(const char *why)
{
	(void)fprintf(stderr, "fuzz_saved: %s\n", why);
	abort();
}

static void put_file(int fd, const uint8_t *data, size_t len)
{
	if (ftruncate(fd, 0) < 0 || pwrite(fd, data, len, 0) != (ssize_t)len)
		die("no file");
}

/* A head, and sections as the shape in the records would have them. */
static void put_records(int fd, const uint8_t *data, size_t len)
{
	struct saved_shape shape = {0};
	struct snap_rd r = {data, len};
	struct savefile f = {.section_cnt = 1};

	if (saved_get_shape(&r, &shape) < 0)
		shape.memory = MACHINE_MEMORY_MIN;
	f.section[0] = (struct savefile_section){GPA_RAM_LOW, memmap_low_len(shape.memory)};
	if (memmap_high_len(shape.memory))
		f.section[f.section_cnt++] =
		    (struct savefile_section){GPA_RAM_HIGH, memmap_high_len(shape.memory)};
	if (ftruncate(fd, 0) < 0 || buf_append(&f.records, data, len) < 0 ||
	    savefile_write_head(fd, &f) < 0)
		die("no file");
	savefile_free(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static int fd = -1;
	struct machine_saved *s = NULL;
	struct machine_config cfg;
	struct err e = {0};
	char path[32];

	if (len < 1)
		return 0;
	if (fd < 0)
		fd = memfd_create("saved", MFD_CLOEXEC);
	if (data[0] & 1)
		put_records(fd, data + 1, len - 1);
	else
		put_file(fd, data + 1, len - 1);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (machine_saved_open(&s, path, &e) < 0) {
		if (!e.msg[0] || s)
			die("refused without a sentence");
		return 0;
	}
	machine_saved_config(s, &cfg);
	if (!cfg.cpus || cfg.cpus > MACHINE_CPUS_MAX || cfg.memory > MEMMAP_RAM_MAX ||
	    saved_compare(&s->shape, &s->shape, &e) < 0)
		die("a machine that cannot be");
	machine_saved_free(s);
	return 0;
}
