/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See netown.h. The program is put together by hand, since a compiler for BPF would be one more tool;
 * linux/bpf.h has the fields of an instruction, bpf-helpers(7) the functions.
 */
#include "runtime/netown.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROG_MAX 160u
#define NEXT	 INT16_MAX /* a jump to the end: not ours */

/* On the stack, from the frame pointer on. */
#define HDR	(-40) /* the IP header */
#define TUPLE	(-80) /* struct bpf_sock_tuple */
#define V4_LEN	12    /* of it */
#define V6_LEN	36
#define V4_DST	(TUPLE + 4)
#define V6_DST	(TUPLE + 16)

#define SKB(f)	((int)offsetof(struct __sk_buff, f))
#define SOCK(f) ((int)offsetof(struct bpf_sock, f))

enum reg { R0, R1, R2, R3, R4, R5, PKT, PROTO, LEN, PORTS, FP };

struct prog {
	struct bpf_insn insn[PROG_MAX];
	uint32_t len;
};

static void emit(struct prog *p, int code, enum reg dst, enum reg src, int off, int32_t imm)
{
	BUG_ON(p->len == PROG_MAX);
	p->insn[p->len++] = (struct bpf_insn){.code = (uint8_t)code,
					      .dst_reg = (uint8_t)dst & 0xf,
					      .src_reg = (uint8_t)src & 0xf,
					      .off = (int16_t)off,
					      .imm = imm};
}

static void set(struct prog *p, enum reg r, int32_t v)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_K, r, R0, 0, v);
}

static void copy(struct prog *p, enum reg to, enum reg from)
{
	emit(p, BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0);
}

static void alu(struct prog *p, int op, enum reg r, int32_t v)
{
	emit(p, BPF_ALU64 | op | BPF_K, r, R0, 0, v);
}

static void load(struct prog *p, int size, enum reg to, enum reg from, int off)
{
	emit(p, BPF_LDX | BPF_MEM | size, to, from, off, 0);
}

static void store(struct prog *p, int size, int off, enum reg from)
{
	emit(p, BPF_STX | BPF_MEM | size, FP, from, off, 0);
}

static void store_imm(struct prog *p, int size, int off, int32_t v)
{
	emit(p, BPF_ST | BPF_MEM | size, FP, R0, off, v);
}

/* Where it leads is said later, by land(), unless it is NEXT. */
static uint32_t jump(struct prog *p, int op, enum reg r, int32_t v, int16_t to)
{
	emit(p, BPF_JMP | op | BPF_K, r, R0, to, v);
	return p->len - 1;
}

static void land(struct prog *p, uint32_t from)
{
	p->insn[from].off = (int16_t)(p->len - from - 1);
}

static void call(struct prog *p, int32_t helper)
{
	emit(p, BPF_JMP | BPF_CALL, R0, R0, 0, helper);
}

/* @len bytes of the packet from where R2 says, to the stack. */
static void fetch(struct prog *p, int32_t len, int to)
{
	copy(p, R1, PKT);
	copy(p, R3, FP);
	alu(p, BPF_ADD, R3, to);
	set(p, R4, len);
	call(p, BPF_FUNC_skb_load_bytes);
	(void)jump(p, BPF_JNE, R0, 0, NEXT);
}

/* Fragments but the first have no ports, and are the guest's. */
static void read_v4(struct prog *p)
{
	set(p, R2, ETH_HLEN);
	fetch(p, 20, HDR);
	load(p, BPF_H, R1, FP, HDR + 6);
	alu(p, BPF_AND, R1, htons(0x1fff));
	(void)jump(p, BPF_JNE, R1, 0, NEXT);
	load(p, BPF_B, PROTO, FP, HDR + 9);
	load(p, BPF_B, PORTS, FP, HDR);
	alu(p, BPF_AND, PORTS, 0xf);
	alu(p, BPF_LSH, PORTS, 2);
	alu(p, BPF_ADD, PORTS, ETH_HLEN);
	load(p, BPF_W, R1, FP, HDR + 12); /* source, then destination */
	store(p, BPF_W, TUPLE, R1);
	load(p, BPF_W, R1, FP, HDR + 16);
	store(p, BPF_W, V4_DST, R1);
	copy(p, R2, PORTS);
	fetch(p, 4, TUPLE + 8);
	set(p, LEN, V4_LEN);
}

/* Without extension headers, as answers of name servers are. */
static void read_v6(struct prog *p)
{
	set(p, R2, ETH_HLEN);
	fetch(p, 40, HDR);
	load(p, BPF_B, PROTO, FP, HDR + 6);
	for (int i = 0; i < 32; i += 4) {
		load(p, BPF_W, R1, FP, HDR + 8 + i);
		store(p, BPF_W, TUPLE + i, R1);
	}
	set(p, R2, ETH_HLEN + 40);
	fetch(p, 4, TUPLE + 32);
	set(p, LEN, V6_LEN);
}

/* R0: the socket that the tuple belongs to, or none. */
static void look_up(struct prog *p, int32_t helper)
{
	copy(p, R1, PKT);
	copy(p, R2, FP);
	alu(p, BPF_ADD, R2, TUPLE);
	copy(p, R3, LEN);
	set(p, R4, BPF_F_CURRENT_NETNS);
	set(p, R5, 0);
	call(p, helper);
}

static void look_up_own(struct prog *p)
{
	uint32_t tcp, over;

	tcp = jump(p, BPF_JEQ, PROTO, IPPROTO_TCP, 0);
	(void)jump(p, BPF_JNE, PROTO, IPPROTO_UDP, NEXT);
	look_up(p, BPF_FUNC_sk_lookup_udp);
	over = jump(p, BPF_JA, R0, 0, 0);
	land(p, tcp);
	look_up(p, BPF_FUNC_sk_lookup_tcp);
	land(p, over);
}

/* The destination becomes the sandbox's socket, if the packet came to lo at an address of everybody's. */
static void aim_at_ours(struct prog *p)
{
	uint32_t v6, ours, over;

	load(p, BPF_W, R1, PKT, SKB(ifindex));
	(void)jump(p, BPF_JNE, R1, NETOWN_LO, NEXT);
	(void)jump(p, BPF_JNE, PROTO, IPPROTO_TCP, NEXT);
	v6 = jump(p, BPF_JEQ, LEN, V6_LEN, 0);
	load(p, BPF_W, R1, FP, V4_DST);
	ours = jump(p, BPF_JEQ, R1, (int32_t)htonl(INADDR_LOOPBACK), 0);
	alu(p, BPF_AND, R1, (int32_t)htonl(0xff000000));
	(void)jump(p, BPF_JEQ, R1, (int32_t)htonl(0x7f000000), NEXT);
	land(p, ours);
	store_imm(p, BPF_W, V4_DST, (int32_t)htonl(NETOWN_ADDR));
	store_imm(p, BPF_H, TUPLE + 10, htons(NETOWN_PORT));
	over = jump(p, BPF_JA, R0, 0, 0);
	land(p, v6);
	for (int i = 0; i < 12; i += 4)
		store_imm(p, BPF_W, V6_DST + i, 0);
	store_imm(p, BPF_W, V6_DST + 12, (int32_t)htonl(1));
	store_imm(p, BPF_H, TUPLE + 34, htons(NETOWN_PORT));
	land(p, over);
}

/* Nobody's: to the sandbox's socket, if it is there. The packet itself stays as it is. */
static void hand_over(struct prog *p)
{
	aim_at_ours(p);
	look_up(p, BPF_FUNC_sk_lookup_tcp);
	(void)jump(p, BPF_JEQ, R0, 0, NEXT);
	copy(p, PORTS, R0);
	copy(p, R1, PKT);
	copy(p, R2, PORTS);
	set(p, R3, 0);
	call(p, BPF_FUNC_sk_assign);
	copy(p, R1, PORTS);
	call(p, BPF_FUNC_sk_release);
	(void)jump(p, BPF_JA, R0, 0, NEXT);
}

static void make(struct prog *p)
{
	uint32_t v4, is_read, found;

	copy(p, PKT, R1);
	load(p, BPF_W, R1, PKT, SKB(protocol));
	v4 = jump(p, BPF_JEQ, R1, htons(ETH_P_IP), 0);
	(void)jump(p, BPF_JNE, R1, htons(ETH_P_IPV6), NEXT);
	read_v6(p);
	is_read = jump(p, BPF_JA, R0, 0, 0);
	land(p, v4);
	read_v4(p);
	land(p, is_read);
	look_up_own(p);
	found = jump(p, BPF_JNE, R0, 0, 0);
	hand_over(p);
	land(p, found);
	load(p, BPF_H, PORTS, R0, SOCK(dst_port)); /* 0: it is not connected */
	copy(p, R1, R0);
	call(p, BPF_FUNC_sk_release);
	(void)jump(p, BPF_JEQ, PORTS, 0, NEXT);
	set(p, R0, TC_ACT_OK);
	emit(p, BPF_JMP | BPF_EXIT, R0, R0, 0, 0);
	for (uint32_t i = 0; i < p->len; i++)
		if (BPF_CLASS(p->insn[i].code) == BPF_JMP && p->insn[i].off == NEXT)
			land(p, i);
	set(p, R0, TC_ACT_UNSPEC);
	emit(p, BPF_JMP | BPF_EXIT, R0, R0, 0, 0);
}

int netown_load(void)
{
	static const char license[] = "Apache-2.0";
	struct prog p = {.len = 0};
	union bpf_attr a = {.prog_type = BPF_PROG_TYPE_SCHED_CLS};
	int fd;

	make(&p);
	a.insns = (uintptr_t)p.insn;
	a.insn_cnt = p.len;
	a.license = (uintptr_t)license;
	fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &a, sizeof(a));
	return fd < 0 ? -errno : fd; /* the kernel sets close-on-exec */
}
