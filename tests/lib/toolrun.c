/* SPDX-License-Identifier: MIT */
/*
 * toolrun.c - see toolrun.h.  The list of operations is at the bottom.
 */
#include "toolrun.h"

#include <sys/wait.h>
#include <unistd.h>

#include "bdrv-bytes.h"
#include "host.h"
#include "image.h"
#include "pattern.h"
#include "suite.h"

enum {
    SECTOR = BDRV_SECTOR_SIZE,
    DISK = 300 * 1024 + SECTOR, /* a few grains, the last one partial */
    OLD = 1, NEW = 2, BASE = 3  /* generations of content */
};

/* What a reader finds of one image. */
typedef struct View {
    int64_t length; /* < 0: there is no such file */
    uint8_t *bytes;
    uint8_t *unreadable; /* one for each sector */
    char *told; /* what the image tells about itself, without what is new each time;
                 * NULL: not asked */
    int64_t cid; /* < 0: it has none */
} View;

struct ToolRun {
    const ToolOperation *operation;
    char *files; /* the directory with the files before */
    View before[TOOLRUN_IMAGES], after[TOOLRUN_IMAGES];
};

static char complaint[1024];

/* ------------------------------------------------------------------ preparing */

static void make(const char *directory, const char *name, const char *format,
                 const char *options, const char *backing)
{
    char *path = host_path(directory, name);
    BdrvCreateOptions create = {
        .struct_size = sizeof(create), .size = DISK, .options = options, .backing = backing,
        .flags = BDRV_O_NO_FLUSH,
    };
    assert_ok(bdrv_create(path, format, &create));
    free(path);
}

/* 24 KiB at every step of that many times as much, so that grains are full, partial and
 * missing. */
static void fill(const char *directory, const char *name, const char *format,
                 unsigned generation, int64_t step)
{
    enum { STRIPE = 24 * 1024 };
    char *path = host_path(directory, name);
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = BDRV_O_RDWR | BDRV_O_NO_FLUSH,
    };
    BlockDriverState *bs;
    assert_ok(bdrv_open(&bs, path, format, &options));
    for (int64_t at = STRIPE; at < DISK; at += step * STRIPE) {
        assert_ok(pattern_write(bs, at, bdrv_min(STRIPE, DISK - at), generation));
    }
    assert_ok(bdrv_close(bs));
    free(path);
}

static void make_filled(const char *directory, const char *name, const char *options,
                        unsigned generation)
{
    make(directory, name, "vmdk", options, NULL);
    fill(directory, name, "vmdk", generation, 3);
}

static void only_source(const char *directory)
{
    make(directory, "source.raw", "raw", NULL, NULL);
    fill(directory, "source.raw", "raw", NEW, 5);
}

static void source_and_sparse(const char *directory)
{
    only_source(directory);
    make_filled(directory, "disk.vmdk", NULL, OLD);
}

static void source_and_split(const char *directory)
{
    only_source(directory);
    make_filled(directory, "disk.vmdk", "subformat=twoGbMaxExtentSparse,extent_size=128k", OLD);
}

static void source_and_flat(const char *directory)
{
    only_source(directory);
    make_filled(directory, "disk.vmdk", "subformat=monolithicFlat", OLD);
}

static void only_sparse(const char *directory)
{
    make_filled(directory, "disk.vmdk", NULL, OLD);
}

static void only_split(const char *directory)
{
    make_filled(directory, "disk.vmdk", "subformat=twoGbMaxExtentSparse,extent_size=128k", OLD);
}

static void only_flat(const char *directory)
{
    make_filled(directory, "disk.vmdk", "subformat=twoGbMaxExtentFlat,extent_size=128k", OLD);
}

static void only_cowd(const char *directory)
{
    make_filled(directory, "disk.vmdk", "subformat=vmfsSparse", OLD);
}

static void chain(const char *directory)
{
    make_filled(directory, "parent.vmdk", NULL, BASE);
    make(directory, "child.vmdk", "vmdk", NULL, "parent.vmdk");
    fill(directory, "child.vmdk", "vmdk", OLD, 7);
}

static void chain_of_kinds(const char *directory)
{
    make_filled(directory, "parent.vmdk", "subformat=twoGbMaxExtentFlat,extent_size=128k", BASE);
    make(directory, "child.vmdk", "vmdk", "subformat=vmfsSparse", "parent.vmdk");
    fill(directory, "child.vmdk", "vmdk", OLD, 7);
}

static void chain_and_other(const char *directory)
{
    chain(directory);
    make_filled(directory, "other.vmdk", NULL, NEW);
}

/* The parent's name takes the descriptor over the border of a sector. */
#define LONG_NAME "a-parent-whose-name-is-so-long-that-the-descriptor-of-its-child-does-not-fit-into-a-" \
                  "sector-so-that-a-change-of-its-begin-and-of-its-end-cannot-be-written-in-one-step.vmdk"
static void chain_of_long_name(const char *directory)
{
    make_filled(directory, LONG_NAME, NULL, BASE);
    make(directory, "child.vmdk", "vmdk", NULL, LONG_NAME);
    fill(directory, "child.vmdk", "vmdk", OLD, 7);
}

/* One entry of the first table points beyond the file, the copy of another is lost. */
static void damaged(const char *directory)
{
    enum { AT_RGD = 48, AT_GD = 56 };
    char *path;
    size_t size;
    uint8_t *bytes;
    only_sparse(directory);
    path = host_path(directory, "disk.vmdk");
    bytes = host_read_file(path, &size);
    uint64_t gd = bdrv_load_le64(bytes + AT_GD), rgd = bdrv_load_le64(bytes + AT_RGD);
    uint32_t gt = bdrv_load_le32(bytes + gd * SECTOR);
    uint32_t rgt = bdrv_load_le32(bytes + rgd * SECTOR);
    bdrv_store_le32(bytes + gt * SECTOR, 0x7fffff80);
    bdrv_store_le32(bytes + rgt * SECTOR + 4, 0);
    host_write_file(path, bytes, size);
    free(bytes);
    free(path);
}

/* --------------------------------------------------------------------- looking */

static void free_view(View *view)
{
    free(view->bytes);
    free(view->unreadable);
    free(view->told);
    *view = (View){ .length = -1, .cid = -1 };
}

/* Is its value another one each time that an image is made or written, or where it lies? */
static int is_new_each_time(const char *key)
{
    static const char *const keys[] = { "cid", "parent-cid", "longContentID", "uuid", "filename" };
    int found = 0;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        found |= strcmp(key, keys[i]) == 0;
    }
    return found;
}

/* What is asked, and where the answer goes. */
typedef struct Answer {
    FILE *text;
    int64_t cid;
} Answer;

static void add_detail(void *opaque, const BdrvDetail *detail)
{
    Answer *answer = opaque;
    const char *key = detail->key != NULL ? detail->key : "";
    if (detail->kind == BDRV_DETAIL_STRING && !is_new_each_time(key)) {
        fprintf(answer->text, "%s=%s ", key, detail->string);
    } else if (detail->kind == BDRV_DETAIL_NUMBER && !is_new_each_time(key)) {
        fprintf(answer->text, "%s=%lld ", key, (long long)detail->number);
    } else if (strcmp(key, "cid") == 0) {
        answer->cid = detail->number;
    }
}

static void ask(BlockDriverState *bs, View *view)
{
    BdrvInfo info = { .struct_size = sizeof(info) };
    size_t size;
    Answer answer = { open_memstream(&view->told, &size), -1 };
    ck_assert_ptr_nonnull(answer.text);
    bdrv_get_details(bs, add_detail, &answer); /* not every format has some */
    assert_ok(bdrv_get_info(bs, &info));
    fprintf(answer.text, "parent=%s", info.backing_filename);
    fclose(answer.text);
    view->cid = answer.cid;
}

/* 0, or a negative errno with a complaint: it is there and cannot be used. */
static int look(const ToolOperation *operation, const char *directory, const char *name,
                View *view)
{
    const int repair = operation->promise == TOOL_NEVER_WORSE;
    char *path = host_path(directory, name);
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .flags = repair ? BDRV_O_CHECK : 0,
    };
    BlockDriverState *bs;
    const char *found = NULL;
    *view = (View){ .length = -1, .cid = -1 };
    int result = host_exists(path) ? bdrv_open(&bs, path, strstr(name, ".raw") ? "raw" : "vmdk",
                                               &options) : 1;
    free(path);
    if (result != 0) {
        snprintf(complaint, sizeof(complaint), "%s: %s", name, bdrv_errmsg());
        return result < 0 && operation->promise != TOOL_OR_NOTHING ? result : 0;
    }
    view->length = bdrv_getlength(bs);
    size_t sectors = (size_t)bdrv_div_up(view->length, SECTOR);
    view->bytes = calloc(sectors + 1, SECTOR);
    view->unreadable = calloc(sectors + 1, 1);
    for (size_t i = 0; i < sectors; i++) {
        int64_t at = (int64_t)i * SECTOR;
        view->unreadable[i] = bdrv_pread(bs, view->bytes + at,
                                         (size_t)bdrv_min(SECTOR, view->length - at), at) < 0;
    }
    if (!repair) {
        ask(bs, view);
    }
    found = repair ? NULL : image_find_damage(bs);
    if (found != NULL) {
        snprintf(complaint, sizeof(complaint), "%s: %s", name, found);
        result = -EINVAL;
    }
    assert_ok(bdrv_close(bs));
    return result;
}

static int look_at_all(const ToolOperation *operation, const char *directory, View *views)
{
    for (int i = 0; i < TOOLRUN_IMAGES && operation->images[i] != NULL; i++) {
        int result = look(operation, directory, operation->images[i], &views[i]);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

static size_t sectors_of(const View *view)
{
    return view->length < 0 ? 0 : (size_t)bdrv_div_up(view->length, SECTOR);
}

/* Is the sector readable in both, and the same? */
static int same_sector(const View *a, const View *b, size_t i)
{
    return !a->unreadable[i] && !b->unreadable[i] &&
           memcmp(a->bytes + i * SECTOR, b->bytes + i * SECTOR, SECTOR) == 0;
}

static int same_view(const View *a, const View *b)
{
    int same = a->length == b->length;
    for (size_t i = 0; same && i < sectors_of(a); i++) {
        same = same_sector(a, b, i) || (a->unreadable[i] && b->unreadable[i]);
    }
    return same;
}

/* Each word (a sector may be torn) is that of the one or of the other. */
static int is_mix(const View *view, const View *before, const View *after)
{
    enum { WORD = 8 };
    int good = view->length == before->length && view->length == after->length;
    for (size_t i = 0; good && i < sectors_of(view); i++) {
        good = !view->unreadable[i];
    }
    for (int64_t at = 0; good && at < view->length; at += WORD) {
        good = memcmp(view->bytes + at, before->bytes + at, WORD) == 0 ||
               memcmp(view->bytes + at, after->bytes + at, WORD) == 0;
    }
    return good;
}

/* What was readable reads the same. */
static int is_no_worse(const View *view, const View *before)
{
    int good = view->length == before->length;
    for (size_t i = 0; good && i < sectors_of(view); i++) {
        good = before->unreadable[i] || same_sector(view, before, i);
    }
    return good;
}

/* By its CID its children would take another content for theirs. */
static int passes_for(const View *view, const View *before)
{
    return view->length >= 0 && view->cid >= 0 && view->cid == before->cid &&
           !same_view(view, before);
}

/* Old or new, also in what it tells about itself; a torn sector of its descriptor, which
 * nothing in the format protects, may tell of both. */
static int same_image(const View *view, const View *model, ToolOutcome outcome)
{
    return same_view(view, model) &&
           (outcome == TOOL_MAY_BE_REFUSED || outcome == TOOL_REPAIRED ||
            view->told == NULL || model->told == NULL ||
            strcmp(view->told, model->told) == 0);
}

static int keeps_promise(const ToolRun *run, int i, const View *view, ToolOutcome outcome)
{
    const View *before = &run->before[i], *after = &run->after[i];
    if (passes_for(view, before)) {
        return 0;
    }
    if (outcome == TOOL_MUST_BE_NEW) {
        return same_image(view, after, outcome);
    }
    switch (run->operation->promise) {
    case TOOL_OR_NOTHING:
        if (view->length < 0) {
            return 1;
        }
        /* fall through */
    case TOOL_OLD_OR_NEW:
        return same_image(view, before, outcome) || same_image(view, after, outcome);
    case TOOL_SECTORS:
        return is_mix(view, before, after);
    case TOOL_NEVER_WORSE:
        return is_no_worse(view, before);
    }
    return 0;
}

const char *toolrun_examine(const ToolRun *run, const char *directory, ToolOutcome outcome)
{
    View views[TOOLRUN_IMAGES] = { { 0 } };
    int result = look_at_all(run->operation, directory, views);
    const char *text = result < 0 && outcome != TOOL_MAY_BE_REFUSED ? complaint : NULL;
    for (int i = 0; i < TOOLRUN_IMAGES && run->operation->images[i] != NULL; i++) {
        if (text == NULL && result == 0 && !keeps_promise(run, i, &views[i], outcome)) {
            snprintf(complaint, sizeof(complaint), "%s (%lld bytes) is %s",
                     run->operation->images[i], (long long)views[i].length,
                     outcome == TOOL_MUST_BE_NEW ? "not what it should be"
                                                 : "neither what it was nor what it should be");
            text = complaint;
        }
        free_view(&views[i]);
    }
    return text;
}

/* What was to be made, and cannot be opened, is no image to be repaired. */
void toolrun_repair(const ToolRun *run, const char *directory)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options),
                                .flags = BDRV_O_RDWR | BDRV_O_CHECK | BDRV_O_NO_FLUSH };
    BdrvCheckOptions repair = { .struct_size = sizeof(repair), .flags = BDRV_CHECK_REPAIR_ALL };
    const int count = run->operation->promise == TOOL_OR_NOTHING ? 0 : TOOLRUN_IMAGES;
    for (int i = 0; i < count && run->operation->images[i] != NULL; i++) {
        char *path = host_path(directory, run->operation->images[i]);
        BdrvCheckResult found = { .struct_size = sizeof(found) };
        BlockDriverState *bs;
        if (host_exists(path) && strstr(path, ".raw") == NULL &&
            bdrv_open(&bs, path, "vmdk", &options) == 0) {
            (void)bdrv_check(bs, &repair, &found);
            (void)bdrv_close(bs);
        }
        free(path);
    }
}

/* --------------------------------------------------------------------- running */

char *toolrun_directory(const ToolRun *run)
{
    char *directory = host_directory_new(), command[4096];
    snprintf(command, sizeof(command), "cp -p '%s'/* '%s'/ 2>/dev/null", run->files, directory);
    (void)!system(command); /* there may be no files */
    return directory;
}

int toolrun_run(const ToolRun *run, const char *directory, const char *settings,
                const char *said)
{
    char command[8192];
    int size = snprintf(command, sizeof(command),
                        "cd '%s' && HOSTCALLS_ROOT='%s' %s LD_PRELOAD='%s/tests/host/hostcalls.so'"
                        " '%s/bin/img' %s >/dev/null 2>'%s'",
                        directory, directory, settings, BDRV_BUILD, BDRV_BUILD,
                        run->operation->command, said);
    ck_assert_int_lt(size, (int)sizeof(command));
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Does view hold what model does, as far as both go and the model can be read? */
static int holds(const View *view, const View *model)
{
    int64_t sectors = bdrv_min(view->length, model->length) / SECTOR;
    int good = sectors > 0;
    for (size_t i = 0; good && i < (size_t)sectors; i++) {
        good = model->unreadable[i] || same_sector(view, model, i);
    }
    return good;
}

static int has_effect(const ToolRun *run)
{
    const View *made = &run->after[0];
    switch (run->operation->effect) {
    case TOOL_MAKES:
        return made->length >= DISK - SECTOR;
    case TOOL_COPIES:
        return made->length >= DISK && holds(made, &run->before[1]);
    case TOOL_KEEPS:
    case TOOL_REPAIRS:
        return holds(made, &run->before[0]);
    }
    return 0;
}

ToolRun *toolrun_new(const ToolOperation *operation)
{
    ToolRun *run = calloc(1, sizeof(*run));
    ck_assert_ptr_nonnull(run);
    run->operation = operation;
    run->files = host_directory_new();
    operation->prepare(run->files);
    ck_assert_msg(look_at_all(operation, run->files, run->before) == 0, "%s", complaint);

    char *directory = toolrun_directory(run), *outside = host_directory_new();
    char *said = host_path(outside, "said");
    ck_assert_msg(toolrun_run(run, directory, "", said) == 0, "%s: img %s fails undisturbed",
                  operation->name, operation->command);
    ck_assert_msg(look_at_all(operation, directory, run->after) == 0, "%s: %s",
                  operation->name, complaint);
    ck_assert_msg(has_effect(run), "%s: img %s makes something else, undisturbed",
                  operation->name, operation->command);
    host_directory_remove(directory);
    host_directory_remove(outside);
    free(said);
    return run;
}

void toolrun_free(ToolRun *run)
{
    for (int i = 0; i < TOOLRUN_IMAGES; i++) {
        free_view(&run->before[i]);
        free_view(&run->after[i]);
    }
    host_directory_remove(run->files);
    free(run);
}

const ToolOperation *toolrun_of(const ToolRun *run)
{
    return run->operation;
}

const char *toolrun_impossible(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return "host calls cannot be watched under a sanitizer";
#elif !defined(__linux__)
    return "host calls are watched on Linux only";
#else
    return NULL;
#endif
}

/* ------------------------------------------------------------------ operations */

static const ToolOperation operations[] = {
    { "convert to a new sparse disk", "convert -O vmdk source.raw disk.vmdk",
      only_source, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_OLD_OR_NEW },
    { "convert over a sparse disk", "convert -O vmdk source.raw disk.vmdk",
      source_and_sparse, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_OLD_OR_NEW },
    { "convert to a new split disk",
      "convert -O vmdk -o subformat=twoGbMaxExtentSparse,extent_size=128k source.raw disk.vmdk",
      only_source, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_OLD_OR_NEW },
    { "convert over a split disk",
      "convert -O vmdk -o subformat=twoGbMaxExtentSparse,extent_size=128k source.raw disk.vmdk",
      source_and_split, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_OR_NOTHING },
    { "convert over a flat disk", "convert -O vmdk -o subformat=monolithicFlat source.raw disk.vmdk",
      source_and_flat, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_OR_NOTHING },
    { "convert to a new stream", "convert -O vmdk -o subformat=streamOptimized source.raw disk.vmdk",
      only_source, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_OLD_OR_NEW },
    { "convert over a raw disk", "convert -f vmdk -O raw disk.vmdk source.raw",
      source_and_sparse, { "source.raw", "disk.vmdk" }, TOOL_COPIES, TOOL_OLD_OR_NEW },
    { "convert over a sparse disk by a flat one",
      "convert -O vmdk -o subformat=monolithicFlat source.raw disk.vmdk",
      source_and_sparse, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_OLD_OR_NEW },
    { "convert into a disk", "convert -n -O vmdk source.raw disk.vmdk",
      source_and_sparse, { "disk.vmdk", "source.raw" }, TOOL_COPIES, TOOL_SECTORS },
    { "create a sparse disk", "create -f vmdk disk.vmdk 300k",
      only_source, { "disk.vmdk" }, TOOL_MAKES, TOOL_OR_NOTHING },
    { "create a child", "create -f vmdk -b disk.vmdk child.vmdk",
      only_sparse, { "child.vmdk", "disk.vmdk" }, TOOL_MAKES, TOOL_OR_NOTHING },
    { "create a split disk",
      "create -f vmdk -o subformat=twoGbMaxExtentSparse,extent_size=128k disk.vmdk 300k",
      only_source, { "disk.vmdk" }, TOOL_MAKES, TOOL_OR_NOTHING },
    { "create a flat disk", "create -f vmdk -o subformat=monolithicFlat disk.vmdk 300k",
      only_source, { "disk.vmdk" }, TOOL_MAKES, TOOL_OR_NOTHING },
    { "create over a sparse disk", "create -f vmdk disk.vmdk 300k",
      only_sparse, { "disk.vmdk" }, TOOL_MAKES, TOOL_OR_NOTHING },
    { "create over a split disk",
      "create -f vmdk -o subformat=twoGbMaxExtentSparse,extent_size=256k disk.vmdk 300k",
      only_split, { "disk.vmdk" }, TOOL_MAKES, TOOL_OR_NOTHING },
    { "create over a flat disk", "create -f vmdk -o subformat=monolithicFlat disk.vmdk 300k",
      source_and_flat, { "disk.vmdk" }, TOOL_MAKES, TOOL_OR_NOTHING },
    { "grow a sparse disk", "resize disk.vmdk 40M",
      only_sparse, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "shrink a sparse disk", "resize --shrink disk.vmdk 100k",
      only_sparse, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "grow a split disk", "resize disk.vmdk 700k",
      only_split, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "shrink a split disk", "resize --shrink disk.vmdk 100k",
      only_split, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "grow a flat disk", "resize disk.vmdk 700k",
      only_flat, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "shrink a flat disk", "resize --shrink disk.vmdk 200k",
      only_flat, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "grow a copy-on-write disk", "resize disk.vmdk 9M",
      only_cowd, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "shrink a copy-on-write disk", "resize --shrink disk.vmdk 100k",
      only_cowd, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "commit", "commit child.vmdk",
      chain, { "child.vmdk", "parent.vmdk" }, TOOL_KEEPS, TOOL_SECTORS },
    { "commit between kinds", "commit child.vmdk",
      chain_of_kinds, { "child.vmdk", "parent.vmdk" }, TOOL_KEEPS, TOOL_SECTORS },
    { "rebase to another parent", "rebase -b other.vmdk child.vmdk",
      chain_and_other, { "child.vmdk", "parent.vmdk", "other.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "rebase to none", "rebase -b '' child.vmdk",
      chain_of_kinds, { "child.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "amend an embedded descriptor", "amend -o adapter_type=lsilogic,hwversion=14 disk.vmdk",
      only_sparse, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "amend an embedded descriptor of two sectors",
      "amend -o adapter_type=lsilogic,parent_hint=./" LONG_NAME " child.vmdk",
      chain_of_long_name, { "child.vmdk", LONG_NAME }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "allow grains of zeros", "amend -o zeroed_grain=on disk.vmdk",
      only_sparse, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "amend a text descriptor", "amend -o adapter_type=lsilogic,hwversion=14 disk.vmdk",
      only_flat, { "disk.vmdk" }, TOOL_KEEPS, TOOL_OLD_OR_NEW },
    { "repair", "check -r all disk.vmdk",
      damaged, { "disk.vmdk" }, TOOL_REPAIRS, TOOL_NEVER_WORSE },
};

size_t toolrun_count(void)
{
    return sizeof(operations) / sizeof(operations[0]);
}

const ToolOperation *toolrun_operation(size_t index)
{
    return &operations[index];
}
