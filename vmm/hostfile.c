/* SPDX-License-Identifier: Apache-2.0 */
/* See hostfile.h. */
#include "vmm/hostfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/fd.h"

#define FILE_MAX 65536u

bool host_line(const char *path, char *buf, size_t len)
{
	auto_free char *text = NULL;

	buf[0] = '\0';
	if (fd_read_file(AT_FDCWD, path, FILE_MAX, &text, NULL))
		return false;
	text[strcspn(text, "\n")] = '\0';
	(void)snprintf(buf, len, "%.*s", (int)len - 1, text);
	return true;
}

void host_chosen(char *s)
{
	char *open = strchr(s, '['), *close = open ? strchr(open, ']') : NULL;

	if (close) {
		*close = '\0';
		memmove(s, open + 1, strlen(open + 1) + 1);
	}
}

/* "key\t: value", up to the line's end. */
static char *cpu_line(const char *key, char **ret_text)
{
	char find[64], *at;

	if (fd_read_file(AT_FDCWD, "/proc/cpuinfo", 16 * FILE_MAX, ret_text, NULL))
		return NULL;
	(void)snprintf(find, sizeof(find), "\n%s", key);
	at = strstr(*ret_text, find);
	at = at ? strchr(at, ':') : NULL;
	if (!at)
		return NULL;
	at += 1 + (at[1] == ' ');
	at[strcspn(at, "\n")] = '\0';
	return at;
}

bool host_cpu_flag(const char *flag)
{
	auto_free char *text = NULL;
	const char *line = cpu_line("flags", &text);
	size_t n = strlen(flag);

	for (const char *p = line; p && (p = strstr(p, flag)); p++)
		if ((p == line || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

bool host_cpu_line(const char *key, char *buf, size_t len)
{
	auto_free char *text = NULL;
	const char *line = cpu_line(key, &text);

	(void)snprintf(buf, len, "%s", line ? line : "");
	return line != NULL;
}
