/* SPDX-License-Identifier: MIT */
/*
 * interrupt.c - signals, as flags that whoever does the work looks at: the user
 * wants us to stop, or to know how far we are.
 */
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "tool.h"

/* Atomic, and not only volatile, because progress is reported from any thread. */
static atomic_int stop_signal; /* that asked us to stop; 0: none */
static atomic_int report_wanted;

static void note_stop(int number)
{
    stop_signal = number;
}

static void note_report(int number)
{
    (void)number;
    report_wanted = 1;
}

/* A signal that was ignored when we started (nohup) stays ignored. */
static void catch_signal(int number, void (*note)(int), int flags)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN) {
        memset(&action, 0, sizeof(action));
        action.sa_handler = note;
        action.sa_flags = flags;
        sigaction(number, &action, NULL);
    }
}

/* The second signal does no more than the first, since it often comes by itself
 * (timeout(1) sends two), and would leave half an image; SIGQUIT ends at once. */
void interrupt_catch(void)
{
    catch_signal(SIGINT, note_stop, 0);
    catch_signal(SIGTERM, note_stop, 0);
    catch_signal(SIGHUP, note_stop, 0);
}

void interrupt_answer(void)
{
    catch_signal(SIGUSR1, note_report, SA_RESTART);
}

int interrupt_signal(void)
{
    return stop_signal;
}

int interrupt_wants_report(void)
{
    return atomic_exchange(&report_wanted, 0);
}

void interrupt_end(void)
{
    if (stop_signal != 0) {
        signal(stop_signal, SIG_DFL);
        raise(stop_signal);
    }
}
