/* SPDX-License-Identifier: MIT */
/*
 * t-file-replace.c - another content for a whole file in one step, and space
 * set aside: bdrv_replace() and bdrv_allocate() on host files.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bdrv-driver.h"
#include "host.h"
#include "suite.h"

enum { MIB = 1024 * 1024 };

static char *directory;
static char *path;
static BlockDriverState *file;

static BlockDriverState *open_file(unsigned flags)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    BlockDriverState *bs;
    assert_ok(bdrv_open(&bs, path, "file", &options));
    return bs;
}

static void setup(void)
{
    directory = host_directory_new();
    path = host_path(directory, "text");
    host_write_file(path, "old text", 8);
    file = open_file(BDRV_O_RDWR);
}

static void teardown(void)
{
    bdrv_close(file);
    free(path);
    host_directory_remove(directory);
}

static void assert_content(const char *wanted)
{
    size_t size;
    uint8_t *bytes = host_read_file(path, &size);
    ck_assert_uint_eq(size, strlen(wanted));
    ck_assert_mem_eq(bytes, wanted, size);
    free(bytes);
}

static int files_in(const char *folder)
{
    DIR *list = opendir(folder);
    int count = -2; /* . and .. */
    ck_assert_ptr_nonnull(list);
    while (readdir(list) != NULL) {
        count++;
    }
    closedir(list);
    return count;
}

START_TEST(the_new_content_is_in_the_file_and_in_the_node)
{
    char text[16] = "";
    assert_ok(bdrv_replace(file, "a longer new text", 17));
    ck_assert_int_eq(bdrv_getlength(file), 17);
    assert_content("a longer new text");
    assert_ok(bdrv_replace(file, "short", 5));
    ck_assert_int_eq(bdrv_getlength(file), 5);
    assert_ok(bdrv_pread(file, text, 5, 0));
    ck_assert_str_eq(text, "short");
    assert_ok(bdrv_pwrite(file, "S", 1, 0)); /* the node is on the new file */
    assert_content("Short");
    ck_assert_int_eq(files_in(directory), 1);
}
END_TEST

/* Whoever reads the old file goes on reading the old file: it is not touched. */
START_TEST(the_old_file_stays_as_it_was_for_who_has_it_open)
{
    BlockDriverState *reader = open_file(0);
    char text[9] = "";
    assert_ok(bdrv_replace(file, "new", 3));
    assert_ok(bdrv_pread(reader, text, 8, 0));
    ck_assert_str_eq(text, "old text");
    assert_ok(bdrv_close(reader));
}
END_TEST

START_TEST(mode_and_lock_are_those_of_the_old_file)
{
    BdrvOpenOptions rw = { .struct_size = sizeof(rw), .flags = BDRV_O_RDWR };
    BlockDriverState *other;
    struct stat st;
    ck_assert_int_eq(chmod(path, 0604), 0);
    assert_ok(bdrv_replace(file, "new", 3));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0604);
    assert_fails(bdrv_open(&other, path, "file", &rw), -EBUSY);
    assert_ok(bdrv_close(file));
    file = open_file(BDRV_O_RDWR);
}
END_TEST

/* No name was left for the new file beside one whose name is as long as can be. */
START_TEST(a_file_of_the_longest_name_can_be_replaced)
{
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    assert_ok(bdrv_close(file));
    free(path);
    path = host_path(directory, name);
    host_write_file(path, "old", 3);
    file = open_file(BDRV_O_RDWR);
    assert_ok(bdrv_replace(file, "new", 3));
    assert_content("new");
}
END_TEST

START_TEST(a_link_leads_to_the_new_file_too)
{
    char *name = host_path(directory, "link");
    BdrvOpenOptions rw = { .struct_size = sizeof(rw), .flags = BDRV_O_RDWR };
    struct stat st;
    assert_ok(bdrv_close(file));
    ck_assert_int_eq(symlink("text", name), 0);
    assert_ok(bdrv_open(&file, name, "file", &rw));
    assert_ok(bdrv_replace(file, "new", 3));
    assert_content("new");
    ck_assert_int_eq(lstat(name, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    free(name);
}
END_TEST

START_TEST(what_cannot_be_replaced_is_left_alone)
{
    char *name = host_path(directory, "second name");
    BlockDriverState *reader = open_file(0);
    assert_fails(bdrv_replace(reader, "new", 3), -EROFS);
    assert_ok(bdrv_close(reader));
    ck_assert_int_eq(link(path, name), 0);
    assert_fails_saying(bdrv_replace(file, "new", 3), -ENOTSUP, "several names");
    ck_assert_int_eq(unlink(path), 0);
    host_write_file(path, "another", 7);
    assert_fails_saying(bdrv_replace(file, "new", 3), -EBUSY, "another file");
    assert_content("another");
    ck_assert_int_eq(files_in(directory), 2);
    free(name);
}
END_TEST

typedef struct Reader {
    atomic_int stop;
    int result;
} Reader;

static void *read_on(void *opaque)
{
    Reader *reader = opaque;
    char c;
    while (!atomic_load(&reader->stop) && reader->result == 0) {
        reader->result = bdrv_pread(file, &c, 1, 0);
        if (reader->result == 0) {
            reader->result = c == 'o' || c == 'n' ? 0 : -EILSEQ;
        }
        if (reader->result == 0) {
            reader->result = bdrv_flush(file);
        }
    }
    return NULL;
}

START_TEST(other_threads_use_the_node_meanwhile)
{
    Reader reader = { 0 };
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, read_on, &reader), 0);
    for (int i = 0; i < 100; i++) {
        assert_ok(bdrv_replace(file, i % 2 ? "old" : "new", 3));
    }
    atomic_store(&reader.stop, 1);
    pthread_join(thread, NULL);
    ck_assert_int_eq(reader.result, 0);
}
END_TEST

/* The directory is exchanged for a link to another one, which has a file of that name
 * too. */
START_TEST(nothing_is_replaced_or_made_in_another_directory)
{
    enum { TIMES = 500, MOST = 1000000 }; /* the swapper may be asleep on the wrong name */
    char *mine = host_path(directory, "mine"), *link = host_path(directory, "link");
    char *other = host_path(directory, "other"), *victim = host_path(other, "text");
    size_t size;
    int replaced = 0;
    ck_assert_int_eq(mkdir(mine, 0700), 0);
    ck_assert_int_eq(mkdir(other, 0700), 0);
    ck_assert_int_eq(symlink("other", link), 0);
    host_write_file(victim, "of somebody else", 16);
    assert_ok(bdrv_close(file));
    free(path);
    path = host_path(mine, "text");
    host_write_file(path, "old text", 8);
    file = open_file(BDRV_O_RDWR);
    HostSwapper *swapper = host_swapper_start(mine, link);
    for (int i = 0; swapper && (i < TIMES || (!replaced && i < MOST)); i++) {
        replaced += bdrv_replace(file, "new", 3) == 0;
    }
    if (swapper) {
        ck_assert_int_gt(host_swapper_stop(swapper), 0);
    } else {
        suite_skipped("names cannot be exchanged in one step here");
    }
    uint8_t *bytes = host_read_file(victim, &size);
    ck_assert_uint_eq(size, 16);
    ck_assert_mem_eq(bytes, "of somebody else", 16);
    ck_assert_int_eq(files_in(other), 1);
    ck_assert_msg(!swapper || replaced > 0, "never replaced");
    free(bytes);
    free(victim);
    free(other);
    free(link);
    free(mine);
}
END_TEST

START_TEST(storage_that_cannot_replace_says_so)
{
    BdrvOpenOptions rw = { .struct_size = sizeof(rw), .flags = BDRV_O_RDWR };
    BlockDriverState *memory;
    assert_ok(bdrv_open(&memory, "memory", "mem", &rw));
    assert_fails(bdrv_replace(memory, "new", 3), -ENOTSUP);
    assert_fails(bdrv_allocate(memory, 0, MIB), -ENOTSUP);
    assert_ok(bdrv_close(memory));
}
END_TEST

START_TEST(allocated_space_is_there_and_the_content_stays)
{
    uint8_t bytes[16];
    struct stat st;
    int result = bdrv_allocate(file, 0, MIB);
    if (result == -ENOTSUP) {
        suite_skipped("this file system cannot set space aside");
        return;
    }
    assert_ok(result);
    ck_assert_int_eq(bdrv_getlength(file), MIB);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_ge(st.st_blocks * 512, MIB);
    assert_ok(bdrv_pread(file, bytes, 16, 0));
    ck_assert_mem_eq(bytes, "old text\0\0\0\0\0\0\0\0", 16);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        the_new_content_is_in_the_file_and_in_the_node,
        the_old_file_stays_as_it_was_for_who_has_it_open,
        mode_and_lock_are_those_of_the_old_file, a_link_leads_to_the_new_file_too,
        a_file_of_the_longest_name_can_be_replaced,
        what_cannot_be_replaced_is_left_alone, other_threads_use_the_node_meanwhile,
        nothing_is_replaced_or_made_in_another_directory,
        storage_that_cannot_replace_says_so,
        allocated_space_is_there_and_the_content_stays, NULL
    };
    Suite *suite = suite_create("file-replace");
    tcase_add_checked_fixture(suite_add_case(suite, "file", tests, 20), setup, teardown);
    return suite;
}
