/* SPDX-License-Identifier: MIT */
/*
 * host.c - see host.h.
 */
#include "host.h"

#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/syscall.h>
#endif

#include "suite.h"

enum { PIECE = 1 << 20 };

/* Runs a shell command made like printf's text; its exit status. */
static int run(const char *format, const char *first, const char *second)
{
    char command[4096];
    int size = snprintf(command, sizeof(command), format, first, second);
    ck_assert_int_lt(size, (int)sizeof(command));
    return system(command);
}

char *host_path(const char *directory, const char *name)
{
    size_t size = strlen(directory) + strlen(name) + 2;
    char *path = malloc(size);
    ck_assert_ptr_nonnull(path);
    snprintf(path, size, "%s/%s", directory, name);
    return path;
}

char *host_directory_new(void)
{
    const char *parent = getenv("TMPDIR");
    char *directory = host_path(parent != NULL ? parent : "/tmp",
                                "bdrv-test.XXXXXX");
    ck_assert_msg(mkdtemp(directory) != NULL, "%s: %s", directory,
                  strerror(errno));
    return directory;
}

static int remove_one(const char *path, const struct stat *status, int kind,
                      struct FTW *place)
{
    (void)status, (void)kind, (void)place;
    return remove(path);
}

/* Not by a program: between fork and exec it would hold the locks of all images
 * that other threads have open. */
void host_directory_remove(char *directory)
{
    enum { DESCRIPTORS = 16 };
    ck_assert_msg(nftw(directory, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS) == 0,
                  "%s: %s", directory, strerror(errno));
    free(directory);
}

int host_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

void host_write_file(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    ck_assert_uint_eq(fwrite(bytes, 1, size, file), size);
    ck_assert_int_eq(fclose(file), 0);
}

uint8_t *host_read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    ck_assert_msg(file != NULL, "%s: %s", path, strerror(errno));
    ck_assert_int_eq(fseek(file, 0, SEEK_END), 0);
    *size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(*size + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

int host_has_program(const char *name)
{
    return run("command -v '%s' >/dev/null%s", name, "") == 0;
}

char *host_fetch(const char *path, const char *directory)
{
    const char *slash = strrchr(path, '/');
    char *copy = host_path(directory, slash != NULL ? slash + 1 : path);
    char *end = copy + strlen(copy) - strlen(".xz");
    int compressed = end > copy && strcmp(end, ".xz") == 0;
    if (compressed) {
        *end = '\0';
    }
    int status = run(compressed ? "xz -dc '%s' > '%s'" : "cat '%s' > '%s'",
                     path, copy);
    ck_assert_msg(status == 0, "cannot fetch %s", path);
    return copy;
}

/* ---------------------------------------------------------------- sha256 */

/* Puts the next run of the disk into the pipe; *bytes becomes its length. */
static int hash_run(BlockDriverState *bs, FILE *pipe, uint8_t *buf,
                    int64_t offset, int64_t *bytes)
{
    BdrvExtent extent;
    int result = bdrv_map(bs, offset, *bytes, &extent);
    if (result != 0) {
        return result;
    }
    *bytes = extent.bytes;
    if (extent.state == BDRV_DATA) {
        result = bdrv_pread(bs, buf, (size_t)*bytes, offset);
    } else {
        memset(buf, 0, (size_t)*bytes);
    }
    if (result == 0 && fwrite(buf, 1, (size_t)*bytes, pipe) != (size_t)*bytes) {
        result = -EPIPE;
    }
    return result;
}

static int hash_disk(BlockDriverState *bs, FILE *pipe)
{
    int64_t length = bdrv_getlength(bs);
    uint8_t *buf = malloc(PIECE);
    int result = buf == NULL ? -ENOMEM : 0;
    for (int64_t offset = 0; result == 0 && offset < length;) {
        int64_t bytes = length - offset < PIECE ? length - offset : PIECE;
        result = hash_run(bs, pipe, buf, offset, &bytes);
        offset += bytes;
    }
    free(buf);
    return result;
}

int host_sha256(BlockDriverState *bs, char digest[65])
{
    char *directory = host_directory_new();
    char *path = host_path(directory, "digest");
    char command[4096];
    snprintf(command, sizeof(command), "sha256sum > '%s'", path);
    FILE *pipe = popen(command, "w");
    ck_assert_ptr_nonnull(pipe);
    int result = hash_disk(bs, pipe);
    ck_assert_int_eq(pclose(pipe), 0);

    size_t size;
    uint8_t *text = host_read_file(path, &size);
    ck_assert_uint_ge(size, 64);
    memcpy(digest, text, 64);
    digest[64] = '\0';
    free(text);
    free(path);
    host_directory_remove(directory);
    return result;
}

/* -------------------------------------------------------------- manifest */

FILE *host_manifest_open(const char *folder)
{
    char path[4096]; /* no assertion: called where Check is not running yet */
    int size = snprintf(path, sizeof(path), "%s/MANIFEST.tsv", folder);
    return size < (int)sizeof(path) ? fopen(path, "r") : NULL;
}

/* Cuts the next tab-separated field off *rest; "" when there is no more. */
static char *next_field(char **rest)
{
    char *field = strsep(rest, "\t\n");
    return field != NULL ? field : strchr("", '\0');
}

/* "class=ok; more": cuts the class out of the notes. */
static char *class_of(char *notes, char **rest)
{
    static const char key[] = "class=";
    if (strncmp(notes, key, sizeof(key) - 1) != 0) {
        *rest = notes;
        return strchr("", '\0');
    }
    *rest = notes + sizeof(key) - 1;
    return strsep(rest, ";");
}

int host_manifest_next(FILE *manifest, char *line, size_t size,
                       HostImage *image)
{
    do {
        if (fgets(line, (int)size, manifest) == NULL) {
            return 0;
        }
    } while (line[0] == '#' || strncmp(line, "path\t", 5) == 0);

    char *rest = line;
    image->path = next_field(&rest);
    image->format = next_field(&rest);
    image->subformat = next_field(&rest);
    char *virtual_size = next_field(&rest);
    image->virtual_size = strcmp(virtual_size, "-") == 0
                              ? -1 : strtoll(virtual_size, NULL, 10);
    image->sha256 = next_field(&rest);
    next_field(&rest); /* where it comes from */
    image->kind = class_of(next_field(&rest), &image->notes);
    return 1;
}

/* ----------------------------------------------------------------- swapping */

struct HostSwapper {
    char *one, *other;
    pthread_t thread;
    atomic_int stop;
    long swaps;
};

static int swap_names(const char *one, const char *other)
{
#ifdef SYS_renameat2
    return (int)syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, 2 /* RENAME_EXCHANGE */);
#else
    (void)one;
    (void)other;
    return -1;
#endif
}

static void *swap_until_stopped(void *opaque)
{
    HostSwapper *swapper = opaque;
    while (!swapper->stop) {
        ck_assert_int_eq(swap_names(swapper->one, swapper->other), 0);
        swapper->swaps++;
    }
    return NULL;
}

HostSwapper *host_swapper_start(const char *one, const char *other)
{
    if (swap_names(one, other) < 0) {
        return NULL;
    }
    HostSwapper *swapper = calloc(1, sizeof(*swapper));
    ck_assert_ptr_nonnull(swapper);
    swapper->one = strdup(one);
    swapper->other = strdup(other);
    ck_assert_int_eq(pthread_create(&swapper->thread, NULL, swap_until_stopped, swapper), 0);
    return swapper;
}

long host_swapper_stop(HostSwapper *swapper)
{
    swapper->stop = 1;
    pthread_join(swapper->thread, NULL);
    long swaps = swapper->swaps;
    free(swapper->one);
    free(swapper->other);
    free(swapper);
    return swaps;
}
