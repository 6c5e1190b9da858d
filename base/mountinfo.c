/* SPDX-License-Identifier: Apache-2.0 */
/* See mountinfo.h. */
#include "base/mountinfo.h"

#include <string.h>

/* Words are never empty, and end with the line. */
static bool next_word(const char **p, const char **w, size_t *n)
{
	*p += strspn(*p, " ");
	*w = *p;
	*n = strcspn(*p, " \n");
	*p += *n;
	return *n > 0;
}

static bool is_octal(const char *p)
{
	return p[0] >= '0' && p[0] <= '3' && p[1] >= '0' && p[1] <= '7' && p[2] >= '0' &&
	       p[2] <= '7';
}

/* A blank is \040. */
static bool copy_unescaped(char *buf, size_t cap, const char *w, size_t n)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		char c = w[i];

		if (c == '\\' && i + 3 < n && is_octal(w + i + 1)) {
			c = (char)((w[i + 1] - '0') << 6 | (w[i + 2] - '0') << 3 |
				   (w[i + 3] - '0'));
			i += 3;
		}
		if (used + 1 >= cap)
			return false;
		buf[used++] = c;
	}
	buf[used] = '\0';
	return true;
}

/* "36 35 98:0 /root /point opts tags - type source superopts" */
static bool parse_line(const char *p, struct mountinfo *m)
{
	const char *w = NULL, *root = NULL;
	size_t n = 0, root_len = 0;

	for (int i = 0; i < 5; i++) {
		if (!next_word(&p, &w, &n))
			return false;
		if (i == 3) {
			root = w;
			root_len = n;
		}
	}
	if (!copy_unescaped(m->root, sizeof(m->root), root, root_len) ||
	    !copy_unescaped(m->point, sizeof(m->point), w, n))
		return false;
	do {
		if (!next_word(&p, &w, &n))
			return false;
	} while (n != 1 || *w != '-');
	if (!next_word(&p, &w, &n) || !copy_unescaped(m->type, sizeof(m->type), w, n))
		return false;
	if (!next_word(&p, &w, &n)) /* the source */
		return false;
	(void)next_word(&p, &m->super, &m->super_len);
	return true;
}

bool mountinfo_next(const char **text, struct mountinfo *ret)
{
	while (**text) {
		const char *line = *text;

		*text += strcspn(*text, "\n");
		*text += **text == '\n';
		if (parse_line(line, ret))
			return true;
	}
	return false;
}
