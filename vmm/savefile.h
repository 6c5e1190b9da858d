/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a saved machine: a head, records (virtio/snap.h), and behind them the guest's RAM, each section
 * at its own place and on a bound of pages, with holes where pages are zero.
 *
 *   head 64 bytes | SAVEFILE records | padding | section | section ...
 *
 * All numbers little-endian. The file holds all that the guest knows: it is made for its owner only. Who reads
 * one believes nothing in it. Blocking; any thread.
 */
#ifndef HUSK_VMM_SAVEFILE_H
#define HUSK_VMM_SAVEFILE_H

#include <stddef.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

#define SAVEFILE_SECTIONS_MAX 8u
/* A bound for readers: 64 vCPUs with all their registers and 22 devices are some 2 MiB; shares with many
 * open files more. */
#define SAVEFILE_RECORDS_MAX (256u << 20)

struct savefile_section {
	uint64_t gpa, len; /* len: a multiple of 4 KiB */
};

struct savefile {
	struct savefile_section section[SAVEFILE_SECTIONS_MAX];
	unsigned section_cnt;
	uint64_t ram_off; /* of the first section; the others follow it */
	struct buf records;
};

/* Writes head and records, and makes room for the sections; sets @f->ram_off. 0 or -errno. */
int savefile_write_head(int fd, struct savefile *f) MUST_CHECK;
/* Writes what is not zero of section @i from @host. */
int savefile_write_section(int fd, const struct savefile *f, unsigned i,
			   const void *host) MUST_CHECK;

/*
 * Reads and checks head and records; on success savefile_free() is due. @name is for the sentence. -EINVAL: not
 * such a file, -EOPNOTSUPP: of another version, -EPROTO: cut off or damaged.
 */
int savefile_read_head(int fd, const char *name, struct savefile *f, struct err *e) MUST_CHECK;
/* Fills @host, which holds zeros, with section @i. -ENODATA: the file has become shorter. */
int savefile_read_section(int fd, const struct savefile *f, unsigned i, void *host) MUST_CHECK;
void savefile_free(struct savefile *f);

#endif
