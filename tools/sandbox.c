/* SPDX-License-Identifier: MIT */
/*
 * sandbox.c - a process that parses what strangers have made keeps no right that
 * it does not need, so that a mistake in the parsing gives away little.
 *
 *     Linux     Landlock: which files can be opened (from 5.13 on)
 *               seccomp: which system calls there are (where the machine is known)
 *     OpenBSD   unveil(2) and pledge(2)
 *     others    nothing
 *
 * A system call that is not known here fails as if the kernel did not know it,
 * which libraries are used to; it does not end the process.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Sanitizers do things of their own, at the end above all. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define UNDER_SANITIZER
#endif
#endif

#if defined(UNDER_SANITIZER)

int sandbox_enter(const SandboxPath *paths, size_t count)
{
    (void)paths;
    (void)count;
    return 0;
}

#elif defined(__linux__)

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

/* ---------------------------------------------------------------- Landlock
 *
 * The numbers are the kernel's (Documentation/userspace-api/landlock.rst), written
 * here because headers are often older than the kernel that runs. */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

enum {
    FS_WRITE_FILE = 1 << 1,
    FS_READ_FILE = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_REFER = 1 << 13,    /* moving between directories; version 2 */
    FS_TRUNCATE = 1 << 14, /* version 3 */
    FS_VERSION_1 = (1 << 13) - 1,
    FS_FOR_FILES = FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE,
    FS_TO_READ = FS_READ_FILE | FS_READ_DIR,
    FS_TO_MOVE = FS_READ_DIR | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_REG | FS_REFER,
    FS_TO_WRITE = FS_TO_MOVE | FS_MAKE_DIR | FS_READ_FILE | FS_WRITE_FILE | FS_TRUNCATE,
    NET_BIND_AND_CONNECT = 3,    /* TCP; version 4 */
    SCOPE_SOCKETS_AND_SIGNALS = 3, /* to others; version 6 */
    GET_VERSION = 1,
    RULE_PATH_BENEATH = 1
};

typedef struct Ruleset {
    uint64_t files, net, scope;
} Ruleset;

typedef struct PathRule {
    uint64_t allowed;
    int32_t fd;
} PathRule;

/* What the kernel's version can forbid; *size is how much of it that knows. */
static Ruleset handled_by(long version, size_t *size)
{
    Ruleset rules = {.files = FS_VERSION_1};

    rules.files |= version >= 2 ? FS_REFER : 0;
    rules.files |= version >= 3 ? FS_TRUNCATE : 0;
    rules.net = version >= 4 ? NET_BIND_AND_CONNECT : 0;
    rules.scope = version >= 6 ? SCOPE_SOCKETS_AND_SIGNALS : 0;
    *size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    return rules;
}

static uint64_t rights_of(SandboxAccess access)
{
    switch (access) {
    case SANDBOX_READ:
        return FS_TO_READ;
    case SANDBOX_WRITE:
        return FS_TO_WRITE;
    case SANDBOX_MOVE:
        return FS_TO_MOVE;
    }
    return 0;
}

/* The kernel copies 12 bytes: the structure is packed there. */
static int add_path(int ruleset, const SandboxPath *path, uint64_t handled)
{
    PathRule rule = {.allowed = rights_of(path->access)};
    struct stat st;
    int result = -1;

    rule.fd = open(path->path, O_PATH | O_CLOEXEC);
    if (rule.fd < 0) {
        /* Where we cannot go now, we need no right to go. */
        return stat(path->path, &st) < 0 ? 0 : -1;
    }
    if (fstat(rule.fd, &st) == 0) {
        rule.allowed &= handled & (S_ISDIR(st.st_mode) ? ~(uint64_t)0 : FS_FOR_FILES);
        result = (int)syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
    }
    close(rule.fd);
    return result;
}

static int restrict_files(const SandboxPath *paths, size_t count)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, GET_VERSION);
    int result = 0, writes = 0, ruleset;
    size_t size;
    Ruleset rules;

    for (size_t i = 0; i < count; i++) {
        writes |= paths[i].access != SANDBOX_READ;
    }
    if (version < 1 || (version == 1 && writes)) {
        return 0; /* version 1 forbids moving a file to another directory, always */
    }
    rules = handled_by(version, &size);
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, size, 0);
    if (ruleset < 0) {
        return 0;
    }
    for (size_t i = 0; result == 0 && i < count; i++) {
        result = add_path(ruleset, &paths[i], rules.files);
    }
    if (result == 0) {
        result = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
    }
    close(ruleset);
    return result == 0 ? SANDBOX_FILES : 0;
}

/* ----------------------------------------------------------------- seccomp */

#if defined(__x86_64__) && !defined(__ILP32__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE AUDIT_ARCH_RISCV64
#endif

#ifdef MACHINE

static const uint32_t always[] = {
    SYS_pread64, SYS_pwrite64, SYS_futex, SYS_read, SYS_write, SYS_lseek, SYS_fallocate,
    SYS_madvise, SYS_munmap, SYS_brk, SYS_mremap, SYS_preadv, SYS_pwritev, SYS_preadv2,
    SYS_pwritev2, SYS_readv, SYS_writev, SYS_fsync, SYS_fdatasync, SYS_sync_file_range,
    SYS_ftruncate, SYS_fadvise64, SYS_copy_file_range, SYS_fstat, SYS_newfstatat,
    SYS_statx, SYS_fstatfs, SYS_statfs, SYS_readlinkat, SYS_faccessat, SYS_getcwd, SYS_close,
    SYS_dup, SYS_dup3, SYS_flock, SYS_getdents64, SYS_fchmod, SYS_fchown, SYS_ppoll,
    SYS_pselect6, SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep,
    SYS_gettimeofday, SYS_getrandom, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn,
    SYS_sigaltstack, SYS_restart_syscall, SYS_getpid, SYS_gettid, SYS_getuid,
    SYS_geteuid, SYS_getgid, SYS_getegid, SYS_sched_yield, SYS_sched_getaffinity,
    SYS_set_robust_list, SYS_rseq, SYS_membarrier, SYS_sysinfo, SYS_uname, SYS_umask,
    SYS_exit, SYS_exit_group, SYS_getrusage,
#ifdef SYS_faccessat2
    SYS_faccessat2,
#endif
#ifdef __x86_64__ /* the others never had these */
    SYS_stat, SYS_lstat, SYS_readlink, SYS_access, SYS_dup2, SYS_poll, SYS_time,
    SYS_arch_prctl,
#endif
};

/* Those that find files by name, and that give up more: only if there are paths. */
static const uint32_t names[] = {
    SYS_openat, SYS_landlock_create_ruleset, SYS_landlock_add_rule,
    SYS_landlock_restrict_self, SYS_seccomp, SYS_mkdirat,
#ifdef SYS_openat2
    SYS_openat2,
#endif
    SYS_unlinkat, SYS_renameat2, SYS_truncate,
#ifdef SYS_renameat
    SYS_renameat,
#endif
#ifdef __x86_64__
    SYS_open, SYS_unlink, SYS_rename, SYS_rmdir, SYS_mkdir,
#endif
};

/* One argument decides. */
typedef struct Conditional {
    uint32_t call;
    uint32_t argument; /* 0 to 5; its lower half */
    uint16_t test;     /* BPF_JSET: some of the bits; BPF_JEQ: the value */
    uint32_t value;
    uint32_t if_true, if_false; /* SECCOMP_RET_… */
} Conditional;

enum {
    LIST_MAX = sizeof(always) / sizeof(always[0]) + sizeof(names) / sizeof(names[0]),
    CONDITIONALS = 7,
    IOCTL_CODE = 9,
    FCNTL_CODE = 12,
    CODE_MAX = 8 + 3 * LIST_MAX + 5 * CONDITIONALS + IOCTL_CODE + FCNTL_CODE
};

#define REFUSE(error) (SECCOMP_RET_ERRNO | (error))
#define SEE(field) (uint32_t)offsetof(struct seccomp_data, field)

typedef struct Program {
    struct sock_filter code[CODE_MAX];
    unsigned short length;
} Program;

static void emit(Program *program, unsigned code, uint32_t k, unsigned char if_false)
{
    program->code[program->length++] =
        (struct sock_filter){.code = (uint16_t)code, .jf = if_false, .k = k};
}

static void emit_range(Program *program, uint32_t first, uint32_t last, uint32_t action)
{
    program->code[program->length++] =
        (struct sock_filter){.code = BPF_JMP | BPF_JGT | BPF_K, .jt = 2, .k = last};
    emit(program, BPF_JMP | BPF_JGE | BPF_K, first, 1);
    emit(program, BPF_RET | BPF_K, action, 0);
}

/* The action (SECCOMP_RET_…) for what is in an ascending list, in ranges.  What is below one is in none that
 * follows: the tests behind start on the way out, if a jump reaches there.  The kernel
 * tries a filter with every number there is, which takes longer than all else here. */
static void emit_list(Program *program, const uint32_t *calls, size_t count, uint32_t action)
{
    const unsigned short start = program->length;

    for (size_t i = 0, next; i < count; i = next) {
        for (next = i + 1; next < count && calls[next] <= calls[next - 1] + 1; next++) {
        }
        emit_range(program, calls[i], calls[next - 1], action);
    }
    for (unsigned at = start + 1u; at < program->length; at += 3) {
        const unsigned out = program->length - at - 1u;

        program->code[at].jf = (unsigned char)(out <= UCHAR_MAX ? out : 1);
    }
}

static int compare_calls(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

static size_t append(uint32_t *calls, size_t count, const uint32_t *more, size_t bytes)
{
    memcpy(calls + count, more, bytes);
    return count + bytes / sizeof(*more);
}

static void emit_sorted(Program *program, uint32_t *calls, size_t count, uint32_t action)
{
    /* cppcheck-suppress uninitvar ; append() has filled it */
    qsort(calls, count, sizeof(calls[0]), compare_calls);
    emit_list(program, calls, count, action);
}

static void emit_conditional(Program *program, const Conditional *c)
{
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, c->call, 4);
    emit(program, BPF_LD | BPF_W | BPF_ABS, SEE(args) + 8 * c->argument, 0);
    emit(program, (unsigned)BPF_JMP | c->test | BPF_K, c->value, 1);
    emit(program, BPF_RET | BPF_K, c->if_true, 0);
    emit(program, BPF_RET | BPF_K, c->if_false, 0);
}

/* Is it a terminal; how much is in a pipe; and what makes two files share their bytes. */
static void emit_ioctl(Program *program)
{
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 8);
    emit(program, BPF_LD | BPF_W | BPF_ABS, SEE(args) + 8, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, TCGETS, 1);
    emit(program, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, FIONREAD, 1);
    emit(program, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0);
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, FICLONERANGE, 1);
    emit(program, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0);
    emit(program, BPF_RET | BPF_K, REFUSE(ENOTTY), 0);
}

/* Not the commands that say who gets a signal, any signal, when a file can be read, or who
 * is told of a change: that reaches other processes. */
static void emit_fcntl(Program *program)
{
    enum { /* the numbers of Linux, on all machines */
        DUPFD_TO_SETLKW_FIRST = 0, DUPFD_TO_SETLKW_LAST = 7, /* descriptors, flags, locks */
        OFD_LOCKS_FIRST = 36, OFD_LOCKS_LAST = 38,
        CLOEXEC_AND_PIPES_FIRST = 1030, CLOEXEC_AND_PIPES_LAST = 1032 /* and a pipe's size */
    };

    emit(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, FCNTL_CODE - 1);
    emit(program, BPF_LD | BPF_W | BPF_ABS, SEE(args) + 8, 0);
    emit_range(program, DUPFD_TO_SETLKW_FIRST, DUPFD_TO_SETLKW_LAST, SECCOMP_RET_ALLOW);
    emit_range(program, OFD_LOCKS_FIRST, OFD_LOCKS_LAST, SECCOMP_RET_ALLOW);
    emit_range(program, CLOEXEC_AND_PIPES_FIRST, CLOEXEC_AND_PIPES_LAST, SECCOMP_RET_ALLOW);
    emit(program, BPF_RET | BPF_K, REFUSE(EPERM), 0);
}

static void emit_conditionals(Program *program)
{
    const Conditional conditionals[CONDITIONALS] = {
        {SYS_mmap, 2, BPF_JSET, PROT_EXEC, REFUSE(EPERM), SECCOMP_RET_ALLOW},
        {SYS_mprotect, 2, BPF_JSET, PROT_EXEC, REFUSE(EPERM), SECCOMP_RET_ALLOW},
        /* Threads, no processes.  clone3, whose flags cannot be seen, is refused as
         * unknown; clone is what is used then. */
        {SYS_clone, 0, BPF_JSET, 0x00010000 /* CLONE_THREAD */, SECCOMP_RET_ALLOW,
         REFUSE(EPERM)},
        {SYS_tgkill, 0, BPF_JEQ, (uint32_t)getpid(), SECCOMP_RET_ALLOW, REFUSE(EPERM)},
        {SYS_kill, 0, BPF_JEQ, (uint32_t)getpid(), SECCOMP_RET_ALLOW, REFUSE(EPERM)},
        {SYS_prlimit64, 0, BPF_JEQ, 0 /* oneself */, SECCOMP_RET_ALLOW, REFUSE(EPERM)},
        {SYS_prctl, 0, BPF_JEQ, PR_SET_NO_NEW_PRIVS, SECCOMP_RET_ALLOW, REFUSE(EPERM)},
    };

    for (size_t i = 0; i < CONDITIONALS; i++) {
        emit_conditional(program, &conditionals[i]);
    }
    emit_ioctl(program);
    emit_fcntl(program);
}

static void emit_start(Program *program)
{
    emit(program, BPF_LD | BPF_W | BPF_ABS, SEE(arch), 0);
    program->code[program->length++] =
        (struct sock_filter){.code = BPF_JMP | BPF_JEQ | BPF_K, .jt = 1, .k = MACHINE};
    emit(program, BPF_RET | BPF_K, REFUSE(ENOSYS), 0);
    emit(program, BPF_LD | BPF_W | BPF_ABS, SEE(nr), 0);
}

static void emit_no_openat(Program *program)
{
    emit(program, BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 1);
    emit(program, BPF_RET | BPF_K, REFUSE(EACCES), 0);
}

static int install(Program *program)
{
    struct sock_fprog filter = {.filter = program->code, .len = program->length};

    /* Nothing of what strangers have made runs as code: no need to slow down. */
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                   &filter) == 0
               ? SANDBOX_CALLS : 0;
}

static int restrict_all(int names_too)
{
    Program program = {.length = 0};
    uint32_t calls[LIST_MAX];
    size_t count = append(calls, 0, always, sizeof(always));

    if (names_too) {
        count = append(calls, count, names, sizeof(names));
    }
    emit_start(&program);
    emit_sorted(&program, calls, count, SECCOMP_RET_ALLOW);
    if (!names_too) {
        emit_no_openat(&program);
    }
    emit_conditionals(&program);
    emit(&program, BPF_RET | BPF_K, REFUSE(ENOSYS), 0);
    return install(&program);
}

/* Beside a filter that is there already, which is asked too. */
static int restrict_names(void)
{
    Program program = {.length = 0};
    uint32_t calls[LIST_MAX];

    emit_start(&program);
    emit_no_openat(&program);
    emit_sorted(&program, calls, append(calls, 0, names, sizeof(names)), REFUSE(ENOSYS));
    emit(&program, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0);
    return install(&program);
}

/* A process does this twice, before it opens images and when they are open: the second
 * filter says only what is different, which takes half the time.  Filters stay for the
 * rest of the process. */
static int restrict_calls(int names_too)
{
    static int had;

    had = !had ? restrict_all(names_too) : names_too ? had : restrict_names();
    return had;
}

#else

static int restrict_calls(int names_too)
{
    (void)names_too;
    return 0;
}

#endif

int sandbox_enter(const SandboxPath *paths, size_t count)
{
    int done;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return 0;
    }
    done = restrict_files(paths, count);
    return done | restrict_calls(count > 0);
}

#elif defined(__OpenBSD__)

/* What is seen is settled the first time; later only what can be done with it. */
static int see(const SandboxPath *paths, size_t count)
{
    static int settled;
    static const char *const permissions[] = {
        [SANDBOX_READ] = "r", [SANDBOX_WRITE] = "rwc", [SANDBOX_MOVE] = "rc",
    };
    int done = SANDBOX_FILES;

    for (size_t i = 0; !settled && i < count; i++) {
        if (unveil(paths[i].path, permissions[paths[i].access]) < 0 && errno != ENOENT) {
            done = 0;
        }
    }
    if (!settled && unveil(NULL, NULL) < 0) {
        done = 0;
    }
    settled = 1;
    return done;
}

int sandbox_enter(const SandboxPath *paths, size_t count)
{
    int done = see(paths, count);

    return pledge(count > 0 ? "stdio rpath wpath cpath fattr flock" : "stdio flock", NULL) == 0
               ? done | SANDBOX_CALLS : done;
}

#else

int sandbox_enter(const SandboxPath *paths, size_t count)
{
    (void)paths;
    (void)count;
    return 0;
}

#endif
