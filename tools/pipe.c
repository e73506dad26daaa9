/* SPDX-License-Identifier: MIT */
/*
 * pipe.c - standard input and output as the storage of an image: read, or
 * written, from the beginning to the end, once (BDRV_O_FORWARD).
 *
 *     ├── head: in memory ──┼── gone ──┼── not yet ──…
 *     0                  64 KiB     position
 *
 * The first 64 KiB are kept, so that a format can look at its header again;
 * when writing, they may be changed until something behind them is written.
 * What is left out in between is skipped, or written as zeros.
 *
 * The other side may keep us waiting for ever, so whether the user wants to stop
 * has to be seen meanwhile.  A signal does not end the wait, as it may come to
 * another thread, or just before: we wait in poll(2), for a short time, and then call
 * for no more than is done at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tool.h"

enum {
    HEAD_BYTES = 64 * 1024,
    LOOK_EVERY = 100 /* milliseconds: so long the user waits at most, to stop us */
};

struct Pipe {
    int fd;
    int never_waits; /* a file is there */
    uint8_t head[HEAD_BYTES];
    int64_t position; /* as many bytes have gone through */
    int64_t length;   /* writing: of the whole */
    int ended;        /* reading: there is no more */
};

static const uint8_t zeros[HEAD_BYTES];

/* ------------------------------------------------------------------ waiting */

static void look_what_it_is(Pipe *pipe)
{
    struct stat status;

    pipe->never_waits = fstat(pipe->fd, &status) == 0 && S_ISREG(status.st_mode);
}

/* Until some bytes can be read, or written (POLLIN, POLLOUT), or there is an error.
 * -EINTR: the user wants to stop. */
static int wait_for(const Pipe *pipe, short what)
{
    struct pollfd other_side = {.fd = pipe->fd, .events = what};
    int result = pipe->never_waits;

    while (result == 0 || (result < 0 && errno == EINTR)) {
        if (interrupt_signal() != 0) {
            return -EINTR;
        }
        result = poll(&other_side, 1, LOOK_EVERY);
    }
    return result < 0 ? -errno : 0;
}

/* How many bytes can be written at once where some can: an empty pipe takes as many as
 * it holds, and what POSIX promises of any is PIPE_BUF. */
static int64_t room_in(const Pipe *pipe)
{
    int64_t room = pipe->never_waits ? INT_MAX : PIPE_BUF;
#if defined(F_GETPIPE_SZ) && defined(FIONREAD)
    int used, holds = fcntl(pipe->fd, F_GETPIPE_SZ);

    if (holds > room && ioctl(pipe->fd, FIONREAD, &used) == 0 && used == 0) {
        room = holds;
    }
#endif
    return room;
}

/* ------------------------------------------------------------------ reading */

static int64_t length_unknown(void *opaque)
{
    (void)opaque;
    return INT64_MAX - INT64_MAX % BDRV_SECTOR_SIZE;
}

/* Up to bytes of them, less only at the end.  Their number or -errno. */
static int64_t take(Pipe *pipe, void *buf, int64_t bytes)
{
    int64_t done = 0;
    int result;

    while (done < bytes && !pipe->ended) {
        ssize_t n;

        result = wait_for(pipe, POLLIN);
        if (result < 0) {
            return result;
        }
        n = read(pipe->fd, (uint8_t *)buf + done, (size_t)(bytes - done));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        pipe->ended = n == 0;
        done += n > 0 ? n : 0;
    }
    pipe->position += done;
    return done;
}

static int take_all(Pipe *pipe, void *buf, int64_t bytes)
{
    int64_t done = take(pipe, buf, bytes);

    return done < 0 ? (int)done : done < bytes ? -ENODATA : 0;
}

static int skip_to(Pipe *pipe, int64_t offset)
{
    uint8_t dropped[4096];
    int result = 0;

    while (result == 0 && pipe->position < offset) {
        int64_t left = offset - pipe->position;

        result = take_all(pipe, dropped,
                          left < (int64_t)sizeof(dropped) ? left : (int64_t)sizeof(dropped));
    }
    return result;
}

/* The part of the range that is in the head; the rest of it begins at *at. */
static int read_head(Pipe *pipe, uint8_t *buf, int64_t *at, int64_t end)
{
    int64_t now = (end < HEAD_BYTES ? end : HEAD_BYTES) - *at;

    if (*at >= HEAD_BYTES) {
        return 0;
    }
    if (pipe->position == 0) { /* all of it, or all that there is */
        int64_t taken = take(pipe, pipe->head, HEAD_BYTES);

        if (taken < 0) {
            return (int)taken;
        }
    }
    if (*at + now > pipe->position) {
        return -ENODATA;
    }
    memcpy(buf, pipe->head + *at, (size_t)now);
    *at += now;
    return 0;
}

static int pipe_read(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    Pipe *pipe = opaque;
    int64_t at = offset, end = offset + (int64_t)bytes;
    int result = read_head(pipe, buf, &at, end);

    if (result < 0 || at == end) {
        return result;
    }
    if (at < pipe->position) {
        return -ESPIPE;
    }
    result = skip_to(pipe, at);
    return result < 0 ? result
                      : take_all(pipe, (uint8_t *)buf + (at - offset), end - at);
}

static Pipe input = {.fd = STDIN_FILENO};

int pipe_tell_end(int error)
{
    if (error != -ENODATA || !input.ended) {
        return 0;
    }
    if (input.position == 0) {
        tool_error("standard input is empty");
    } else {
        tool_error("standard input ends at byte %lld, before the image does: %s",
                   (long long)input.position, bdrv_errmsg());
    }
    return 1;
}

BlockDriverState *pipe_open_source(const ImageHow *how)
{
    BlockDriverState *bs;
    int result;
    BdrvIo io = {
        .struct_size = sizeof(io), .read = pipe_read, .getlength = length_unknown,
    };
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = how->flags | BDRV_O_FORWARD,
        .options = how->options,
    };

    if (how->format == NULL || strcmp(how->format, "raw") == 0) {
        tool_error("standard input: %s", how->format == NULL
                   ? "its format must be given with -f"
                   : "a raw disk has no length there; store it in a file");
        return NULL;
    }
    look_what_it_is(&input);
    result = bdrv_open_io(&bs, "(standard input)", &io, &input, how->format, &options);
    if (result < 0 && interrupt_signal() != 0) {
        tool_error("stopped, nothing was read from standard input");
    } else if (result < 0 && !pipe_tell_end(result)) {
        tool_library_error();
    }
    return bs;
}

/* A failure, or that the user wants to stop, only ends it: the image has been read. */
void pipe_drop_rest(int quiet)
{
    uint8_t dropped[4096];
    int64_t count = 0, taken = input.position > 0;
    int strange = 0;

    while (taken > 0 && !input.ended) {
        taken = take(&input, dropped, sizeof(dropped));
        if (taken > 0) {
            count += taken;
            strange |= memcmp(dropped, zeros, (size_t)taken) != 0;
        }
    }
    if (strange && !quiet) {
        tool_error("warning: standard input goes on for %lld bytes behind the image, which are "
                   "dropped", (long long)count);
    }
}

/* ------------------------------------------------------------------ writing */

static int give(Pipe *pipe, const void *buf, int64_t bytes)
{
    int64_t done = 0;
    int result;

    while (done < bytes) {
        int64_t room, left = bytes - done;
        ssize_t n;

        result = wait_for(pipe, POLLOUT);
        if (result < 0) {
            return result;
        }
        room = room_in(pipe);
        n = write(pipe->fd, (const uint8_t *)buf + done, (size_t)(left < room ? left : room));
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        done += n > 0 ? n : 0;
    }
    pipe->position += done;
    return 0;
}

static int give_zeros_to(Pipe *pipe, int64_t offset)
{
    int result = 0;

    while (result == 0 && pipe->position < offset) {
        int64_t left = offset - pipe->position;

        result = give(pipe, zeros, left < HEAD_BYTES ? left : HEAD_BYTES);
    }
    return result;
}

/* The part of the range that is in the head, while that is still here. */
static void write_head(Pipe *pipe, const uint8_t *buf, int64_t *at, int64_t end)
{
    int64_t now = (end < HEAD_BYTES ? end : HEAD_BYTES) - *at;

    if (*at < HEAD_BYTES && pipe->position == 0) {
        memcpy(pipe->head + *at, buf, (size_t)now);
        *at += now;
    }
}

static int pipe_write(void *opaque, const void *buf, size_t bytes, int64_t offset)
{
    Pipe *pipe = opaque;
    int64_t at = offset, end = offset + (int64_t)bytes;
    int result = 0;

    if (offset < pipe->position) {
        return -ESPIPE;
    }
    pipe->length = end > pipe->length ? end : pipe->length;
    write_head(pipe, buf, &at, end);
    if (at == end) {
        return 0;
    }
    if (pipe->position == 0) {
        result = give(pipe, pipe->head, HEAD_BYTES);
    }
    if (result == 0) {
        result = give_zeros_to(pipe, at);
    }
    return result < 0 ? result
                      : give(pipe, (const uint8_t *)buf + (at - offset), end - at);
}

/* What was written can be read as far as it is in the head. */
static int pipe_read_back(void *opaque, void *buf, size_t bytes, int64_t offset)
{
    const Pipe *pipe = opaque;

    if (offset + (int64_t)bytes > HEAD_BYTES) {
        return -ESPIPE;
    }
    memcpy(buf, pipe->head + offset, bytes);
    return 0;
}

static int64_t pipe_length(void *opaque)
{
    return ((Pipe *)opaque)->length;
}

static int pipe_truncate(void *opaque, int64_t length)
{
    Pipe *pipe = opaque;

    if (length < pipe->position) {
        return -ESPIPE;
    }
    if (length < HEAD_BYTES) {
        memset(pipe->head + length, 0, (size_t)(HEAD_BYTES - length));
    }
    pipe->length = length;
    return 0;
}

BlockDriverState *pipe_open_target(Pipe **pipe)
{
    static Pipe output = {.fd = STDOUT_FILENO};
    BlockDriverState *bs;
    BdrvIo io = {
        .struct_size = sizeof(io), .read = pipe_read_back, .write = pipe_write,
        .getlength = pipe_length, .truncate = pipe_truncate,
    };
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR | BDRV_O_FORWARD,
    };

    *pipe = &output;
    if (isatty(STDOUT_FILENO)) {
        tool_error("standard output is a terminal, where nobody wants to see an image");
        return NULL;
    }
    look_what_it_is(&output);
    if (bdrv_open_io(&bs, "(standard output)", &io, &output, "raw", &options) < 0) {
        tool_library_error();
    }
    return bs;
}

int pipe_finish(Pipe *pipe)
{
    int64_t head = pipe->length < HEAD_BYTES ? pipe->length : HEAD_BYTES;
    int result = pipe->position == 0 ? give(pipe, pipe->head, head) : 0;

    if (result == 0) {
        result = give_zeros_to(pipe, pipe->length);
    }
    if (result < 0 && interrupt_signal() != 0) {
        tool_error("stopped, standard output has got a part");
    } else if (result < 0) {
        tool_error("standard output: %s", strerror(-result));
    }
    return result;
}
