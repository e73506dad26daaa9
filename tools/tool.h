/* SPDX-License-Identifier: MIT */
/*
 * tool.h - what the subcommands of img share: how a command is described, how
 * it opens images, how it prints.
 *
 * A command is one file cmd-NAME.c with one table at its bottom.  From the
 * table come the parsing of its arguments, its --help and its usage errors;
 * img.c lists the tables.  All of it sees the library through bdrv.h alone.
 *
 *     main (img.c) ──▶ tool_invoke (options.c) ──▶ take, take, … ──▶ run
 */
#ifndef TOOL_H
#define TOOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "bdrv.h"

#if defined(__GNUC__)
#define TOOL_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TOOL_PRINTF(text, first)
#endif

/* ------------------------------------------------- commands (options.c) */

/* One option of a command.  A table of them ends with letter 0. */
typedef struct ToolOption {
    int letter;           /* 'f' for -f; from TOOL_LONG_ONLY up: has no letter */
    const char *name;     /* "format" for --format; NULL: has only the letter */
    const char *argument; /* how help calls its argument; NULL: takes none;
                           * "[WORD]": may have one, then written --name=… */
    const char *help;     /* one line */
} ToolOption;

enum {
    TOOL_ALLOW_PATH = 256, /* --allow-path, see image_take() */
    TOOL_OPEN_OPTION,      /* --open-option, the same */
    TOOL_NO_SANDBOX,       /* --no-sandbox, the same */
    TOOL_PROGRESS_FD,      /* --progress-fd, see progress_take() */
    TOOL_LONG_ONLY /* the first number that a command may use for its own */
};

enum { TOOL_ANY_NUMBER = -1 };

/* A command: a subcommand of img, or a command within img-io. */
typedef struct Tool {
    const char *name;
    const char *help;     /* one line: what it does */
    const char *operands; /* as the usage line shows them; "" if none */
    const char *details;  /* lines after the options in --help, or NULL */
    void (*print_more)(FILE *out); /* more of them, that are not constant; or NULL */
    const ToolOption *options;
    int least_operands;
    int most_operands;   /* or TOOL_ANY_NUMBER */
    int signed_operand;  /* not 0: the last one may be a number below 0 */
    int usage_status;    /* exit status when the arguments make no sense */
    size_t request_size; /* of what take fills and run reads; starts zeroed */
    /* Notes one option.  value is NULL for one that takes none, else it lives
     * as long as argv.  0, or -1 with the message printed. */
    int (*take)(void *request, int letter, const char *value);
    /* Does the work; what it returns is the exit status. */
    int (*run)(void *request, int count, char **operands);
} Tool;

/* Parses argv (argv[0] is the command's name) into *request and runs the
 * command.  --help and --version print and return 0. */
int tool_invoke(const Tool *tool, void *request, int argc, char **argv);

/* Prints the help of a command. */
void tool_print_help(const Tool *tool, FILE *out);

/* What messages start with: the name that was called.  Kept, not copied. */
void tool_set_program(const char *name);
/* What the user typed to get to the command, for usage lines: "img convert"
 * (without it, the program's name).  Kept, not copied. */
void tool_set_command(const char *name);

/* "PROGRAM: text" as one line on stderr, whatever bytes the text has. */
void tool_error(const char *format, ...) TOOL_PRINTF(1, 2);

/* The same with the library's message for its last failure. */
void tool_library_error(void);

/* The value of an option (or operand) as bytes.  what names it in the message.
 * 0, or -1 with the message printed. */
int tool_parse_size(const char *what, const char *text, int64_t *bytes);

/* The value of -m.  0, or -1 with the message printed. */
int tool_parse_threads(const char *text, unsigned *threads);

/* The value of -t (of what is written to) or -T: sets BDRV_O_… in *flags.  0, or -1
 * with the message printed. */
int tool_parse_cache(int letter, const char *mode, unsigned *flags);

/* The value of --output: 0 for human, 1 for json; -1 with the message. */
int tool_parse_output(const char *text);

/* --------------------------------------------------- foreign (foreign.c) */

/* What to do instead of an option, or a command, that qemu-img has.  NULL: it is
 * not known there either. */
const char *foreign_option(const char *command, const char *option);
const char *foreign_command(const char *name);

/* -------------------------------------------------------- images (image.c) */

/* How to open an image, as -f, -U, --allow-path, --open-option and --no-sandbox
 * say. */
typedef struct ImageHow {
    const char *format; /* NULL: look at the content */
    unsigned flags;     /* BDRV_O_… */
    int quiet;          /* not 0: no warnings about tolerated oddities */
    const char **allow_paths; /* ended by NULL, or NULL */
    int no_sandbox;     /* not 0: confine() does nothing */
    char *options;      /* all --open-option, joined; NULL: none */
    size_t table_bytes; /* as in BdrvOpenOptions */
} ImageHow;

/* The rows that most commands share, and what notes them. */
#define IMAGE_OPTION_FORCE_SHARE                 \
    {                                            \
        'U', "force-share", NULL,                \
        "read it even where a program has locked it against reading" \
    }
#define IMAGE_OPTION_ALLOW_PATH                  \
    {                                            \
        TOOL_ALLOW_PATH, "allow-path", "DIR",    \
        "let an image name files below DIR, or the device DIR (repeatable)" \
    }
#define IMAGE_OPTION_OPEN                        \
    {                                            \
        TOOL_OPEN_OPTION, "open-option", "KEY=VALUE", \
        "open it with this option of its format (repeatable)" \
    }
#define IMAGE_OPTION_NO_SANDBOX                  \
    {                                            \
        TOOL_NO_SANDBOX, "no-sandbox", NULL,     \
        "keep all rights, also when the files are open" \
    }
#define IMAGE_OPTION_CACHE(letter)                                           \
    {                                                                       \
        letter, "cache", "CACHE",                                           \
        "writeback (default), unsafe, writethrough, none, directsync, drop-behind" \
    }
int image_take(ImageHow *how, int letter, const char *value);

/* Frees what image_take() has allocated. */
void image_how_free(ImageHow *how);

/* Prints the library's message for an error about filename; for -EBUSY, with the
 * process that has it, where that can be found out. */
void image_error(int error, const char *filename);

/* Before a file is replaced or written (again): nobody may have it open for writing,
 * and we must be allowed to.  0 (also if there is no such file, or it is no file), or
 * -1 with the message printed.  Asked before rights are given up, to be able to say
 * who has it; who writes is refused then all the same. */
int image_check_free(const char *filename);

/* Opens an image.  NULL: failed, and the message is printed. */
BlockDriverState *image_open(const char *filename, const ImageHow *how);

/* Closes an image that was only read. */
void image_close(BlockDriverState *bs);

/* Closes one that was written to.  result is what came of that; if it was good
 * and the close is not, the message is printed.  0 or < 0. */
int image_close_written(BlockDriverState *bs, int result);

/* What an image is to be created as: -o, -b and -F, where -o backing_file=… and
 * backing_fmt=… are other words for the last two, and size=… for the operand. */
typedef struct ImageNew {
    const char *format;         /* a driver's name */
    char *options;              /* all -o, joined; NULL: none */
    const char *backing;        /* NULL: none */
    const char *backing_format; /* NULL: probe */
    const char *size;           /* NULL: none */
    char *values[3];            /* owns what came out of options */
    char *open_options;         /* to write it the same each time; NULL: none */
} ImageNew;

/* Adds the value of one -o.  0, or -1 with the message printed. */
int image_new_add(ImageNew *image, const char *value);

/* The last value that the -o have for key, which the caller frees; NULL: none.
 * 0, or -1 with the message printed. */
int image_new_value(const ImageNew *image, const char *key, char **value);

/* To be called when all arguments are parsed: finds the driver, and takes the
 * three words above out of the options.  1 if they ask for help, which is
 * printed then; -1 with the message printed. */
int image_new_settle(ImageNew *image, BdrvDriverInfo *driver);

/* Makes an image that has no other use for chance the same each time: where the
 * driver knows the option seed, and the user has not given it, it becomes
 * $SOURCE_DATE_EPOCH.  0, or -1 with the message printed. */
int image_new_seed(ImageNew *image, const BdrvDriverInfo *driver);

void image_new_free(ImageNew *image);

/* Can that be a parent, of that format (NULL: look at it)?  An OVA is none, and would
 * be taken for a raw disk.  0, or -1 with the message printed. */
int image_check_parent(const char *filename, const char *format);

/* Whether the options (NULL: none) ask for help. */
int image_wants_help(const char *options);

/* Prints what can be changed in images of a format.  0, or -1 with the message
 * printed. */
int image_print_amend_options(const char *format);

/* Whether two names lead to one file or device (0 if either does not exist). */
int image_same_file(const char *one, const char *other);

/* Before filename is overwritten: 0 if it is none of the files of bs, its extents
 * and its backing chain; else (or if that cannot be told) -1, with a message
 * printed that starts with what. */
int image_spare(BlockDriverState *bs, const char *filename, const char *what);

/* ----------------------------------------------------- confining (confine.c)
 *
 * A command gives up what it does not need (see sandbox.h), twice: before it opens
 * its images, all but their directories, and when they are open, what it will not
 * need any more.  It lists what it does need by name, and then calls confine():
 *
 *     Confinement c = {0};
 *     confine_image(&c, how, bs);
 *     confine(&c, how);
 *
 * Where there is no memory for the list nothing is given up. */

typedef enum ConfineAccess {
    CONFINE_READ,
    CONFINE_WRITE,
    CONFINE_MOVE /* files are made, moved and removed, none is opened */
} ConfineAccess;

typedef struct Confinement {
    char **paths; /* owned */
    ConfineAccess *access;
    size_t count;
    int incomplete; /* not 0: something could not be listed */
} Confinement;

/* Lists what an open image and its backing chain may still need, as the image is
 * writable or not.  NULL is allowed. */
void confine_image(Confinement *c, const ImageHow *how, BlockDriverState *bs);

/* Lists an image that will be opened by name, or made: the directory the name is in,
 * the one it leads to, and where --allow-path lets it name files (how NULL: nowhere
 * else).  Of a device: the device alone. */
void confine_named(Confinement *c, const ImageHow *how, const char *filename,
                   ConfineAccess access);

/* As confine_named(), of one that is read, and whose name is seen from another image's. */
void confine_beside(Confinement *c, const ImageHow *how, const char *filename,
                    const char *name);

/* Lists the images that are operands, and will be opened as how says ("-" may be one).
 * Those that will be written must be free: -1 with the message printed. */
int confine_operands(Confinement *c, const ImageHow *how, int count, char **names);

/* Gives up the rest, unless how says otherwise, and frees the list. */
void confine(Confinement *c, const ImageHow *how);

/* For a command that only works on its operands: before it opens them, as
 * confine_operands(), and (one of them) when it is open. */
int confine_before(const ImageHow *how, int count, char **names);
void confine_to_image(const ImageHow *how, BlockDriverState *bs);

/* -------------------------------------------------- encodings (encodings.c) */

/* Before an image is opened, and before the right to load code is given up: loads what
 * converting names takes from each encoding that the beginning of the file (if it is
 * one) mentions as a descriptor does.  confine_operands() and confine_beside() do so. */
void encodings_keep(const char *filename);

/* ------------------------------------------------------- holder (holder.c) */

/* Which process has the file locked so that we could be refused: 1 and "NAME,
 * process NUMBER", or 0: cannot be found out. */
int holder_find(const char *filename, char *text, size_t size);

/* Before the right to look is given up: remembers who has which file locked, so that
 * holder_find() can answer of a file whose name is known only later.  What begins after
 * this is not known. */
void holder_remember(void);

/* ------------------------------------------------------- output (output.c)
 *
 * A new image gets its name only when it is whole: it is made in a directory of
 * its own beside its destination, and moved there at the end.  (In a directory
 * and not under another name, because images record their own names.) */

typedef struct OutputFile {
    char *path;
    int existed; /* not 0: before us */
} OutputFile;

typedef struct Output {
    const char *name;   /* as the user gave it */
    char *target;       /* the same with links followed */
    char *directory;    /* the temporary one; NULL: written in place */
    const char *path;   /* where to create the image */
    char *path_memory;
    BlockDriverState **sources; /* whose files are not written over, ended by NULL;
                                 * the caller's.  NULL: none */
    int removable;      /* not 0: a file, neither device nor pipe */
    int device;         /* not 0: a block device */
    int existed;        /* not 0: what stood at name was there before us */
    int made;           /* not 0: what is at name must not look finished on failure */
    atomic_int said;    /* not 0: the message for the failure is printed */
    OutputFile *others; /* further files of an image that is written in place */
    size_t other_count;
    char **old_files; /* those of the image that stood at name, once they were asked for */
    size_t old_count;
    size_t old_found; /* the one that was looked for last */
    int old_asked;
} Output;

/* Where may the image be written until it is whole? */
typedef enum OutputPlace {
    OUTPUT_ASIDE,   /* in a directory of its own, where that can be done */
    OUTPUT_IN_PLACE /* under its own name */
} OutputPlace;

/* Finds out where to write.  output->sources is kept, the rest is set.  0, or -1
 * with the message printed. */
int output_begin(Output *output, const char *name, OutputPlace place);

/* To be given, with the output, to the library when it creates the image, and when it opens it for
 * writing: refuse further files that are the sources'.  The first also refuses those
 * that exist, unless they are of the image that is replaced, and notes which there
 * are. */
int output_may_make(void *opaque, const BdrvNamedFile *file);
int output_may_write(void *opaque, const BdrvNamedFile *file);

/* To be called when the image has been created at path: from then on it is
 * removed by output_end().  0, or -1 with the message printed if a further file
 * of it would get the name of one of the sources' files, or of a file that is none
 * of the image that is replaced. */
int output_created(Output *output);

/* Lists what output_finish() and output_end() will need. */
void confine_output(Confinement *c, const Output *output);

/* Gives the image, which must be closed, its name.  0, or -1 with the message
 * printed.  If durable is not 0 the name survives a power loss too. */
int output_finish(Output *output, int durable);

/* Removes what was made, with its further files, unless it was finished, and frees.  A file that was there
 * before, and so may have other names, is left empty; a block device is left
 * without its beginning. */
void output_end(Output *output);

/* Prints the library's message, speaking of the name the user knows; nothing if one
 * of the two above has said more. */
void output_library_error(const Output *output);

/* ----------------------------------------------------------- pipe (pipe.c) */

/* Standard output, or input, as the storage of an image: once, from the
 * beginning to the end. */
typedef struct Pipe Pipe;

/* The image that comes in, whose format must be given.  NULL: failed, and the
 * message is printed. */
BlockDriverState *pipe_open_source(const ImageHow *how);

/* After a library call on that image that failed so: not 0 if that was because standard
 * input ended too early, with the message printed. */
int pipe_tell_end(int error);

/* After the whole image is read: reads on to the end of standard input, so that whoever
 * sends it does not fail.  Zeros are dropped silently, anything else with a warning
 * unless quiet. */
void pipe_drop_rest(int quiet);

/* A raw disk on standard output; bdrv_file() of it is where an image can be
 * created that goes out.  NULL as above. */
BlockDriverState *pipe_open_target(Pipe **pipe);

/* The image is whole: writes what has not been written yet.  0, or -1 (or less)
 * with the message printed.  Not called, the reader gets a part. */
int pipe_finish(Pipe *pipe);

/* --------------------------------------------------- formats (formats.c) */

/* Prints what the library can do with the formats it knows; or, where one is
 * named, with the variants of that.  0, or -1 with the message printed. */
int formats_print(const char *format, int json);

/* --------------------------------------------------------- print (print.c) */

/* Text of foreign origin: control characters and what is not UTF-8 appear as
 * \xNN, so that an image's strings cannot drive the terminal. */
void print_text(FILE *out, const char *text);

/* The length of the UTF-8 character at text, 1 to 4; 0 if it is none. */
size_t print_utf8_length(const char *text);

/* The number of the character at text, of that length, which is not 0. */
unsigned long print_character(const char *text, size_t length);

/* Does that character drive a terminal (U+0000 to U+001F, U+007F to U+009F), or make a line look
 * like another (U+202E and the like, which turn text round; U+2028)?  None has more than 16 bits. */
int print_is_control(const char *text, size_t length);

enum { PRINT_SIZE_MAX = 32 };

/* "99.8 MiB": three digits, for humans.  Returns text. */
const char *print_size(char text[PRINT_SIZE_MAX], int64_t bytes);

/* "99.812 MiB", "512 bytes": three decimals where needed, as img-io says it. */
const char *print_size_exact(char text[PRINT_SIZE_MAX], double bytes);

/* What the driver knows of the image, indented by four blanks per level, under
 * a title.  Nothing at all if it knows nothing. */
int print_details(BlockDriverState *bs, const char *title);

/* ---------------------------------------------- interruption (interrupt.c) */

/* From now on SIGINT, SIGTERM and SIGHUP are noted and nothing more. */
void interrupt_catch(void);

/* The same for SIGUSR1. */
void interrupt_answer(void);

/* The signal that asked us to stop; 0: none. */
int interrupt_signal(void);

/* Not 0 once after each SIGUSR1: the user wants to know how far we are. */
int interrupt_wants_report(void);

/* To be called when all is cleaned up: if we were asked to stop, ends us by that
 * signal, as a shell wants to see it. */
void interrupt_end(void);

/* --------------------------------------------------- progress (progress.c) */

/* What -p, --progress and --progress-fd say. */
typedef struct ProgressHow {
    int wanted;
    int json;   /* not 0: lines of JSON; 0: a bar */
    int has_fd; /* not 0: the lines go to fd, else to standard error */
    int fd;
    int to_stderr; /* not 0: so does the bar, because data goes to standard output */
} ProgressHow;

#define PROGRESS_OPTIONS                                                    \
    {'p', "progress", "[HOW]", "show how far it is: bar (default) or json"}, \
    {                                                                       \
        TOOL_PROGRESS_FD, "progress-fd", "FD",                              \
        "where those lines go (default: standard error)"                    \
    }
int progress_take(ProgressHow *how, int letter, const char *value);

/* To be called when all arguments are parsed.  0, or -1 with the message. */
int progress_check(const ProgressHow *how);

/* Before data goes to standard output: 0 if the progress goes elsewhere, or -1 with
 * the message printed. */
int progress_spare_output(const ProgressHow *how);

typedef struct Progress {
    const char *phase; /* what is being done, as JSON calls it */
    FILE *out;         /* of the bar */
    int fd;            /* of the lines */
    int enabled;
    int json;
    int terminal;
    int64_t done, total;
    int64_t began_at, shown_at; /* in milliseconds */
    int64_t shown_done;
    double rate; /* bytes per second; 0: not yet known */
} Progress;

/* Shows nothing unless it is wanted, but SIGUSR1 is answered. */
void progress_begin(Progress *progress, const ProgressHow *how, const char *phase,
                    int64_t total);
void progress_show(Progress *progress, int64_t done, int64_t total);
/* The same as a BdrvProgressFn (opaque: the Progress), which stops the library when a
 * signal asks for it. */
int progress_tell(void *opaque, int64_t done, int64_t total);
/* Shows 100 % if whole is not 0, and goes to the next line. */
void progress_end(Progress *progress, int whole);

/* ----------------------------------------------------------- JSON (json.c) */

enum { JSON_DEPTH_MAX = 32 };

/* How the members of an object or list are laid out. */
typedef enum JsonLayout {
    JSON_INDENTED, /* one per line */
    JSON_ROWS,     /* a list: one item per line, not indented */
    JSON_ONE_LINE  /* all on the line it started on */
} JsonLayout;

typedef struct JsonLevel {
    char end; /* '}' or ']' */
    JsonLayout layout;
    int items;
} JsonLevel;

/* Writes one JSON value piece by piece.  key is NULL inside lists and at the
 * top. */
typedef struct Json {
    FILE *out;
    int depth;
    int indented; /* how many of the open levels are JSON_INDENTED */
    JsonLevel levels[JSON_DEPTH_MAX];
} Json;

void json_begin(Json *json, FILE *out);
void json_object(Json *json, const char *key, JsonLayout layout);
void json_list(Json *json, const char *key, JsonLayout layout);
void json_end(Json *json); /* of the innermost object or list */
void json_string(Json *json, const char *key, const char *value);
void json_number(Json *json, const char *key, int64_t value);
void json_bool(Json *json, const char *key, int value);

/* ------------------------------------- commands of img-io (io-commands.c) */

/* The request of each of them: what its options say. */
typedef struct IoRequest {
    BlockDriverState *bs; /* what to work on; borrowed */
    int quit;             /* set by quit */
    int quiet;
    int dump;
    int zeroes;
    int durable;
    int pattern; /* 0 to 255; -1: none given */
    int64_t pattern_offset;
    int64_t pattern_length; /* -1: up to the end */
} IoRequest;

/* NULL if there is none. */
const Tool *io_find_command(const char *name);

/* -------------------------------------------------------------- the tables */

extern const Tool tool_amend;   /* cmd-amend.c */
extern const Tool tool_check;   /* cmd-check.c */
extern const Tool tool_commit;  /* cmd-commit.c */
extern const Tool tool_compare; /* cmd-compare.c */
extern const Tool tool_convert; /* cmd-convert.c */
extern const Tool tool_create;  /* cmd-create.c */
extern const Tool tool_hash;    /* cmd-hash.c */
extern const Tool tool_info;    /* cmd-info.c */
extern const Tool tool_io;      /* cmd-io.c */
extern const Tool tool_map;     /* cmd-map.c */
extern const Tool tool_rebase;  /* cmd-rebase.c */
extern const Tool tool_resize;  /* cmd-resize.c */

#endif
