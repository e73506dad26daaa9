/* SPDX-License-Identifier: MIT */
/*
 * t-sandbox.c - what a process can still do after tools/sandbox.c has taken from it
 * what it does not need.  Each test sandboxes a child process that then misbehaves.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../tools/sandbox.h"
#include "host.h"
#include "suite.h"

/* top/inside/file, top/outside/secret */
static char *top, *inside, *outside, *file, *secret;
static int open_before; /* file */

static void setup(void)
{
    top = host_directory_new();
    inside = host_path(top, "inside");
    outside = host_path(top, "outside");
    file = host_path(inside, "file");
    secret = host_path(outside, "secret");
    ck_assert_int_eq(mkdir(inside, 0700), 0);
    ck_assert_int_eq(mkdir(outside, 0700), 0);
    host_write_file(file, "content", 7);
    host_write_file(secret, "content", 7);
    open_before = open(file, O_RDONLY);
    ck_assert_int_ge(open_before, 0);
}

static void teardown(void)
{
    close(open_before);
    free(secret);
    free(file);
    free(outside);
    free(inside);
    host_directory_remove(top);
}

/* What the child tries; not 0 if it could. */
typedef int AttemptFn(void);

/* Whether a process could that was sandboxed to the paths; what it could do of the
 * sandbox goes to *done. */
static int could(AttemptFn *attempt, const SandboxPath *paths, size_t count, int *done)
{
    int status, channel[2];
    pid_t child;
    ck_assert_int_eq(pipe(channel), 0);
    child = fork();
    if (child == 0) {
        int had = sandbox_enter(paths, count);
        if (write(channel[1], &had, sizeof(had)) != sizeof(had)) {
            _exit(2);
        }
        _exit(attempt() != 0);
    }
    ck_assert_int_eq(read(channel[0], done, sizeof(*done)), sizeof(*done));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) <= 1, "status %d", status);
    close(channel[0]);
    close(channel[1]);
    return WEXITSTATUS(status);
}

/* It can without a sandbox, and (where the host has the part that forbids it) not
 * with one. */
static void assert_forbidden(int part, AttemptFn *attempt, const SandboxPath *paths,
                             size_t count)
{
    int done;
    pid_t child = fork();
    int status;
    if (child == 0) {
        _exit(attempt() != 0);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 1, "cannot be done at all");
    int was_possible = could(attempt, paths, count, &done);
    ck_assert_msg(!was_possible || !(done & part), "could, with %d", done);
}

/* ---------------------------------------------------------------- attempts */

static int opens(const char *path, int flags)
{
    int fd = open(path, flags, 0600);
    return fd >= 0;
}

static int reads_secret(void) { return opens(secret, O_RDONLY); }
static int writes_secret(void) { return opens(secret, O_WRONLY); }
static int reads_file(void) { return opens(file, O_RDONLY); }
static int writes_file(void) { return opens(file, O_WRONLY); }
static int truncates_file(void) { return truncate(file, 1) == 0; }
static int reads_passwd(void) { return opens("/etc/passwd", O_RDONLY); }

static int makes_outside(void)
{
    char *new = host_path(outside, "new");
    return opens(new, O_RDWR | O_CREAT);
}

static int removes_secret(void)
{
    char *other = host_path(outside, "other");
    return link(secret, other) == 0 || unlink(secret) == 0;
}

static int moves_secret_inside(void)
{
    char *taken = host_path(inside, "taken");
    int moved = rename(secret, taken) == 0;
    return moved && rename(taken, secret) == 0;
}

/* As a conversion does at its end, out of a directory of its own. */
static int replaces_file(void)
{
    char *made = host_path(inside, "made"), *new = host_path(made, "new");
    return opens(new, O_RDWR | O_CREAT) && rename(new, file) == 0 && rmdir(made) == 0 &&
           unlink(file) == 0;
}

static int runs_a_program(void)
{
    execl("/bin/sh", "sh", "-c", "exit 1", (char *)NULL);
    return 0;
}

static int connects(void) { return socket(AF_INET, SOCK_STREAM, 0) >= 0; }
static int connects_locally(void) { return socket(AF_UNIX, SOCK_STREAM, 0) >= 0; }
static int touches_its_parent(void) { return kill(getppid(), 0) == 0; }

/* A sandboxed process could have the kernel send any signal, SIGKILL too, to any process
 * of its user: as the owner of a pipe, when there is something to read. */
static int has_its_parent_signalled(void)
{
    struct f_owner_ex owner = { F_OWNER_PID, getppid() };
    return fcntl(open_before, F_SETOWN, getppid()) == 0 ||
           fcntl(open_before, F_SETOWN_EX, &owner) == 0 ||
           fcntl(open_before, F_SETSIG, SIGKILL) == 0;
}

static int forks(void)
{
    pid_t child = fork();
    if (child == 0) {
        _exit(0);
    }
    return child > 0;
}

static int makes_code(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED;
}

static int makes_code_later(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

/* ------------------------------------------------------------------- tests */

START_TEST(without_paths_nothing_can_be_opened)
{
    assert_forbidden(SANDBOX_FILES | SANDBOX_CALLS, reads_passwd, NULL, 0);
    assert_forbidden(SANDBOX_FILES | SANDBOX_CALLS, reads_secret, NULL, 0);
    assert_forbidden(SANDBOX_FILES | SANDBOX_CALLS, writes_secret, NULL, 0);
    assert_forbidden(SANDBOX_FILES | SANDBOX_CALLS, makes_outside, NULL, 0);
    assert_forbidden(SANDBOX_FILES | SANDBOX_CALLS, moves_secret_inside, NULL, 0);
}
END_TEST

START_TEST(files_outside_the_paths_cannot_be_touched)
{
    const SandboxPath paths[] = { { inside, 1 }, { "/nonexistent", 1 } };
    assert_forbidden(SANDBOX_FILES, reads_passwd, paths, 2);
    assert_forbidden(SANDBOX_FILES, reads_secret, paths, 2);
    assert_forbidden(SANDBOX_FILES, writes_secret, paths, 2);
    assert_forbidden(SANDBOX_FILES, makes_outside, paths, 2);
    assert_forbidden(SANDBOX_FILES, moves_secret_inside, paths, 2);
    assert_forbidden(SANDBOX_FILES, removes_secret, paths, 2);
}
END_TEST

/* One path that could not be followed (a link to itself, a name that is too long, a
 * directory of others) left the process without any limits to files. */
START_TEST(a_path_that_cannot_be_followed_lifts_nothing)
{
    char *loop = host_path(inside, "loop"), *closed = host_path(loop, "x");
    const SandboxPath paths[] = { { inside, 1 }, { closed, 1 } };
    int can, without, done;
    ck_assert_int_eq(symlink("loop", loop), 0);
    can = could(reads_secret, paths, 1, &without); /* which is none under a sanitizer */
    ck_assert_int_eq(could(reads_secret, paths, 2, &done), can);
    ck_assert_int_eq(done, without);
    ck_assert_int_eq(can, !(done & SANDBOX_FILES));
    ck_assert_int_eq(could(writes_file, paths, 2, &done), 1);
    free(closed);
    free(loop);
}
END_TEST

START_TEST(paths_to_read_cannot_be_written)
{
    const SandboxPath paths[] = { { inside, 0 } };
    assert_forbidden(SANDBOX_FILES, writes_file, paths, 1);
    assert_forbidden(SANDBOX_FILES, truncates_file, paths, 1);
}
END_TEST

START_TEST(what_is_listed_can_be_used)
{
    const SandboxPath to_read[] = { { inside, 0 } }, alone[] = { { file, 0 } };
    const SandboxPath to_write[] = { { inside, 1 } }, one[] = { { file, 1 } };
    char *made = host_path(inside, "made");
    int done;
    ck_assert_int_eq(mkdir(made, 0700), 0);
    ck_assert_int_eq(could(reads_file, to_read, 1, &done), 1);
    ck_assert_int_eq(could(reads_file, alone, 1, &done), 1);
    ck_assert_int_eq(could(writes_file, one, 1, &done), 1);
    ck_assert_int_eq(could(writes_file, to_write, 1, &done), 1);
    ck_assert_int_eq(could(truncates_file, to_write, 1, &done), 1);
    ck_assert_int_eq(could(replaces_file, to_write, 1, &done), 1);
    free(made);
}
END_TEST

START_TEST(no_program_connection_process_or_code)
{
    static AttemptFn *const attempts[] = {
        runs_a_program, connects, connects_locally, touches_its_parent,
        has_its_parent_signalled, forks, makes_code, makes_code_later,
    };
    const SandboxPath paths[] = { { "/", 1 } };
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        assert_forbidden(SANDBOX_CALLS, attempts[i], NULL, 0);
        assert_forbidden(SANDBOX_CALLS, attempts[i], paths, 1);
    }
}
END_TEST

static void *add_one(void *number)
{
    ++*(int *)number;
    return NULL;
}

static int works(void)
{
    int fd = dup(STDOUT_FILENO), number = 0;
    pthread_t thread;
    void *memory = malloc(64 * 1024 * 1024);
    return fd >= 0 && memory && fcntl(fd, F_GETFL) >= 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 &&
           fcntl(fd, F_DUPFD_CLOEXEC, 0) >= 0 &&
           pthread_create(&thread, NULL, add_one, &number) == 0 &&
           pthread_join(thread, NULL) == 0 && number == 1 && sysconf(_SC_NPROCESSORS_ONLN) > 0 &&
           raise(0) == 0;
}

START_TEST(memory_threads_and_open_files_stay)
{
    int done;
    ck_assert_int_eq(could(works, NULL, 0, &done), 1);
}
END_TEST

static int asks_for_more(void)
{
    const SandboxPath all[] = { { "/", 1 } };
    return sandbox_enter(all, 1) >= 0 && reads_secret();
}

START_TEST(a_second_sandbox_gives_nothing_back)
{
    assert_forbidden(SANDBOX_FILES | SANDBOX_CALLS, asks_for_more, NULL, 0);
}
END_TEST

/* Which parts this host and this build have. */
static int parts(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        _exit(sandbox_enter(NULL, 0));
    }
    return child > 0 && waitpid(child, &status, 0) == child ? WEXITSTATUS(status) : 0;
}

static int gives_up_more(void)
{
    return sandbox_enter(NULL, 0) >= 0 && reads_file();
}

START_TEST(what_was_kept_can_be_given_up_later)
{
    const SandboxPath paths[] = { { inside, 1 } };
    int done;
    ck_assert_int_eq(could(reads_file, paths, 1, &done), 1);
    ck_assert_int_eq(could(gives_up_more, paths, 1, &done) && done, 0);
}
END_TEST

/* Seen by its error: Landlock says something else. */
static int truncates_after_giving_up(void)
{
    return sandbox_enter(NULL, 0) < 0 || truncate(file, 1) == 0 || errno != ENOSYS;
}

static int forks_after_giving_up(void) { return sandbox_enter(NULL, 0) < 0 || forks(); }
static int makes_code_after_giving_up(void) { return sandbox_enter(NULL, 0) < 0 || makes_code(); }
static int works_after_giving_up(void) { return sandbox_enter(NULL, 0) >= 0 && works(); }
static int works_after_asking_again(void)
{
    const SandboxPath paths[] = { { inside, 1 } };
    return sandbox_enter(paths, 1) >= 0 && reads_file() && works();
}

START_TEST(the_second_filter_adds_to_the_first)
{
    static AttemptFn *const attempts[] = {
        truncates_after_giving_up, forks_after_giving_up, makes_code_after_giving_up,
    };
    const SandboxPath paths[] = { { inside, 1 } };
    int done;
    for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
        int was_possible = could(attempts[i], paths, 1, &done);
        ck_assert_msg(!was_possible || !(done & SANDBOX_CALLS), "attempt %zu", i);
    }
    ck_assert_int_eq(could(works_after_giving_up, paths, 1, &done), 1);
    ck_assert_int_eq(could(works_after_asking_again, paths, 1, &done), 1);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        without_paths_nothing_can_be_opened, files_outside_the_paths_cannot_be_touched,
        a_path_that_cannot_be_followed_lifts_nothing, paths_to_read_cannot_be_written,
        what_is_listed_can_be_used,
        no_program_connection_process_or_code, memory_threads_and_open_files_stay,
        a_second_sandbox_gives_nothing_back, what_was_kept_can_be_given_up_later,
        the_second_filter_adds_to_the_first, NULL
    };
    Suite *suite = suite_create("sandbox");
    if (parts() != (SANDBOX_FILES | SANDBOX_CALLS)) {
        suite_skipped("this build or host has not all of the sandbox");
    }
    tcase_add_checked_fixture(suite_add_case(suite, "sandbox", tests, 30), setup, teardown);
    return suite;
}
