/* SPDX-License-Identifier: MIT */
/*
 * t-policy.c - which other files an image may name.
 *
 *     top/                      another directory, not the image's
 *       secret
 *       images/                 where the image is that the user opens
 *         disk  "child NAME" or "parent NAME": names another file
 *         beside
 *         sub/inner
 *
 * The format "toy-names" is nothing but that line; its disk has the length of
 * the file it names.
 */
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "bdrv-driver.h"
#include "host.h"
#include "suite.h"

/* --------------------------------------------------------- the toy format */

static int names_open(BlockDriverState *bs, const BdrvOptions *options)
{
    (void)options;
    char text[4096] = "", verb[16], name[4000];
    size_t size = (size_t)bdrv_getlength(bdrv_file(bs));
    BlockDriverState *other = NULL;
    if (size >= sizeof(text) || bdrv_pread(bdrv_file(bs), text, size, 0) != 0 ||
        sscanf(text, "%15s %3999s", verb, name) != 2) {
        return bdrv_error(bs, -EINVAL, "names nothing");
    }
    int ret = strcmp(verb, "parent") == 0
                  ? bdrv_open_backing(bs, name, NULL, NULL, NULL)
                  : bdrv_open_child(bs, name, &other);
    if (ret == 0) {
        bdrv_set_length(bs, bdrv_getlength(other ? other : bdrv_backing(bs)));
    }
    return ret;
}

static int names_probe(const BdrvProbe *probe)
{
    return probe->head_size > 7 && (memcmp(probe->head, "parent ", 7) == 0 ||
                                    memcmp(probe->head, "child ", 6) == 0) ? 50 : 0;
}

static int names_read(BlockDriverState *bs, void *buf, size_t bytes, int64_t offset)
{
    return bdrv_read_backing(bs, buf, bytes, offset);
}

/* Makes the file that the option names beside the image. */
static int names_create(BlockDriverState *file, const BdrvCreateParams *params)
{
    BlockDriverState *other;
    int ret = bdrv_create_child(file, bdrv_option_string(params->options, "name"), &other);
    return ret < 0 ? ret : bdrv_pwrite(other, "made", 4, 0);
}

static const BdrvOption names_options[] = {
    { .name = "name", .type = BDRV_OPTION_STRING, .help = "of the other file" },
    { .name = NULL }
};

static const BlockDriver names_driver = {
    BDRV_DRIVER_HEAD,
    .name = "toy-names",
    .description = "names another file",
    .flags = BDRV_DRIVER_BACKING,
    .create_options = names_options,
    .probe = names_probe,
    .open = names_open,
    .read = names_read,
    .create = names_create,
};

/* ----------------------------------------------------------------- fixture */

static char *top, *images, *sub, *disk;

static void put(const char *folder, const char *name, const char *content)
{
    char *path = host_path(folder, name);
    host_write_file(path, content, strlen(content));
    free(path);
}

static void setup(void)
{
    char *given = host_directory_new();
    top = realpath(given, NULL); /* TMPDIR may be a link */
    free(given);
    images = host_path(top, "images");
    sub = host_path(images, "sub");
    disk = host_path(images, "disk");
    ck_assert_int_eq(mkdir(images, 0700), 0);
    ck_assert_int_eq(mkdir(sub, 0700), 0);
    put(top, "secret", "secret content");
    put(images, "beside", "five!");
    put(sub, "inner", "inner content");
}

static void teardown(void)
{
    free(disk);
    free(sub);
    free(images);
    ck_assert_int_eq(chdir("/"), 0); /* some tests go into it */
    host_directory_remove(top);
}

/* How opening an image goes that names this; 0 or -errno. */
static int open_naming(const char *verb, const char *name, const char *const *allowed)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .allow_paths = allowed };
    char text[4096];
    BlockDriverState *bs;
    snprintf(text, sizeof(text), "%s %s\n", verb, name);
    put(images, "disk", text);
    int ret = bdrv_open(&bs, disk, NULL, &options);
    if (ret == 0) {
        ck_assert_str_eq(bdrv_format(bs), "toy-names");
        assert_ok(bdrv_close(bs));
    }
    return ret;
}

static int open_child_named(const char *name)
{
    return open_naming("child", name, NULL);
}

#define assert_refused(call) assert_fails_saying(call, -EPERM, "--allow-path")

/* ----------------------------------------------------------------- opening */

START_TEST(files_in_the_directory_of_the_image_and_below_are_opened)
{
    char *absolute = host_path(sub, "inner");
    assert_ok(open_child_named("beside"));
    assert_ok(open_child_named("./beside"));
    assert_ok(open_child_named("sub/inner"));
    assert_ok(open_child_named("sub/../beside"));
    assert_ok(open_child_named("../images/beside"));
    assert_ok(open_child_named(absolute));
    assert_ok(open_naming("parent", "sub/inner", NULL));
    free(absolute);
}
END_TEST

START_TEST(files_elsewhere_are_refused_by_name_and_with_the_way_out)
{
    char *secret = host_path(top, "secret");
    assert_refused(open_child_named("../secret"));
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), secret));
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), disk)); /* who names it */
    assert_refused(open_child_named("sub/../../secret"));
    assert_refused(open_child_named(secret));
    assert_refused(open_child_named("/etc/passwd"));
    assert_refused(open_naming("parent", "../secret", NULL));
    free(secret);
}
END_TEST

START_TEST(a_directory_whose_name_begins_like_the_allowed_one_is_another)
{
    char *lookalike = host_path(top, "images-of-others");
    ck_assert_int_eq(mkdir(lookalike, 0700), 0);
    put(lookalike, "file", "content");
    assert_refused(open_child_named("../images-of-others/file"));
    free(lookalike);
}
END_TEST

START_TEST(links_count_by_where_they_lead)
{
    char *inward = host_path(images, "inward"), *outward = host_path(images, "outward");
    char *folder = host_path(images, "folder");
    ck_assert_int_eq(symlink("sub/inner", inward), 0);
    ck_assert_int_eq(symlink("../secret", outward), 0);
    ck_assert_int_eq(symlink("..", folder), 0);
    assert_ok(open_child_named("inward"));
    assert_refused(open_child_named("outward"));
    assert_refused(open_child_named("folder/secret"));
    assert_ok(open_child_named("folder/images/beside"));
    free(folder);
    free(outward);
    free(inward);
}
END_TEST

START_TEST(only_regular_files_are_opened_wherever_they_are)
{
    static const char *const all[] = { "/", NULL };
    char *fifo = host_path(images, "fifo"), *null = host_path(images, "null");
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    ck_assert_int_eq(symlink("/dev/null", null), 0);
    assert_fails_saying(open_child_named("fifo"), -EINVAL, "FIFO");
    assert_fails_saying(open_child_named("sub"), -EISDIR, "directory");
    assert_refused(open_child_named("null"));
    assert_fails_saying(open_naming("child", "null", all), -EINVAL, "character device");
    assert_fails(open_child_named(".."), -EINVAL);
    assert_fails(open_child_named("sub/"), -EINVAL);
    free(null);
    free(fifo);
}
END_TEST

START_TEST(allowed_directories_are_searched_too)
{
    char *other = host_path(top, "other");
    const char *const elsewhere[] = { "/nonexistent", sub, other, NULL };
    const char *const parent[] = { other, top, NULL };
    static const char *const all[] = { "/", NULL };
    ck_assert_int_eq(mkdir(other, 0700), 0);
    put(other, "file", "content");
    assert_ok(open_naming("child", "../other/file", elsewhere));
    assert_refused(open_naming("child", "../secret", elsewhere));
    assert_ok(open_naming("child", "../secret", parent));
    assert_ok(open_naming("child", "/etc/passwd", all));
    free(other);
}
END_TEST

START_TEST(what_does_not_exist_is_told_apart_from_what_is_forbidden)
{
    assert_fails(open_child_named("missing"), -ENOENT);
    assert_fails(open_child_named("sub/missing"), -ENOENT);
    assert_fails(open_child_named("missing/missing"), -ENOENT);
    assert_fails(open_child_named("../missing"), -ENOENT);
    assert_fails(open_naming("parent", "missing", NULL), -ENOENT);
}
END_TEST

START_TEST(names_are_relative_to_the_image_not_to_where_the_program_runs)
{
    BlockDriverState *bs;
    put(images, "disk", "child beside\n");
    put(top, "beside", "another file of that name");
    ck_assert_int_eq(chdir(top), 0);
    assert_ok(bdrv_open(&bs, "images/disk", NULL, NULL));
    ck_assert_int_eq(bdrv_getlength(bs), 5);
    assert_ok(bdrv_close(bs));
    ck_assert_int_eq(chdir(images), 0);
    assert_ok(bdrv_open(&bs, "disk", NULL, NULL));
    ck_assert_int_eq(bdrv_getlength(bs), 5);
    assert_ok(bdrv_close(bs));
}
END_TEST

/* What a parent in a subdirectory names is relative to that, but confined to
 * the directory of the image that the user opened. */
START_TEST(a_chain_is_confined_to_the_directory_of_its_first_image)
{
    put(sub, "middle", "parent ../beside\n");
    assert_ok(open_naming("parent", "sub/middle", NULL));
    put(sub, "middle", "parent inner\n");
    assert_ok(open_naming("parent", "sub/middle", NULL));
    put(sub, "middle", "child ../../secret\n");
    assert_refused(open_naming("parent", "sub/middle", NULL));
}
END_TEST

START_TEST(what_an_allowed_parent_names_is_confined_as_well)
{
    char *other = host_path(top, "other");
    const char *const allowed[] = { other, NULL };
    ck_assert_int_eq(mkdir(other, 0700), 0);
    put(other, "parent", "child sibling\n");
    put(other, "sibling", "content");
    assert_ok(open_naming("parent", "../other/parent", allowed));
    put(other, "parent", "child ../secret\n");
    assert_refused(open_naming("parent", "../other/parent", allowed));
    free(other);
}
END_TEST

/* ------------------------------------------------------------- the callback */

/* What it was asked, and what it answers. */
static struct {
    int calls, answer;
    BdrvFileRole role;
    int writable, is_inside;
    char named_by[4096], name[4096], path[4096];
} asked;

static int may_open(void *opaque, const BdrvNamedFile *file)
{
    ck_assert_ptr_eq(opaque, &asked);
    ck_assert_uint_eq(file->struct_size, sizeof(*file));
    asked.calls++;
    asked.role = file->role;
    asked.writable = file->writable;
    asked.is_inside = file->is_inside;
    snprintf(asked.named_by, sizeof(asked.named_by), "%s", file->named_by);
    snprintf(asked.name, sizeof(asked.name), "%s", file->name);
    snprintf(asked.path, sizeof(asked.path), "%s", file->path);
    return asked.answer;
}

static int open_asking(const char *verb, const char *name, int answer)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .may_open = may_open,
                                .may_open_opaque = &asked };
    char text[4096];
    BlockDriverState *bs;
    memset(&asked, 0, sizeof(asked));
    asked.answer = answer;
    snprintf(text, sizeof(text), "%s %s\n", verb, name);
    put(images, "disk", text);
    int ret = bdrv_open(&bs, disk, NULL, &options);
    if (ret == 0) {
        assert_ok(bdrv_close(bs));
    }
    return ret;
}

START_TEST(the_callback_is_told_role_and_resolved_path)
{
    char *link = host_path(images, "link"), *inner = host_path(sub, "inner");
    char *secret = host_path(top, "secret");
    ck_assert_int_eq(symlink("sub/inner", link), 0);
    assert_ok(open_asking("child", "sub/../link", 0));
    ck_assert_int_eq(asked.calls, 1);
    ck_assert_int_eq(asked.role, BDRV_FILE_EXTENT);
    ck_assert_int_eq(asked.is_inside, 1);
    ck_assert_int_eq(asked.writable, 0);
    ck_assert_str_eq(asked.named_by, disk);
    ck_assert_str_eq(asked.name, "sub/../link");
    ck_assert_str_eq(asked.path, inner);
    assert_ok(open_asking("parent", "../secret", 0));
    ck_assert_int_eq(asked.role, BDRV_FILE_PARENT);
    ck_assert_int_eq(asked.is_inside, 0);
    ck_assert_str_eq(asked.path, secret);
    free(secret);
    free(inner);
    free(link);
}
END_TEST

START_TEST(the_callback_alone_decides)
{
    assert_ok(open_asking("child", "../secret", 0));
    assert_fails_saying(open_asking("child", "beside", -EPERM), -EPERM, "may_open");
    assert_fails(open_asking("parent", "beside", -EXDEV), -EXDEV);
    assert_fails_saying(open_asking("child", "beside", 2), -EPERM, "may_open");
}
END_TEST

START_TEST(the_callback_may_leave_it_at_the_usual)
{
    assert_ok(open_asking("child", "beside", BDRV_OPEN_AS_USUAL));
    assert_fails(open_asking("child", "../secret", BDRV_OPEN_AS_USUAL), -EPERM);
}
END_TEST

START_TEST(the_callback_is_not_asked_about_what_is_not_there)
{
    assert_fails(open_asking("child", "missing", 0), -ENOENT);
    ck_assert_int_eq(asked.calls, 0);
}
END_TEST

START_TEST(the_callback_cannot_allow_what_is_no_file)
{
    char *fifo = host_path(images, "fifo");
    ck_assert_int_eq(mkfifo(fifo, 0600), 0);
    assert_fails_saying(open_asking("child", "fifo", 0), -EINVAL, "FIFO");
    assert_fails_saying(open_asking("child", "/dev/null", 0), -EINVAL, "character device");
    free(fifo);
}
END_TEST

START_TEST(the_callback_is_asked_about_the_whole_chain)
{
    put(images, "middle", "child sub/inner\n");
    assert_ok(open_asking("parent", "middle", 0));
    ck_assert_int_eq(asked.calls, 2);
    ck_assert_int_eq(asked.role, BDRV_FILE_EXTENT);
    ck_assert_str_eq(asked.name, "sub/inner");
}
END_TEST

/* ------------------------------------------------------------ links swapped */

/* Opens an image that names this while the two names in images are exchanged;
 * asserts that nothing but the file of 5 bytes is ever opened. */
static void open_while_swapping(const char *name, const char *one, const char *other)
{
    enum { OPENS = 3000, MOST = 1000000 }; /* the swapper may be asleep on the wrong name */
    char *first = host_path(images, one), *second = host_path(images, other), text[256];
    int opened = 0;
    snprintf(text, sizeof(text), "child %s\n", name);
    put(images, "disk", text);
    HostSwapper *swapper = host_swapper_start(first, second);
    for (int i = 0; swapper && (i < OPENS || (!opened && i < MOST)); i++) {
        BlockDriverState *bs;
        int ret = bdrv_open(&bs, disk, "toy-names", NULL);
        if (ret == 0) {
            opened++;
            ck_assert_int_eq(bdrv_getlength(bs), 5);
            assert_ok(bdrv_close(bs));
        } else {
            ck_assert_msg(ret == -EPERM || ret == -ENOENT, "%d: %s", ret, bdrv_errmsg());
        }
    }
    if (swapper) {
        ck_assert_int_gt(host_swapper_stop(swapper), 0);
        ck_assert_int_gt(opened, 0);
    } else {
        suite_skipped("names cannot be exchanged in one step here");
    }
    free(second);
    free(first);
}

START_TEST(a_file_swapped_for_a_link_is_never_followed)
{
    char *link = host_path(images, "link");
    ck_assert_int_eq(symlink("../secret", link), 0);
    open_while_swapping("beside", "beside", "link");
    free(link);
}
END_TEST

START_TEST(a_directory_swapped_for_a_link_is_never_followed)
{
    char *other = host_path(top, "other"), *link = host_path(images, "link");
    ck_assert_int_eq(mkdir(other, 0700), 0);
    put(other, "file", "secret content");
    put(sub, "file", "five!");
    ck_assert_int_eq(symlink("../other", link), 0);
    open_while_swapping("sub/file", "sub", "link");
    free(link);
    free(other);
}
END_TEST

/* Even the directory of the image itself, which lies in one of somebody else: the
 * image that was opened there names nothing elsewhere. */
START_TEST(the_directory_of_the_image_swapped_for_a_link_is_never_followed)
{
    char *other = host_path(top, "other"), *link = host_path(top, "link");
    ck_assert_int_eq(mkdir(other, 0700), 0);
    put(other, "beside", "secret content");
    ck_assert_int_eq(symlink("other", link), 0);
    open_while_swapping("beside", "../images", "../link");
    free(link);
    free(other);
}
END_TEST

/* ------------------------------------------------------ without openat2(2) */

#ifdef SYS_openat2

/* From now on the kernel of this process does not know it. */
static void setup_older_kernel(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
    setup();
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

#endif

/* ---------------------------------------------------------------- creating */

static int create_naming(const char *name)
{
    char options[4096];
    snprintf(options, sizeof(options), "name=%s", name);
    BdrvCreateOptions create = { .struct_size = sizeof(create), .options = options };
    return bdrv_create(disk, "toy-names", &create);
}

START_TEST(files_are_created_where_they_could_be_opened)
{
    char *made = host_path(sub, "made");
    size_t size;
    assert_ok(create_naming("sub/made"));
    uint8_t *bytes = host_read_file(made, &size);
    ck_assert_uint_eq(size, 4);
    ck_assert_mem_eq(bytes, "made", 4);
    free(bytes);
    free(made);
}
END_TEST

START_TEST(nothing_is_created_or_emptied_outside)
{
    char *outward = host_path(images, "outward"), *dangling = host_path(images, "dangling");
    char *new = host_path(top, "new"), *secret = host_path(top, "secret");
    size_t size;
    ck_assert_int_eq(symlink("../secret", outward), 0);
    ck_assert_int_eq(symlink("../new", dangling), 0);
    assert_refused(create_naming("../new"));
    assert_refused(create_naming("../secret"));
    ck_assert_int_lt(create_naming("outward"), 0);
    ck_assert_int_lt(create_naming("dangling"), 0);
    ck_assert_int_eq(host_exists(new), 0);
    uint8_t *bytes = host_read_file(secret, &size);
    ck_assert_uint_eq(size, strlen("secret content"));
    free(bytes);
    free(secret);
    free(new);
    free(dangling);
    free(outward);
}
END_TEST

/* ------------------------------------------------------------------- suite */

Suite *test_suite(void)
{
    const TTest *const opening[] = {
        files_in_the_directory_of_the_image_and_below_are_opened,
        files_elsewhere_are_refused_by_name_and_with_the_way_out,
        a_directory_whose_name_begins_like_the_allowed_one_is_another,
        links_count_by_where_they_lead, only_regular_files_are_opened_wherever_they_are,
        allowed_directories_are_searched_too,
        what_does_not_exist_is_told_apart_from_what_is_forbidden,
        names_are_relative_to_the_image_not_to_where_the_program_runs,
        a_chain_is_confined_to_the_directory_of_its_first_image,
        what_an_allowed_parent_names_is_confined_as_well, NULL
    };
    const TTest *const creating[] = {
        files_are_created_where_they_could_be_opened,
        nothing_is_created_or_emptied_outside, NULL
    };
    const TTest *const asking[] = {
        the_callback_is_told_role_and_resolved_path, the_callback_alone_decides,
        the_callback_may_leave_it_at_the_usual,
        the_callback_is_not_asked_about_what_is_not_there,
        the_callback_cannot_allow_what_is_no_file,
        the_callback_is_asked_about_the_whole_chain, NULL
    };
    Suite *suite = suite_create("policy");
    suite_register(&names_driver, "toy-names");
    tcase_add_checked_fixture(suite_add_case(suite, "opening", opening, 30), setup, teardown);
    tcase_add_checked_fixture(suite_add_case(suite, "creating", creating, 30), setup, teardown);
    tcase_add_checked_fixture(suite_add_case(suite, "asking", asking, 30), setup, teardown);
    const TTest *const swapping[] = {
        a_file_swapped_for_a_link_is_never_followed,
        a_directory_swapped_for_a_link_is_never_followed,
        the_directory_of_the_image_swapped_for_a_link_is_never_followed, NULL
    };
    tcase_add_checked_fixture(suite_add_case(suite, "swapping", swapping, 60), setup, teardown);
#ifdef SYS_openat2 /* last: where tests do not fork, there is no way back */
    tcase_add_checked_fixture(suite_add_case(suite, "opening, older kernel", opening, 30),
                              setup_older_kernel, teardown);
    tcase_add_checked_fixture(suite_add_case(suite, "swapping, older kernel", swapping, 60),
                              setup_older_kernel, teardown);
#endif
    return suite;
}
