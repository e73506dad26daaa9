/* SPDX-License-Identifier: MIT */
/*
 * list_formats.c - what a program would show in its "new disk" dialogue: the
 * formats that can be created, and the options of each.
 */
#include <bdrv.h>
#include <stdio.h>

static void print_option(const BdrvOption *option)
{
    printf("    %-16s %s", option->name, option->help);
    if (option->default_text != NULL) {
        printf(" (default: %s)", option->default_text);
    }
    putchar('\n');
}

int main(void)
{
    int formats = 0;

    for (const BlockDriver *d = bdrv_next(NULL); d != NULL; d = bdrv_next(d)) {
        BdrvDriverInfo info = { .struct_size = sizeof(info) };

        if (bdrv_driver_describe(d, &info) < 0) {
            fprintf(stderr, "%s\n", bdrv_errmsg());
            return 1;
        }
        if (info.can_create && !info.is_protocol) {
            formats++;
            printf("%s: %s\n", info.name, info.description);
            for (const BdrvOption *o = info.create_options; o->name != NULL; o++) {
                print_option(o);
            }
        }
    }
    return formats > 0 ? 0 : 1;
}
