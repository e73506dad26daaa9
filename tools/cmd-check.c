/* SPDX-License-Identifier: MIT */
/*
 * cmd-check.c - img check: is an image damaged, and what can be mended?
 *
 * A repair is two looks and an act: the first look prints the plan, the second,
 * after the repair, tells what is still there.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rules.h"

/* The exit statuses that qemu-img's users know. */
enum {
    CHECK_CLEAN = 0,
    CHECK_FAILED = 1, /* it could not be completed */
    CHECK_CORRUPTIONS = 2,
    CHECK_LEAKS = 3,
    CHECK_NOT_SUPPORTED = 63
};

enum { CHECK_DRY_RUN = TOOL_LONG_ONLY, CHECK_OUTPUT, CHECK_FOR };

typedef struct Check {
    ImageHow how;
    int json;
    unsigned repair; /* BDRV_CHECK_…; 0: only look */
    int dry_run;
    const Profile *destination; /* would it take the image?  NULL: that is not asked */
} Check;

/* How findings are shown. */
typedef struct Listing {
    const Check *request;
    Json json; /* of --output=json: an open list */
    int found;
    int to_mend; /* findings that the repair would mend */
} Listing;

/* ------------------------------------------------------------------ options */

static int take_repair(Check *request, const char *value)
{
    if (strcmp(value, "leaks") == 0) {
        request->repair = BDRV_CHECK_REPAIR_LEAKS;
    } else if (strcmp(value, "all") == 0) {
        request->repair = BDRV_CHECK_REPAIR_ALL;
    } else {
        tool_error("-r: there is nothing called '%s' to repair, only leaks and all", value);
        return -1;
    }
    return 0;
}

static int check_take(void *opaque, int letter, const char *value)
{
    Check *request = opaque;

    switch (letter) {
    case CHECK_OUTPUT: {
        int json = tool_parse_output(value);

        request->json = json;
        return json < 0 ? -1 : 0;
    }
    case 'r':
        return take_repair(request, value);
    case CHECK_DRY_RUN:
        request->dry_run = 1;
        return 0;
    case CHECK_FOR:
        request->destination = profile_find(value);
        return request->destination != NULL ? 0 : -1;
    default:
        return image_take(&request->how, letter, value);
    }
}

/* ----------------------------------------------------------------- findings */

static const char *kind_word(BdrvFindingKind kind)
{
    switch (kind) {
    case BDRV_FINDING_CORRUPTION:
        return "corruption";
    case BDRV_FINDING_LEAK:
        return "leak";
    case BDRV_FINDING_MISMATCH:
        return "mismatch";
    case BDRV_FINDING_UNRECOVERABLE:
        return "unrecoverable";
    }
    return "?";
}

/* Would what was asked for mend it? */
static int is_asked_for(const Check *request, const BdrvFinding *finding)
{
    return finding->repair != NULL &&
           ((request->repair & BDRV_CHECK_REPAIR_ALL) != 0 ||
            ((request->repair & BDRV_CHECK_REPAIR_LEAKS) != 0 &&
             finding->kind == BDRV_FINDING_LEAK));
}

static void print_finding(const Listing *listing, const BdrvFinding *finding)
{
    printf("%s: ", kind_word(finding->kind));
    print_text(stdout, finding->text);
    if (finding->bytes > 0) {
        printf(" (bytes %" PRId64 " to %" PRId64 " of the disk)", finding->offset,
               finding->offset + finding->bytes - 1);
    }
    printf("\n");
    if (is_asked_for(listing->request, finding)) {
        printf("    repair: ");
        print_text(stdout, finding->repair);
        printf("\n");
    }
}

static void json_start(Listing *listing)
{
    json_begin(&listing->json, stdout);
    json_object(&listing->json, NULL, JSON_INDENTED);
}

static void json_finding(Listing *listing, const BdrvFinding *finding)
{
    Json *json = &listing->json;

    json_object(json, NULL, JSON_INDENTED);
    json_string(json, "kind", kind_word(finding->kind));
    json_string(json, "text", finding->text);
    if (finding->bytes > 0) {
        json_number(json, "offset", finding->offset);
        json_number(json, "length", finding->bytes);
    }
    if (finding->repair != NULL) {
        json_string(json, "repair", finding->repair);
    }
    json_end(json);
}

static void show_finding(void *opaque, const BdrvFinding *finding)
{
    Listing *listing = opaque;

    listing->to_mend += is_asked_for(listing->request, finding);
    if (listing->request->json) {
        if (listing->found++ == 0) {
            json_start(listing);
            json_list(&listing->json, "findings", JSON_INDENTED);
        }
        json_finding(listing, finding);
    } else if (!listing->request->how.quiet) {
        listing->found++;
        print_finding(listing, finding);
    }
}

/* ------------------------------------------------------------------- looking */

/* One pass.  listing NULL: nothing is shown.  A negative errno has its message. */
static int look(BlockDriverState *bs, unsigned flags, Listing *listing,
                BdrvCheckResult *result)
{
    BdrvCheckOptions options = {
        .struct_size = sizeof(options),
        .flags = flags,
        .finding = listing != NULL ? show_finding : NULL,
        .finding_opaque = listing,
    };

    memset(result, 0, sizeof(*result));
    result->struct_size = sizeof(*result);
    return bdrv_check(bs, &options, result);
}

static int64_t bad(const BdrvCheckResult *result)
{
    return result->corruptions + result->unrecoverable;
}

/* Repairs, and looks again: the counts of what was mended are kept. */
static int repair(BlockDriverState *bs, const Check *request, BdrvCheckResult *result)
{
    BdrvCheckResult mended;
    int status = look(bs, request->repair, NULL, &mended);

    if (status == 0) {
        status = look(bs, 0, NULL, result);
    }
    result->corruptions_fixed = mended.corruptions_fixed + mended.unrecoverable -
                                result->unrecoverable;
    result->leaks_fixed = mended.leaks_fixed;
    result->mismatches_fixed = mended.mismatches_fixed;
    return status;
}

/* ------------------------------------------------------------------ reporting */

static void print_mended(const BdrvCheckResult *result)
{
    printf("The following inconsistencies were found and repaired:\n\n"
           "    %" PRId64 " leaked clusters\n    %" PRId64 " corruptions\n"
           "    %" PRId64 " mismatches\n\n",
           result->leaks_fixed, result->corruptions_fixed, result->mismatches_fixed);
}

static void print_counts(const BdrvCheckResult *result)
{
    if (bad(result) == 0 && result->leaks == 0 && result->mismatches == 0) {
        printf("No errors were found on the image.\n");
    }
    if (bad(result) > 0) {
        printf("\n%" PRId64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               bad(result));
    }
    if (result->leaks > 0) {
        printf("\n%" PRId64 " leaked clusters were found on the image.\n"
               "This means waste of disk space, but no harm to data.\n", result->leaks);
    }
    if (result->mismatches > 0) {
        printf("\n%" PRId64 " records were found on the image that disagree.\n"
               "Where a repair is named above, it makes them agree, and loses nothing.\n",
               result->mismatches);
    }
}

static double percent(int64_t part, int64_t whole)
{
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

static void print_clusters(const BdrvCheckResult *result)
{
    if (result->total_clusters > 0 && result->allocated_clusters > 0) {
        printf("%" PRId64 "/%" PRId64 " = %.2f%% allocated, %.2f%% fragmented, "
               "%.2f%% compressed clusters\n",
               result->allocated_clusters, result->total_clusters,
               percent(result->allocated_clusters, result->total_clusters),
               percent(result->fragmented_clusters, result->allocated_clusters),
               percent(result->compressed_clusters, result->allocated_clusters));
    }
    if (result->image_end_offset > 0) {
        printf("Image end offset: %" PRId64 "\n", result->image_end_offset);
    }
}

static void json_count(Json *json, const char *key, int64_t count)
{
    if (count != 0) {
        json_number(json, key, count);
    }
}

static void json_report(Json *json, BlockDriverState *bs, const BdrvCheckResult *result)
{
    json_count(json, "image-end-offset", result->image_end_offset);
    json_count(json, "total-clusters", result->total_clusters);
    json_count(json, "allocated-clusters", result->allocated_clusters);
    json_count(json, "fragmented-clusters", result->fragmented_clusters);
    json_count(json, "compressed-clusters", result->compressed_clusters);
    json_number(json, "check-errors", 0);
    json_count(json, "corruptions", bad(result));
    json_count(json, "unrecoverable", result->unrecoverable);
    json_count(json, "leaks", result->leaks);
    json_count(json, "mismatches", result->mismatches);
    json_count(json, "corruptions-fixed", result->corruptions_fixed);
    json_count(json, "leaks-fixed", result->leaks_fixed);
    json_count(json, "mismatches-fixed", result->mismatches_fixed);
    json_string(json, "filename", bdrv_filename(bs));
    json_string(json, "format", bdrv_format(bs));
    json_end(json);
}

static void report(Listing *listing, BlockDriverState *bs, const BdrvCheckResult *result,
                   int repaired)
{
    if (listing->request->json) {
        if (listing->found > 0) {
            json_end(&listing->json);
        } else {
            json_start(listing);
        }
        json_report(&listing->json, bs, result);
    } else if (!listing->request->how.quiet) {
        if (repaired) {
            print_mended(result);
        }
        print_counts(result);
        print_clusters(result);
    }
}

/* -------------------------------------------------------------------- command */

static int failed(int error, const BdrvCheckResult *result)
{
    if (error == -ENOTSUP && result->total_clusters == 0) {
        tool_error("This image format does not support checks");
        return CHECK_NOT_SUPPORTED;
    }
    tool_library_error();
    return CHECK_FAILED;
}

static int status_of(const BdrvCheckResult *result)
{
    if (bad(result) > 0) {
        return CHECK_CORRUPTIONS;
    }
    return result->leaks > 0 ? CHECK_LEAKS : CHECK_CLEAN;
}

/* The plan is on the terminal before anything is touched. */
static int check(BlockDriverState *bs, const Check *request)
{
    Listing listing = {.request = request};
    BdrvCheckResult result;
    int act, error;

    error = look(bs, 0, &listing, &result);
    if (error < 0) {
        return failed(error, &result);
    }
    act = request->repair != 0 && !request->dry_run && listing.to_mend > 0;
    if (act) {
        fflush(stdout);
        error = repair(bs, request, &result);
    }
    if (error < 0) {
        return failed(error, &result);
    }
    report(&listing, bs, &result, act);
    return status_of(&result);
}

/* ---------------------------------------------------------------- destination */

/* Each command once: they are in the order in which they help. */
static void print_mends(const Rules *rules)
{
    for (int i = 0; i < rules->count; i++) {
        const char *mend = rules->broken[i].mend;

        if (mend != NULL && (i == 0 || rules->broken[i - 1].mend == NULL ||
                             strcmp(mend, rules->broken[i - 1].mend) != 0)) {
            printf("mend: ");
            print_text(stdout, mend);
            printf("\n");
        }
    }
}

static void print_rules(const Profile *profile, const Rules *rules)
{
    for (int i = 0; i < rules->count; i++) {
        printf("%s: ", rules->broken[i].name);
        print_text(stdout, rules->broken[i].text != NULL ? rules->broken[i].text : "");
        printf("\n");
    }
    if (rules->remark != NULL) {
        printf("%s\n", rules->remark);
    }
    if (rules->count == 0) {
        printf("No rule of %s is broken.\n", profile->name);
        return;
    }
    printf("\n%d of the rules of %s %s broken: it would refuse the image.\n", rules->count,
           profile->name, rules->count == 1 ? "is" : "are");
    print_mends(rules);
}

static void json_rules(const Profile *profile, const Rules *rules, const char *filename)
{
    Json json;

    json_begin(&json, stdout);
    json_object(&json, NULL, JSON_INDENTED);
    json_string(&json, "filename", filename);
    json_string(&json, "for", profile->name);
    json_bool(&json, "accepted", rules->count == 0);
    if (rules->remark != NULL) {
        json_string(&json, "remark", rules->remark);
    }
    json_list(&json, "broken", JSON_INDENTED);
    for (int i = 0; i < rules->count; i++) {
        json_object(&json, NULL, JSON_INDENTED);
        json_string(&json, "rule", rules->broken[i].name);
        json_string(&json, "text", rules->broken[i].text != NULL ? rules->broken[i].text : "");
        if (rules->broken[i].mend != NULL) {
            json_string(&json, "mend", rules->broken[i].mend);
        }
        json_end(&json);
    }
    json_end(&json);
    json_end(&json);
}

static int check_destination(const Check *request, char *filename)
{
    Rules rules = {.count = 0};
    int status = CHECK_FAILED;

    if (request->repair != 0 || request->dry_run) {
        tool_error("--for: only looks; -r and --dry-run are for a check without it");
        return CHECK_FAILED;
    }
    confine_before(&request->how, 1, &filename);
    if (profile_check(request->destination, filename, &request->how, &rules) == 0) {
        status = rules.count > 0 ? CHECK_CORRUPTIONS : CHECK_CLEAN;
        if (request->json) {
            json_rules(request->destination, &rules, filename);
        } else if (!request->how.quiet) {
            print_rules(request->destination, &rules);
        }
    }
    rules_free(&rules);
    return status;
}

/* --------------------------------------------------------------------- image */

static int check_image(Check *request, char *filename)
{
    BlockDriverState *bs = NULL;
    int status = CHECK_FAILED;

    if (request->dry_run && request->repair == 0) {
        request->repair = BDRV_CHECK_REPAIR_ALL;
    }
    request->how.flags |= BDRV_O_CHECK;
    if (request->repair != 0 && !request->dry_run) {
        request->how.flags |= BDRV_O_RDWR;
    }
    if (confine_before(&request->how, 1, &filename) == 0) {
        bs = image_open(filename, &request->how);
    }
    if (bs != NULL) {
        confine_to_image(&request->how, bs);
        status = check(bs, request);
        if (bdrv_close(bs) < 0) {
            tool_library_error();
            status = CHECK_FAILED;
        }
    }
    return status;
}

static int check_run(void *opaque, int count, char **operands)
{
    Check *request = opaque;
    int status;

    (void)count;
    status = request->destination != NULL ? check_destination(request, operands[0])
                                          : check_image(request, operands[0]);
    image_how_free(&request->how);
    return status;
}

static const ToolOption check_options[] = {
    {'f', "format", "FMT", "the image's format (default: look at it)"},
    {CHECK_OUTPUT, "output", "FORM", "human (default) or json"},
    {'r', "repair", "WHAT", "mend leaks, or all"},
    {CHECK_DRY_RUN, "dry-run", NULL, "only print what a repair (of all, without -r) would do"},
    {CHECK_FOR, "for", "PROFILE",
     "instead: would that destination refuse the image, and why?"},
    {'q', "quiet", NULL, "print errors of the program only"},
    IMAGE_OPTION_CACHE('T'),
    IMAGE_OPTION_FORCE_SHARE,
    IMAGE_OPTION_ALLOW_PATH,
    IMAGE_OPTION_OPEN,
    IMAGE_OPTION_NO_SANDBOX,
    {0, NULL, NULL, NULL},
};

const Tool tool_check = {
    .name = "check",
    .help = "Finds damage in an image, and mends it",
    .operands = "FILE",
    .details = "Exit status: 0 nothing is wrong, but records may disagree (mismatches),\n"
               "1 the check could not be completed, 2 there are corruptions,\n"
               "3 there are leaks, no corruptions, 63 the format has nothing to check.\n"
               "After a repair: what is still there.  With --for: 0 it would be taken,\n"
               "2 it would be refused.\n",
    .print_more = profiles_print,
    .options = check_options,
    .least_operands = 1,
    .most_operands = 1,
    .usage_status = CHECK_FAILED,
    .request_size = sizeof(Check),
    .take = check_take,
    .run = check_run,
};
