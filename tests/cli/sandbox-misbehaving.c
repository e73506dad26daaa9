/* SPDX-License-Identifier: MIT */
/*
 * sandbox-misbehaving.c - loaded into a tool by LD_PRELOAD, does at the tool's end
 * what somebody would who had taken it over.  What it could do goes to descriptor 9,
 * a line each.  VICTIM is a file that is none of the tool's business.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(const char *what, int could)
{
    if (could) {
        dprintf(9, "%s\n", what);
    }
}

static int runs_a_program(void)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        unsetenv("LD_PRELOAD");
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

__attribute__((destructor)) static void misbehave(void)
{
    const char *victim = getenv("VICTIM");
    char beside[4096];

    snprintf(beside, sizeof(beside), "%s.new", victim);
    told("read", open(victim, O_RDONLY) >= 0);
    told("write", open(victim, O_WRONLY) >= 0);
    told("make", open(beside, O_WRONLY | O_CREAT, 0600) >= 0);
    told("chmod", chmod(victim, 0600) == 0);
    told("remove", unlink(beside) == 0);
    told("directory", mkdir(beside, 0700) == 0 && rmdir(beside) == 0);
    told("run", runs_a_program());
    told("connect", socket(AF_INET, SOCK_STREAM, 0) >= 0);
    told("signal", kill(getppid(), 0) == 0);
    told("code", mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
                     MAP_FAILED);
}
