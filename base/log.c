/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static struct log_config cfg = {.program = "husk", .file_fd = -1, .stderr_level = LOG_LVL_WARN};

static const char *const level_name[] = {"error", "warning", "info", "debug"};
_Static_assert(ARRAY_LEN(level_name) == LOG_LVL_DEBUG + 1, "a name for every level");

void log_setup(const struct log_config *c)
{
	cfg = *c;
}

const struct log_config *log_current(void)
{
	return &cfg;
}

/*
 * Length of the UTF-8 sequence at @s, 0 when it is none (RFC 3629: no overlong forms, no
 * surrogates, nothing above U+10FFFF).
 */
static unsigned utf8_len(const unsigned char *s)
{
	unsigned len = 0;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf)
		len = 2;
	else if (s[0] >= 0xe0 && s[0] <= 0xef)
		len = 3;
	else if (s[0] >= 0xf0 && s[0] <= 0xf4)
		len = 4;
	for (unsigned i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80) /* the terminating NUL ends here too */
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/*
 * Writes @s in a form that neither breaks a line nor steers a terminal, and is UTF-8: control
 * characters as \uXXXX, other bytes as U+FFFD. With @quoted it is the inside of a JSON string.
 */
static void escape(char *out, size_t cap, const char *str, bool quoted)
{
	const unsigned char *s = (const unsigned char *)str;
	size_t n = 0;

	while (*s && n + 7 < cap) {
		unsigned len = utf8_len(s);

		if (len == 0) {
			memcpy(out + n, "\xef\xbf\xbd", 3);
			n += 3;
			s++;
		} else if (*s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0)) {
			n += (size_t)snprintf(out + n, cap - n, "\\u%04x", len == 2 ? s[1] : *s);
			s += len;
		} else {
			if (quoted && (*s == '"' || *s == '\\'))
				out[n++] = '\\';
			memcpy(out + n, s, len);
			n += len;
			s += len;
		}
	}
	out[n] = '\0';
}

static void put(int fd, const char *line, int len)
{
	/* A log that cannot be written has nobody left to tell. */
	if (len > 0 && write(fd, line, (size_t)len) < 0)
		return;
}

static void emit(enum log_level lvl, const char *msg)
{
	char esc[3072], line[4096], when[CLOCK_TEXT];
	int n;

	if (cfg.file_fd >= 0 && lvl <= cfg.level) {
		escape(esc, sizeof(esc), msg, true);
		clock_rfc3339(when, sizeof(when), 6);
		if (cfg.json)
			n = snprintf(line, sizeof(line),
				     "{\"level\":\"%s\",\"msg\":\"%s\",\"time\":\"%s\"}\n",
				     level_name[lvl], esc, when);
		else
			n = snprintf(line, sizeof(line), "time=\"%s\" level=%s msg=\"%s\"\n", when,
				     level_name[lvl], esc);
		put(cfg.file_fd, line, n);
	}
	if (cfg.stderr_level >= 0 && lvl <= (enum log_level)cfg.stderr_level) {
		escape(esc, sizeof(esc), msg, false);
		n = snprintf(line, sizeof(line), "%s: %s%s%s\n", cfg.program,
			     lvl == LOG_LVL_ERROR ? "" : level_name[lvl],
			     lvl == LOG_LVL_ERROR ? "" : ": ", esc);
		if (n > (int)sizeof(line) - 1)
			n = (int)sizeof(line) - 1;
		put(STDERR_FILENO, line, n);
	}
}

void log_line(enum log_level lvl, const char *fmt, ...)
{
	char msg[2048];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	emit(lvl, msg);
}

void log_limited(struct log_limit *lim, enum log_level lvl, const char *fmt, ...)
{
	uint64_t now = clock_ns();
	uint64_t back = (now - lim->last_ns) / LOG_LIMIT_REFILL_NS;
	char msg[2048];
	va_list ap;
	size_t n;

	if (back) {
		lim->used = back >= lim->used ? 0 : lim->used - (unsigned)back;
		lim->last_ns = now;
	}
	if (lim->used >= LOG_LIMIT_BURST) {
		lim->dropped++;
		return;
	}
	lim->used++;
	va_start(ap, fmt);
	(void)vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (lim->dropped) {
		n = strlen(msg);
		(void)snprintf(msg + n, sizeof(msg) - n, " (%u more suppressed)", lim->dropped);
		lim->dropped = 0;
	}
	emit(lvl, msg);
}
