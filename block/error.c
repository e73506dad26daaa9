/* SPDX-License-Identifier: MIT */
/*
 * error.c - the text behind a negative result.
 *
 * One message per thread, written at the place that knows the cause and given
 * context on the way up.  Public functions are brackets (bdrv_call_begin and
 * bdrv_call_end): the outermost one forgets the last call's message, so a
 * callback that fails without a word gets a plain message instead of a stale
 * one.
 */
#include <stdio.h>
#include <string.h>

#include "block_int.h"

enum {
    MESSAGE_SIZE = 4096 /* two paths of PATH_MAX rarely meet; cut, not lost */
};

_Thread_local BdrvCalls bdrv_calls;

static _Thread_local struct {
    int kept;  /* not 0: not to be overwritten now */
    char text[MESSAGE_SIZE];
} message;

const char *bdrv_errmsg(void)
{
    return message.text;
}

void bdrv_error_keep(void)
{
    message.kept++;
}

void bdrv_error_restore(void)
{
    message.kept--;
}

/* "<name of bs>: ", when there is a name. */
static size_t put_name(char *text, size_t size, const BlockDriverState *bs)
{
    int n = 0;

    text[0] = '\0';
    if (bs && bs->filename && bs->filename[0] != '\0') {
        n = snprintf(text, size, "%s: ", bs->filename);
    }
    return n < 0 ? 0 : (size_t)bdrv_min(n, (int64_t)size - 1);
}

int bdrv_error(const BlockDriverState *bs, int error, const char *format, ...)
{
    size_t used;
    va_list args;

    if (message.kept) {
        return error;
    }
    used = put_name(message.text, MESSAGE_SIZE, bs);
    va_start(args, format);
    vsnprintf(message.text + used, MESSAGE_SIZE - used, format, args);
    va_end(args);
    bdrv_calls.explained = 1;
    return error;
}

/* Behind what is there; cut where the room ends. */
static void append(const char *text)
{
    size_t used = strlen(message.text), room = MESSAGE_SIZE - 1 - used;
    size_t length = strlen(text);

    length = length < room ? length : room;
    memcpy(message.text + used, text, length);
    message.text[used + length] = '\0';
}

int bdrv_error_prefix(const BlockDriverState *bs, int error,
                      const char *format, ...)
{
    char cause[MESSAGE_SIZE];
    va_list args;
    size_t used;

    if (message.kept) {
        return error;
    }
    memcpy(cause, bdrv_calls.explained ? message.text : "",
           bdrv_calls.explained ? MESSAGE_SIZE : 1);
    used = put_name(message.text, MESSAGE_SIZE, bs);
    va_start(args, format);
    vsnprintf(message.text + used, MESSAGE_SIZE - used, format, args);
    va_end(args);
    append(": ");
    append(cause[0] ? cause : strerror(-error));
    bdrv_calls.explained = 1;
    return error;
}

void bdrv_call_failed(const BlockDriverState *bs, int error, const char *what)
{
    if (!bdrv_calls.explained) {
        bdrv_error(bs, error, "%s: %s", what, strerror(-error));
    }
}

void bdrv_log(const BlockDriverState *bs, const char *format, ...)
{
    char line[1024];
    va_list args;
    size_t used;

    if (!bs || !bs->context || !bs->context->log) {
        return;
    }
    used = put_name(line, sizeof line, bs);
    va_start(args, format);
    vsnprintf(line + used, sizeof line - used, format, args);
    va_end(args);
    bs->context->log(bs->context->log_opaque, line);
}
