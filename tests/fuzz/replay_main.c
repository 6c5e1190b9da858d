/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target on files and on the files of directories, without a fuzzer: for regressions,
 * and for a crash under a debugger. Hidden files are left out; no input at all is a failure.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static int replay(int dirfd, const char *name)
{
	auto_free char *buf = NULL;
	auto_free uint8_t *exact = NULL;
	size_t len;
	int rc = fd_read_file(dirfd, name, 0, &buf, &len);

	if (rc < 0) {
		(void)fprintf(stderr, "%s: %s\n", name, strerror(-rc));
		return -1;
	}
	/* Without the terminating NUL, so that a read one too far is seen. */
	exact = malloc(len ? len : 1);
	if (!exact)
		return -1;
	memcpy(exact, buf, len);
	(void)fprintf(stderr, "%s\n", name);
	(void)LLVMFuzzerTestOneInput(exact, len);
	return 1;
}

static int replay_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	int cnt = 0;

	if (!d) {
		(void)fprintf(stderr, "%s: cannot be opened\n", path);
		return -1;
	}
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		if (replay(dirfd(d), e->d_name) < 0) {
			(void)closedir(d);
			return -1;
		}
		cnt++;
	}
	(void)closedir(d);
	return cnt;
}

int main(int argc, char **argv)
{
	int cnt = 0;

	for (int i = 1; i < argc; i++) {
		struct stat st;
		int n;

		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			n = replay_dir(argv[i]);
		else
			n = replay(AT_FDCWD, argv[i]);
		if (n < 0)
			return 1;
		cnt += n;
	}
	(void)printf("%d inputs\n", cnt);
	return cnt ? 0 : 1;
}
