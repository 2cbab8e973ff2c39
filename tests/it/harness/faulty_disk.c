/*
 * A disk that fails, for a process that loads this before the C library (LD_PRELOAD).
 *
 * The file that TOLLGATE_TEST_FAULT names has a line `OPERATION ERROR PART`: calls of the operation (`write`, `fsync`,
 * `read` or `rename`) on files whose path contains PART, or ends with it if it ends with `$`, fail with that error number.
 * An error of 0 makes them hang until the line changes. Without the file, nothing fails. It is read at every call, so that
 * a fault begins and ends between two calls.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Whether a path contains the part, or ends with it. */
static int matches(const char *path, char *part)
{
    size_t length = strlen(part);
    if (part[length - 1] != '$')
        return strstr(path, part) != NULL;
    part[--length] = 0;
    return strlen(path) >= length && strcmp(path + strlen(path) - length, part) == 0;
}

/* The error number of a fault, 0 for one that hangs, -1 for none. The file is an open one, or that at `at`. */
static int find(const char *operation, int fd, const char *at)
{
    const char *file = getenv("TOLLGATE_TEST_FAULT");
    char line[512], name[32], part[256], link[64], path[4096];
    int error;
    if (file == NULL)
        return -1;
    int control = syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC);
    if (control < 0)
        return -1;
    long length = syscall(SYS_read, control, line, sizeof line - 1);
    syscall(SYS_close, control);
    if (length <= 0)
        return -1;
    line[length] = 0;
    if (sscanf(line, "%31s %d %255s", name, &error, part) != 3 || strcmp(name, operation) != 0)
        return -1;
    if (at != NULL)
        return matches(at, part) ? error : -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return -1;
    path[length] = 0;
    return matches(path, part) ? error : -1;
}

/* Whether a call fails; then `errno` is set. */
static int fails_at(const char *operation, int fd, const char *at)
{
    int saved = errno, error;
    while ((error = find(operation, fd, at)) == 0) {
        struct timespec pause = { 0, 2000000 };
        nanosleep(&pause, NULL);
    }
    errno = error > 0 ? error : saved;
    return error > 0;
}

static int fails(const char *operation, int fd)
{
    return fails_at(operation, fd, NULL);
}

int rename(const char *from, const char *to)
{
    return fails_at("rename", -1, to) ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    return fails("write", fd) ? -1 : syscall(SYS_write, fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    return fails("write", fd) ? -1 : syscall(SYS_writev, fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at)
{
    return fails("write", fd) ? -1 : syscall(SYS_pwrite64, fd, bytes, length, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at)
{
    return pwrite64(fd, bytes, length, at);
}

int ftruncate64(int fd, off64_t length)
{
    return fails("write", fd) ? -1 : syscall(SYS_ftruncate, fd, length);
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

int fsync(int fd)
{
    return fails("fsync", fd) ? -1 : syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return fails("fsync", fd) ? -1 : syscall(SYS_fdatasync, fd);
}

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at)
{
    return fails("read", fd) ? -1 : syscall(SYS_pread64, fd, bytes, length, at);
}

ssize_t pread(int fd, void *bytes, size_t length, off_t at)
{
    return pread64(fd, bytes, length, at);
}
