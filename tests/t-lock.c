/* SPDX-License-Identifier: MIT */
/*
 * t-lock.c - who may have a file open beside whom.
 *
 * Two handles of one process are two parties, as two programs would be; the
 * places of QEMU's locks are checked with plain fcntl(2).
 */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"
#include "pattern.h"
#include "suite.h"

#ifdef F_OFD_SETLK

static char *directory;
static char *path;

static void setup(void)
{
    directory = host_directory_new();
    path = host_path(directory, "disk");
    host_write_file(path, "some content", 12);
}

static void teardown(void)
{
    free(path);
    host_directory_remove(directory);
}

static int try_open(unsigned flags, BlockDriverState **bs)
{
    BdrvOpenOptions options = { .struct_size = sizeof(options), .flags = flags };
    return bdrv_open(bs, path, "raw", &options);
}

/* How opening goes beside a handle opened with the flags first; 0 or -errno. */
static int open_beside(unsigned first, unsigned second)
{
    BlockDriverState *holder, *bs;
    assert_ok(try_open(first, &holder));
    int ret = try_open(second, &bs);
    if (ret == 0) {
        assert_ok(bdrv_close(bs));
    }
    assert_ok(bdrv_close(holder));
    return ret;
}

START_TEST(a_second_writer_is_refused_with_a_way_out)
{
    assert_fails_saying(open_beside(BDRV_O_RDWR, BDRV_O_RDWR), -EBUSY, "another writer");
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "BDRV_O_NO_LOCK"));
}
END_TEST

START_TEST(readers_are_let_in_beside_readers_and_writers)
{
    assert_ok(open_beside(0, 0));
    assert_ok(open_beside(0, BDRV_O_RDWR));
    assert_ok(open_beside(BDRV_O_RDWR, 0));
    assert_ok(open_beside(BDRV_O_RDWR, BDRV_O_SNAPSHOT));
}
END_TEST

START_TEST(who_wants_it_unchanged_hinders_writers_only)
{
    assert_fails_saying(open_beside(BDRV_O_RDWR, BDRV_O_UNCHANGED), -EBUSY, "another writer");
    assert_fails_saying(open_beside(BDRV_O_UNCHANGED, BDRV_O_RDWR), -EBUSY, "wants it unchanged");
    assert_ok(open_beside(BDRV_O_UNCHANGED, BDRV_O_UNCHANGED));
    assert_ok(open_beside(BDRV_O_UNCHANGED, 0));
    assert_ok(open_beside(0, BDRV_O_UNCHANGED));
}
END_TEST

START_TEST(closing_lets_the_next_writer_in)
{
    BlockDriverState *bs;
    for (int i = 0; i < 3; i++) {
        assert_ok(try_open(BDRV_O_RDWR, &bs));
        assert_ok(bdrv_close(bs));
    }
}
END_TEST

/* Classical POSIX locks are dropped when any descriptor of the file is closed. */
START_TEST(closing_one_handle_does_not_drop_the_locks_of_another)
{
    BlockDriverState *writer, *reader, *bs;
    assert_ok(try_open(BDRV_O_RDWR, &writer));
    assert_ok(try_open(0, &reader));
    assert_ok(bdrv_close(reader));
    assert_fails(try_open(BDRV_O_RDWR, &bs), -EBUSY);
    assert_ok(bdrv_close(writer));
}
END_TEST

START_TEST(without_locks_nobody_is_asked_and_nobody_hindered)
{
    assert_ok(open_beside(BDRV_O_RDWR, BDRV_O_RDWR | BDRV_O_NO_LOCK));
    assert_ok(open_beside(BDRV_O_RDWR | BDRV_O_NO_LOCK, BDRV_O_RDWR));
}
END_TEST

START_TEST(a_file_in_use_is_not_emptied_by_create)
{
    BdrvCreateOptions create = { .struct_size = sizeof(create), .size = 1000 };
    BlockDriverState *writer;
    size_t size;
    assert_ok(try_open(BDRV_O_RDWR, &writer));
    assert_fails(bdrv_create(path, "raw", &create), -EBUSY);
    assert_ok(bdrv_close(writer));
    uint8_t *bytes = host_read_file(path, &size);
    ck_assert_uint_eq(size, 12);
    free(bytes);
}
END_TEST

/* -------------------------------------------------- the places of the locks */

static int party; /* another program's descriptor */

/* Not 0 if somebody but the party holds the byte. */
static int is_held(off_t byte)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte,
                          .l_len = 1 };
    ck_assert_int_eq(fcntl(party, F_OFD_GETLK, &lock), 0);
    return lock.l_type != F_UNLCK;
}

static void assert_held(unsigned flags, const off_t *bytes, int count)
{
    BlockDriverState *bs;
    party = open(path, O_RDWR | O_CLOEXEC);
    assert_ok(try_open(flags, &bs));
    for (off_t byte = 0; byte < 512; byte++) {
        int wanted = 0;
        for (int i = 0; i < count; i++) {
            wanted |= bytes[i] == byte;
        }
        ck_assert_msg(is_held(byte) == wanted, "byte %d", (int)byte);
    }
    assert_ok(bdrv_close(bs));
    close(party);
}

START_TEST(a_reader_and_a_writer_hold_the_bytes_that_qemu_expects)
{
    static const off_t reader[] = { 100 }, keeper[] = { 100, 201, 203 };
    static const off_t writer[] = { 100, 101, 103, 201, 203 };
    assert_held(0, reader, 1);
    assert_held(BDRV_O_UNCHANGED, keeper, 3);
    assert_held(BDRV_O_RDWR, writer, 5);
    assert_held(BDRV_O_RDWR | BDRV_O_NO_LOCK, NULL, 0);
}
END_TEST

/* How opening goes while another program holds the byte; 0 or -errno. */
static int open_against(off_t byte, short type, unsigned flags)
{
    struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };
    BlockDriverState *bs;
    party = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_eq(fcntl(party, F_OFD_SETLK, &lock), 0);
    int ret = try_open(flags, &bs);
    if (ret == 0) {
        assert_ok(bdrv_close(bs));
    }
    close(party);
    return ret;
}

START_TEST(what_another_program_holds_decides_who_gets_in)
{
    assert_ok(open_against(100, F_RDLCK, BDRV_O_RDWR));
    assert_fails_saying(open_against(101, F_RDLCK, BDRV_O_RDWR), -EBUSY, "another writer");
    assert_fails_saying(open_against(103, F_RDLCK, BDRV_O_RDWR), -EBUSY, "another writer");
    assert_ok(open_against(101, F_RDLCK, 0));
    assert_fails_saying(open_against(201, F_RDLCK, BDRV_O_RDWR), -EBUSY, "unchanged");
    assert_fails_saying(open_against(203, F_RDLCK, BDRV_O_RDWR), -EBUSY, "unchanged");
    assert_ok(open_against(201, F_RDLCK, 0));
    assert_fails_saying(open_against(200, F_RDLCK, 0), -EBUSY, "in use");
    ck_assert_ptr_nonnull(strstr(bdrv_errmsg(), "tools: -U"));
    assert_fails_saying(open_against(100, F_WRLCK, 0), -EBUSY, "is locked");
}
END_TEST

/* Of a classical lock the host says whose it is. */
START_TEST(the_holder_is_named_where_the_host_tells_it)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 101, .l_len = 1 };
    int ready[2], done[2];
    char byte = 0, holder[64];
    BlockDriverState *bs;
    ck_assert_int_eq(pipe(ready), 0);
    ck_assert_int_eq(pipe(done), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR);
        byte = fcntl(fd, F_SETLK, &lock) == 0;
        _exit(write(ready[1], &byte, 1) != 1 || close(done[1]) < 0 || read(done[0], &byte, 1) != 0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    snprintf(holder, sizeof(holder), "process %ld", (long)child);
    assert_fails_saying(try_open(BDRV_O_RDWR, &bs), -EBUSY, holder);
    close(done[1]);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    close(done[0]);
    close(ready[0]);
    close(ready[1]);
}
END_TEST

#endif

Suite *test_suite(void)
{
    Suite *suite = suite_create("lock");
#ifdef F_OFD_SETLK
    const TTest *const parties[] = {
        a_second_writer_is_refused_with_a_way_out,
        readers_are_let_in_beside_readers_and_writers,
        who_wants_it_unchanged_hinders_writers_only, closing_lets_the_next_writer_in,
        closing_one_handle_does_not_drop_the_locks_of_another,
        without_locks_nobody_is_asked_and_nobody_hindered,
        a_file_in_use_is_not_emptied_by_create, NULL
    };
    const TTest *const places[] = {
        a_reader_and_a_writer_hold_the_bytes_that_qemu_expects,
        what_another_program_holds_decides_who_gets_in,
        the_holder_is_named_where_the_host_tells_it, NULL
    };
    tcase_add_checked_fixture(suite_add_case(suite, "parties", parties, 30), setup, teardown);
    tcase_add_checked_fixture(suite_add_case(suite, "places", places, 30), setup, teardown);
#else
    suite_skipped("this system has no OFD locks");
#endif
    return suite;
}
