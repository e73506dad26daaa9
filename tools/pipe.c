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
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

enum { HEAD_BYTES = 64 * 1024 };

struct Pipe {
    int fd;
    uint8_t head[HEAD_BYTES];
    int64_t position; /* as many bytes have gone through */
    int64_t length;   /* writing: of the whole */
    int ended;        /* reading: there is no more */
};

static const uint8_t zeros[HEAD_BYTES];

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

    while (done < bytes && !pipe->ended) {
        ssize_t n = read(pipe->fd, (uint8_t *)buf + done, (size_t)(bytes - done));

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

BlockDriverState *pipe_open_source(const ImageHow *how)
{
    static Pipe pipe = {.fd = STDIN_FILENO};
    BlockDriverState *bs;
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
    if (bdrv_open_io(&bs, "(standard input)", &io, &pipe, how->format, &options) < 0) {
        tool_library_error();
    }
    return bs;
}

/* ------------------------------------------------------------------ writing */

static int give(Pipe *pipe, const void *buf, int64_t bytes)
{
    int64_t done = 0;

    while (done < bytes) {
        ssize_t n = write(pipe->fd, (const uint8_t *)buf + done, (size_t)(bytes - done));

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
    if (result < 0) {
        tool_error("standard output: %s", strerror(-result));
    }
    return result;
}
