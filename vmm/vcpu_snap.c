/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See vcpu_snap.h; the calls are described in Linux' Documentation/virt/kvm/api.rst.
 *
 * The order matters both ways. Reading: the multiprocessor state first, since KVM takes pending INIT and
 * start-up signals while it tells it; events last, since reading registers may turn a half-done injection into
 * an event. Writing: the local APIC behind the system registers, which have its base and mode; the deadline
 * behind the APIC, whose timer must be in that mode, and behind the TSC; events last.
 */
#include "vmm/vcpu_snap.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "base/fd.h"

#define VERSION	   1u
#define TAG_MP	   SNAP_TAG('V', 'C', 'M', 'P')
#define TAG_REGS   SNAP_TAG('V', 'C', 'G', 'P')
#define TAG_SREGS  SNAP_TAG('V', 'C', 'S', 'R')
#define TAG_XSAVE  SNAP_TAG('V', 'C', 'X', 'S')
#define TAG_XCRS   SNAP_TAG('V', 'C', 'X', 'C')
#define TAG_DEBUG  SNAP_TAG('V', 'C', 'D', 'R')
#define TAG_LAPIC  SNAP_TAG('V', 'C', 'L', 'A')
#define TAG_MSRS   SNAP_TAG('V', 'C', 'M', 'S')
#define TAG_TSC	   SNAP_TAG('V', 'C', 'T', 'S')
#define TAG_EVENTS SNAP_TAG('V', 'C', 'E', 'V')

/* Intel SDM 4; the synthetic ones of Hyper-V: its TLFS, which our guests are not offered. */
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_HYPERV	 0x40000000u
#define MSR_HYPERV_END	 0x40000200u
#define MSRS_MAX	 1024u

/* What a clock may be off by before a guest would notice: KVM's own bound. */
#define TSC_PPM 250u

struct msr_wire {
	le32_t index, zero;
	le64_t data;
};

struct msr_list {
	uint32_t nmsrs; /* struct kvm_msr_list */
	uint32_t index[MSRS_MAX];
};

struct msrs {
	uint32_t nmsrs, pad; /* struct kvm_msrs */
	struct kvm_msr_entry e[MSRS_MAX];
};

/* ---- plain structures ------------------------------------------------------------------------------ */

/* The largest of those that KVM takes and gives as they are. */
#define PLAIN_MAX sizeof(struct kvm_lapic_state)

/*
 * One record. save() and load(): NULL where it is KVM's structure as it is, whose size the requests have in
 * them.
 */
struct part {
	uint32_t tag;
	const char *name;
	unsigned long get, set;
	int (*save)(const struct vcpu *v, struct buf *to, struct err *e);
	int (*load)(const struct vcpu *v, struct snap_rd *r, struct err *e);
};

static int put(struct buf *to, uint32_t tag, const void *p, size_t len, int rc, const char *what,
	       struct err *e)
{
	if (rc >= 0)
		rc = snap_put(to, tag, VERSION, p, len);
	return rc < 0 ? err_sys(e, rc, "saving a virtual CPU: its %s", what) : 0;
}

static int take(struct snap_rd *r, uint32_t tag, void *p, size_t len, struct err *e)
{
	const uint8_t *from;
	size_t n;
	int rc = snap_get(r, tag, VERSION, len, &from, &n);

	if (rc < 0 || n != len)
		return err_set(e, rc < 0 ? rc : -EPROTO,
			       "a virtual CPU's saved state is cut off or of another version");
	memcpy(p, from, len);
	return 0;
}

static int refused(struct err *e, int rc, const char *what)
{
	return rc < 0 ? err_sys(e, rc, "KVM refuses a virtual CPU's saved %s", what) : 0;
}

static int save_plain(const struct vcpu *v, const struct part *part, struct buf *to, struct err *e)
{
	_Alignas(8) uint8_t s[PLAIN_MAX] = {0};
	int rc = kvm_call_int(v->fd, part->get, (unsigned long)(uintptr_t)s);

	return put(to, part->tag, s, _IOC_SIZE(part->get), rc, part->name, e);
}

static int load_plain(const struct vcpu *v, const struct part *part, struct snap_rd *r,
		      struct err *e)
{
	_Alignas(8) uint8_t s[PLAIN_MAX];
	int rc = take(r, part->tag, s, _IOC_SIZE(part->set), e);

	return rc < 0 ? rc
		      : refused(e, kvm_call_int(v->fd, part->set, (unsigned long)(uintptr_t)s),
				part->name);
}

/* ---- extended state -------------------------------------------------------------------------------- */

/* KVM's structure is as large as what the guest may use; 4 KiB are what all have. */
static size_t xsave_len(const struct vcpu *v)
{
	int rc = kvm_call_int(v->sh->vm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);

	return MAX((size_t)MAX(rc, 0), sizeof(struct kvm_xsave));
}

static int save_xsave(const struct vcpu *v, struct buf *to, struct err *e)
{
	size_t len = xsave_len(v);
	auto_free void *p = calloc(1, len);
	int rc = -ENOMEM;

	/* Sizes differ from the structure's, which ends in an array without a length. */
	if (p)
		rc = ioctl(v->fd, len > sizeof(struct kvm_xsave) ? KVM_GET_XSAVE2 : KVM_GET_XSAVE,
			   p) < 0
			 ? -errno
			 : 0;
	return put(to, TAG_XSAVE, p, len, rc, "extended state", e);
}

static int load_xsave(const struct vcpu *v, struct snap_rd *r, struct err *e)
{
	size_t len = xsave_len(v), n;
	auto_free void *p = calloc(1, len);
	const uint8_t *from;
	int rc = p ? snap_get(r, TAG_XSAVE, VERSION, sizeof(struct kvm_xsave), &from, &n) : -ENOMEM;

	if (rc == 0 && n > len)
		return err_set(e, -EOPNOTSUPP,
			       "the saved machine's processor has registers that this one lacks");
	if (rc == 0) {
		memcpy(p, from, n);
		rc = ioctl(v->fd, KVM_SET_XSAVE, p) < 0 ? -errno : 0;
	}
	return rc < 0 ? err_sys(e, rc, "KVM refuses a virtual CPU's saved state: KVM_SET_XSAVE")
		      : 0;
}

/* A processor without XSAVE has none to set, and KVM says so. */
static int load_xcrs(const struct vcpu *v, struct snap_rd *r, struct err *e)
{
	struct kvm_xcrs xcrs;
	int rc = take(r, TAG_XCRS, &xcrs, sizeof(xcrs), e);

	if (rc == 0 && xcrs.nr_xcrs)
		rc = kvm_call(v->fd, KVM_SET_XCRS, &xcrs);
	return refused(e, rc, "extended control registers");
}

/* ---- model-specific registers ---------------------------------------------------------------------- */

unsigned vcpu_saved_msrs(uint32_t *idx, unsigned n)
{
	bool deadline = false;
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (idx[i] == MSR_TSC_DEADLINE)
			deadline = true;
		else if (idx[i] < MSR_HYPERV || idx[i] >= MSR_HYPERV_END)
			idx[kept++] = idx[i];
	}
	if (deadline)
		idx[kept++] = MSR_TSC_DEADLINE;
	return kept;
}

static int list_msrs(const struct vcpu *v, struct msr_list *l)
{
	int rc;

	l->nmsrs = MSRS_MAX;
	rc = kvm_call(v->sh->vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, (struct kvm_msr_list *)l);
	if (rc < 0)
		return rc;
	l->nmsrs = vcpu_saved_msrs(l->index, l->nmsrs);
	return 0;
}

/* Reads those of @l that can be read, which not all that are listed can. */
static int get_msrs(const struct vcpu *v, const struct msr_list *l, struct msrs *m, struct buf *to)
{
	unsigned next = 0;

	while (next < l->nmsrs) {
		int got;

		m->nmsrs = 0;
		m->pad = 0;
		for (unsigned i = next; i < l->nmsrs; i++)
			m->e[m->nmsrs++] = (struct kvm_msr_entry){.index = l->index[i]};
		got = kvm_call(v->fd, KVM_GET_MSRS, (struct kvm_msrs *)m);
		if (got < 0)
			return got;
		for (int i = 0; i < got; i++) {
			struct msr_wire w = {.index = le32_of(m->e[i].index),
					     .data = le64_of(m->e[i].data)};

			if (buf_append(to, &w, sizeof(w)) < 0)
				return -ENOMEM;
		}
		next += (unsigned)got + 1; /* behind the one that cannot be read */
	}
	return 0;
}

static int save_msrs(const struct vcpu *v, struct buf *to, struct err *e)
{
	auto_free struct msr_list *l = malloc(sizeof(*l));
	auto_free struct msrs *m = malloc(sizeof(*m));
	struct buf b = {0};
	int rc = l && m ? list_msrs(v, l) : -ENOMEM;

	if (rc == 0)
		rc = get_msrs(v, l, m, &b);
	rc = put(to, TAG_MSRS, b.data, b.len, rc, "model-specific registers", e);
	buf_free(&b);
	return rc;
}

/* One that cannot be written, but has the value already, is as it should be. */
static bool has_value(const struct vcpu *v, const struct kvm_msr_entry *want)
{
	struct {
		uint32_t nmsrs, pad;
		struct kvm_msr_entry e;
	} m = {.nmsrs = 1, .e = {.index = want->index}};

	return kvm_call(v->fd, KVM_GET_MSRS, (struct kvm_msrs *)&m) == 1 && m.e.data == want->data;
}

static int set_msrs(const struct vcpu *v, struct msrs *m, struct err *e)
{
	while (m->nmsrs) {
		int done = kvm_call(v->fd, KVM_SET_MSRS, (struct kvm_msrs *)m);

		if (done < 0)
			return err_sys(
			    e, done, "KVM refuses a virtual CPU's saved model-specific registers");
		if ((unsigned)done >= m->nmsrs)
			return 0;
		if (!has_value(v, &m->e[done]))
			return err_set(
			    e, -EINVAL,
			    "KVM refuses a virtual CPU's saved state: register %#x cannot be "
			    "%#llx on this host",
			    m->e[done].index, (unsigned long long)m->e[done].data);
		m->nmsrs -= (unsigned)done + 1;
		memmove(m->e, m->e + done + 1, m->nmsrs * sizeof(m->e[0]));
	}
	return 0;
}

static int load_msrs(const struct vcpu *v, struct snap_rd *r, struct err *e)
{
	auto_free struct msrs *m = calloc(1, sizeof(*m));
	const uint8_t *p;
	size_t len;
	int rc = m ? snap_get(r, TAG_MSRS, VERSION, 0, &p, &len) : -ENOMEM;

	if (rc == 0 && (len % sizeof(struct msr_wire) || len / sizeof(struct msr_wire) > MSRS_MAX))
		rc = -EPROTO;
	if (rc < 0)
		return err_sys(e, rc, "a virtual CPU's saved registers");
	for (; len; p += sizeof(struct msr_wire), len -= sizeof(struct msr_wire)) {
		struct msr_wire w;

		memcpy(&w, p, sizeof(w));
		m->e[m->nmsrs++] =
		    (struct kvm_msr_entry){.index = le32_get(w.index), .data = le64_get(w.data)};
	}
	return set_msrs(v, m, e);
}

/* ---- the rate of the time stamp counter ------------------------------------------------------------ */

static int save_tsc(const struct vcpu *v, struct buf *to, struct err *e)
{
	int khz = kvm_call_int(v->fd, KVM_GET_TSC_KHZ, 0);
	le64_t w = le64_of((uint64_t)MAX(khz, 0));

	/* A host whose rate is not known tells none. */
	return put(to, TAG_TSC, &w, sizeof(w), 0, "clock rate", e);
}

static int load_tsc(const struct vcpu *v, struct snap_rd *r, struct err *e)
{
	int here = kvm_call_int(v->fd, KVM_GET_TSC_KHZ, 0), rc;
	uint64_t was, off;
	le64_t w;

	rc = take(r, TAG_TSC, &w, sizeof(w), e);
	if (rc < 0)
		return rc;
	was = le64_get(w);
	if (!was || here <= 0)
		return 0;
	off = was > (uint64_t)here ? was - (uint64_t)here : (uint64_t)here - was;
	if (was <= UINT32_MAX && off * 1000000 / (uint64_t)here <= TSC_PPM)
		return 0;
	rc = was > UINT32_MAX ? -ERANGE : kvm_call_int(v->fd, KVM_SET_TSC_KHZ, was);
	return rc < 0
		   ? err_set(
			 e, rc,
			 "the saved machine counts time at %llu kHz, this host at %d, and cannot "
			 "scale",
			 (unsigned long long)was, here)
		   : 0;
}

/* ---- all together ---------------------------------------------------------------------------------- */

/* In the order of reading, and of writing. */
static const struct part parts[] = {
    {TAG_MP, "multiprocessor state", KVM_GET_MP_STATE, KVM_SET_MP_STATE, NULL, NULL},
    {TAG_REGS, "registers", KVM_GET_REGS, KVM_SET_REGS, NULL, NULL},
    {TAG_SREGS, "system registers", KVM_GET_SREGS, KVM_SET_SREGS, NULL, NULL},
    {.tag = TAG_XSAVE, .save = save_xsave, .load = load_xsave},
    {TAG_XCRS, "extended control registers", KVM_GET_XCRS, KVM_SET_XCRS, NULL, load_xcrs},
    {TAG_DEBUG, "debug registers", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, NULL, NULL},
    {TAG_LAPIC, "local APIC", KVM_GET_LAPIC, KVM_SET_LAPIC, NULL, NULL},
    {.tag = TAG_TSC, .save = save_tsc, .load = load_tsc},
    {.tag = TAG_MSRS, .save = save_msrs, .load = load_msrs},
    {TAG_EVENTS, "events", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, NULL, NULL},
};
_Static_assert(sizeof(struct kvm_sregs) <= PLAIN_MAX && sizeof(struct kvm_xcrs) <= PLAIN_MAX &&
		   sizeof(struct kvm_regs) <= PLAIN_MAX &&
		   sizeof(struct kvm_debugregs) <= PLAIN_MAX &&
		   sizeof(struct kvm_vcpu_events) <= PLAIN_MAX,
	       "room for each");

int vcpu_save(const struct vcpu *v, struct buf *to, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(parts); i++)
		rc = parts[i].save ? parts[i].save(v, to, e) : save_plain(v, &parts[i], to, e);
	return rc;
}

int vcpu_load(const struct vcpu *v, struct snap_rd *r, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(parts); i++)
		rc = parts[i].load ? parts[i].load(v, r, e) : load_plain(v, &parts[i], r, e);
	if (rc < 0)
		return rc;
	/* Its watchdogs are told that it stood still; a guest without kvmclock cannot be. */
	(void)kvm_call_int(v->fd, KVM_KVMCLOCK_CTRL, 0);
	return 0;
}
