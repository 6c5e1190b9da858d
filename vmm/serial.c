/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 16550A. See serial.h; registers: National Semiconductor PC16550D data sheet, section 8.
 */
#include "vmm/serial.h"

#include <errno.h>
#include <linux/serial_reg.h>
#include <string.h>

#define IER_RW	  0x0fu
#define MCR_RW	  0x1fu
#define MSR_READY (UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS)

void serial_init(struct serial *s, const struct serial_ops *ops, void *ctx)
{
	memset(s, 0, sizeof(*s));
	(void)pthread_mutex_init(&s->lock, NULL);
	s->ops = ops;
	s->ctx = ctx;
	s->dll = 12; /* 9600 baud, as after reset; nothing here depends on it */
}

void serial_fini(struct serial *s)
{
	(void)pthread_mutex_destroy(&s->lock);
}

/* The cause with the highest priority, as IIR has it. */
static uint8_t cause(const struct serial *s)
{
	if ((s->ier & UART_IER_RDI) && s->rx_cnt)
		return UART_IIR_RDI;
	if ((s->ier & UART_IER_THRI) && s->thre_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

/* An edge when the output rises. OUT2 gates it on a PC, and Linux sets it. */
static void update(struct serial *s)
{
	bool line = cause(s) != UART_IIR_NO_INT;

	if (line && !s->line)
		s->ops->irq(s->ctx);
	s->line = line;
}

static unsigned rx_room(const struct serial *s)
{
	bool listens = s->fifo_on && (s->ier & UART_IER_RDI);

	return listens || (s->mcr & UART_MCR_LOOP) ? SERIAL_FIFO - s->rx_cnt : 0;
}

static void rx_put(struct serial *s, uint8_t c)
{
	s->rx[(s->rx_head + s->rx_cnt) % SERIAL_FIFO] = c;
	s->rx_cnt++;
}

size_t serial_input(struct serial *s, const void *buf, size_t len)
{
	const uint8_t *p = buf;
	size_t n = 0;

	(void)pthread_mutex_lock(&s->lock);
	while (n < len && rx_room(s))
		rx_put(s, p[n++]);
	if (n < len)
		s->was_full = true;
	update(s);
	(void)pthread_mutex_unlock(&s->lock);
	return n;
}

static uint8_t rx_get(struct serial *s)
{
	uint8_t c;

	if (!s->rx_cnt)
		return 0;
	c = s->rx[s->rx_head];
	s->rx_head = (s->rx_head + 1) % SERIAL_FIFO;
	s->rx_cnt--;
	return c;
}

static uint8_t reg_read(struct serial *s, unsigned reg)
{
	uint8_t v;

	switch (reg) {
	case UART_RX:
		return s->lcr & UART_LCR_DLAB ? s->dll : rx_get(s);
	case UART_IER:
		return s->lcr & UART_LCR_DLAB ? s->dlm : s->ier;
	case UART_IIR:
		v = cause(s);
		if (v == UART_IIR_THRI)
			s->thre_pending = false;
		return v | (s->fifo_on ? 0xc0 : 0);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return UART_LSR_THRE | UART_LSR_TEMT | (s->rx_cnt ? UART_LSR_DR : 0);
	case UART_MSR:
		if (!(s->mcr & UART_MCR_LOOP))
			return MSR_READY;
		/* Looped back: the outputs appear as inputs. Drivers test for a UART this way. */
		return (s->mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
		       (s->mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
		       (s->mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
		       (s->mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
	default: /* UART_SCR */
		return s->scr;
	}
}

static void tx(struct serial *s, uint8_t c)
{
	if (s->mcr & UART_MCR_LOOP) {
		if (rx_room(s))
			rx_put(s, c);
	} else {
		s->ops->output(s->ctx, &c, 1);
	}
	s->thre_pending = true;
	/* The register was full for no time at all: each byte is a new edge. */
	if (cause(s) == UART_IIR_THRI)
		s->line = false;
}

static void reg_write(struct serial *s, unsigned reg, uint8_t v)
{
	switch (reg) {
	case UART_TX:
		if (s->lcr & UART_LCR_DLAB)
			s->dll = v;
		else
			tx(s, v);
		break;
	case UART_IER:
		if (s->lcr & UART_LCR_DLAB) {
			s->dlm = v;
			break;
		}
		/* Enabling the interrupt while the transmitter is empty raises it. */
		if ((v & UART_IER_THRI) && !(s->ier & UART_IER_THRI))
			s->thre_pending = true;
		s->ier = v & IER_RW;
		break;
	case UART_FCR:
		/* A real one empties itself when the mode changes, too, and loses what was typed
		 * early. */
		if (v & UART_FCR_CLEAR_RCVR)
			s->rx_cnt = 0;
		s->fifo_on = v & UART_FCR_ENABLE_FIFO;
		break;
	case UART_LCR:
		s->lcr = v;
		break;
	case UART_MCR:
		s->mcr = v & MCR_RW;
		break;
	case UART_SCR:
		s->scr = v;
		break;
	default: /* LSR and MSR are read-only */
		break;
	}
}

static bool take_room(struct serial *s)
{
	bool tell = s->was_full && rx_room(s);

	if (tell)
		s->was_full = false;
	return tell && s->ops->room;
}

void serial_read(struct serial *s, uint64_t off, void *buf, unsigned len)
{
	bool tell;

	memset(buf, 0, len);
	(void)pthread_mutex_lock(&s->lock);
	*(uint8_t *)buf = reg_read(s, off & 7);
	update(s);
	tell = take_room(s);
	(void)pthread_mutex_unlock(&s->lock);
	if (tell)
		s->ops->room(s->ctx);
}

void serial_write(struct serial *s, uint64_t off, const void *buf, unsigned len)
{
	bool tell;

	(void)len;
	(void)pthread_mutex_lock(&s->lock);
	reg_write(s, off & 7, *(const uint8_t *)buf);
	update(s);
	tell = take_room(s);
	(void)pthread_mutex_unlock(&s->lock);
	if (tell)
		s->ops->room(s->ctx);
}

/* ---- snapshots ----------------------------------------------------------------------------------- */

#define TAG_SERIAL     SNAP_TAG('S', 'E', 'R', 'L')
#define SERIAL_VERSION 1u

struct serial_wire {
	uint8_t ier, lcr, mcr, scr, dll, dlm;
	uint8_t fifo_on, thre_pending, line, rx_cnt;
	uint8_t rx[SERIAL_FIFO]; /* rx_cnt of them, the oldest first */
};
_Static_assert(sizeof(struct serial_wire) == 10 + SERIAL_FIFO, "no padding");

int serial_save(struct serial *s, struct buf *to)
{
	struct serial_wire w = {0};

	(void)pthread_mutex_lock(&s->lock);
	w.ier = s->ier;
	w.lcr = s->lcr;
	w.mcr = s->mcr;
	w.scr = s->scr;
	w.dll = s->dll;
	w.dlm = s->dlm;
	w.fifo_on = s->fifo_on;
	w.thre_pending = s->thre_pending;
	w.line = s->line;
	w.rx_cnt = (uint8_t)s->rx_cnt;
	for (unsigned i = 0; i < s->rx_cnt; i++)
		w.rx[i] = s->rx[(s->rx_head + i) % SERIAL_FIFO];
	(void)pthread_mutex_unlock(&s->lock);
	return snap_put(to, TAG_SERIAL, SERIAL_VERSION, &w, sizeof(w));
}

int serial_load(struct serial *s, struct snap_rd *r)
{
	struct serial_wire w;
	const uint8_t *p;
	size_t len;
	int rc = snap_get(r, TAG_SERIAL, SERIAL_VERSION, sizeof(w), &p, &len);

	if (rc < 0)
		return rc;
	memcpy(&w, p, sizeof(w));
	if (len != sizeof(w) || (w.ier & ~IER_RW) || (w.mcr & ~MCR_RW) || w.rx_cnt > SERIAL_FIFO ||
	    w.fifo_on > 1 || w.thre_pending > 1 || w.line > 1)
		return -EPROTO;
	(void)pthread_mutex_lock(&s->lock);
	s->ier = w.ier;
	s->lcr = w.lcr;
	s->mcr = w.mcr;
	s->scr = w.scr;
	s->dll = w.dll;
	s->dlm = w.dlm;
	s->fifo_on = w.fifo_on;
	s->thre_pending = w.thre_pending;
	s->line = w.line;
	s->rx_head = 0;
	s->rx_cnt = w.rx_cnt;
	memcpy(s->rx, w.rx, sizeof(s->rx));
	(void)pthread_mutex_unlock(&s->lock);
	return 0;
}
