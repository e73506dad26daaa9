/* SPDX-License-Identifier: MIT */
/*
 * t-opts.c - "key=value,…" as a driver gets it, and the one parser of sizes.
 *
 * A toy driver with an option of each type copies what its open was given.
 */
#include "bdrv-driver.h"
#include "image.h"
#include "suite.h"

static const char *const colours[] = { "red", "green", NULL };

static const BdrvOption toy_options[] = {
    { .name = "text", .type = BDRV_OPTION_STRING, .help = "any text" },
    { .name = "number", .type = BDRV_OPTION_NUMBER, .help = "a number" },
    { .name = "size", .type = BDRV_OPTION_SIZE, .default_text = "64k",
      .help = "a size" },
    { .name = "flag", .type = BDRV_OPTION_BOOL, .default_text = "on",
      .help = "on or off" },
    { .name = "colour", .type = BDRV_OPTION_CHOICE, .default_text = "red",
      .choices = colours, .help = "a colour" },
    { .name = NULL },
};

static struct {
    char text[64];
    int has_text;
    int64_t number;
    int64_t size;
    int flag;
    char colour[16];
    int given_number;
    int given_size;
} got;

static int toy_open(BlockDriverState *bs, const BdrvOptions *options)
{
    const char *text = bdrv_option_string(options, "text");
    got.has_text = text != NULL;
    snprintf(got.text, sizeof(got.text), "%s", text != NULL ? text : "");
    got.number = bdrv_option_number(options, "number");
    got.size = bdrv_option_number(options, "size");
    got.flag = bdrv_option_bool(options, "flag");
    snprintf(got.colour, sizeof(got.colour), "%s",
             bdrv_option_string(options, "colour"));
    got.given_number = bdrv_option_given(options, "number");
    got.given_size = bdrv_option_given(options, "size");
    bdrv_set_length(bs, bdrv_getlength(bdrv_file(bs)));
    return 0;
}

static int toy_read(BlockDriverState *bs, void *buf, size_t bytes,
                    int64_t offset)
{
    return bdrv_pread(bdrv_file(bs), buf, bytes, offset);
}

static const BlockDriver toy = {
    BDRV_DRIVER_HEAD,
    .name = "toy-options",
    .open_options = toy_options,
    .open = toy_open,
    .read = toy_read,
};

/* Opens the toy with these options; what it got is in `got`. */
static int try_options(const char *text)
{
    BdrvOpenOptions options = {
        .struct_size = sizeof(options), .options = text,
    };
    BlockDriverState *memory = image_memory(512);
    BlockDriverState *bs;
    memset(&got, 0, sizeof(got));
    int result = bdrv_open_node(&bs, memory, "toy-options", &options);
    if (result == 0) {
        bdrv_close(bs);
    }
    /* Closing what succeeds leaves the message of the failure. */
    bdrv_close(memory);
    return result;
}

START_TEST(defaults_are_filled_in)
{
    assert_ok(try_options(NULL));
    ck_assert_int_eq(got.has_text, 0);
    ck_assert_int_eq(got.number, 0);
    ck_assert_int_eq(got.size, 65536);
    ck_assert_int_eq(got.flag, 1);
    ck_assert_str_eq(got.colour, "red");
    ck_assert_int_eq(got.given_number, 0);
    ck_assert_int_eq(got.given_size, 0);
    assert_ok(try_options(""));
    ck_assert_int_eq(got.size, 65536);
}
END_TEST

START_TEST(values_arrive_by_their_type)
{
    assert_ok(try_options("text=hello,number=0x10,size=1.5M,flag=off,"
                          "colour=green"));
    ck_assert_str_eq(got.text, "hello");
    ck_assert_int_eq(got.number, 16);
    ck_assert_int_eq(got.size, 1536 * 1024);
    ck_assert_int_eq(got.flag, 0);
    ck_assert_str_eq(got.colour, "green");
    ck_assert_int_eq(got.given_number, 1);
    ck_assert_int_eq(got.given_size, 1);
}
END_TEST

START_TEST(doubled_comma_is_a_comma_in_the_value)
{
    assert_ok(try_options("text=a,,b,number=7"));
    ck_assert_str_eq(got.text, "a,b");
    ck_assert_int_eq(got.number, 7);
    assert_ok(try_options("text=,,,,"));
    ck_assert_str_eq(got.text, ",,");
    assert_ok(try_options("text=a=b"));
    ck_assert_str_eq(got.text, "a=b");
    assert_ok(try_options("text="));
    ck_assert_int_eq(got.has_text, 1);
    ck_assert_str_eq(got.text, "");
}
END_TEST

START_TEST(last_of_two_values_wins)
{
    assert_ok(try_options("number=1,number=2"));
    ck_assert_int_eq(got.number, 2);
}
END_TEST

START_TEST(every_word_for_yes_and_no_is_known)
{
    static const char *const words[] = {
        "flag=on", "flag=true", "flag=yes", "flag=off", "flag=false", "flag=no",
    };
    for (int i = 0; i < 6; i++) {
        assert_ok(try_options(words[i]));
        ck_assert_int_eq(got.flag, i < 3);
    }
    assert_fails_saying(try_options("flag=maybe"), -EINVAL, "maybe");
}
END_TEST

START_TEST(unknown_key_is_refused_with_the_valid_ones)
{
    assert_fails_saying(try_options("speed=9"), -EINVAL, "speed");
    assert_fails_saying(try_options("speed=9"), -EINVAL, "colour");
    assert_fails_saying(try_options("number=1,=2"), -EINVAL, "number");
    assert_fails_saying(try_options("numberx=1"), -EINVAL, "numberx");
}
END_TEST

START_TEST(value_of_the_wrong_type_is_refused_with_the_key)
{
    assert_fails_saying(try_options("number=ten"), -EINVAL, "number");
    assert_fails_saying(try_options("number=-1"), -EINVAL, "number");
    assert_fails_saying(try_options("number=1x"), -EINVAL, "number");
    assert_fails_saying(try_options("number="), -EINVAL, "number");
    assert_fails_saying(try_options("number=99999999999999999999"), -EINVAL,
                        "number");
    assert_fails_saying(try_options("size=big"), -EINVAL, "size");
    assert_fails_saying(try_options("size=8E"), -EINVAL, "size");
    assert_fails_saying(try_options("colour=blue"), -EINVAL, "green");
}
END_TEST

START_TEST(options_struct_of_an_impossible_size_is_refused)
{
    BdrvOpenOptions options = { .struct_size = 3 };
    BlockDriverState *memory = image_memory(512);
    BlockDriverState *bs = memory;
    assert_fails_saying(bdrv_open_node(&bs, memory, "raw", &options), -EINVAL,
                        "struct_size");
    ck_assert_ptr_null(bs);
    options.struct_size = sizeof(options);
    options.flags = 1u << 30;
    assert_fails_saying(bdrv_open_node(&bs, memory, "raw", &options), -EINVAL,
                        "flags");
    /* 0 is the struct of version 0.1. */
    options.struct_size = 0;
    options.flags = BDRV_O_RDWR;
    assert_ok(bdrv_open_node(&bs, memory, "raw", &options));
    ck_assert_int_eq(bdrv_is_writable(bs), 1);
    assert_ok(bdrv_close(bs));
    assert_ok(bdrv_close(memory));
}
END_TEST

/* ------------------------------------------------------------------ sizes */

typedef struct SizeCase {
    const char *text;
    int64_t bytes; /* or a negative errno */
} SizeCase;

static const SizeCase sizes[] = {
    { "0", 0 },
    { "64", 64 },
    { "0x40", 64 },
    { "0X40", 64 },
    { "64b", 64 },
    { "64k", 65536 },
    { "64K", 65536 },
    { "1M", 1048576 },
    { "1m", 1048576 },
    { "1G", INT64_C(1) << 30 },
    { "1.5G", INT64_C(3) << 29 },
    { "0.5k", 512 },
    { "1.25T", INT64_C(5) << 38 },
    { "2P", INT64_C(1) << 51 },
    { "7E", INT64_C(7) << 60 },
    { "9223372036854775807", INT64_MAX },
    { "9223372036854775808", -ERANGE },
    { "99999999999999999999999", -ERANGE },
    { "8E", -ERANGE },
    { "16777216T", -ERANGE },
    { "", -EINVAL },
    { "k", -EINVAL },
    { "-1", -EINVAL },
    { "+1", -EINVAL },
    { " 1", -EINVAL },
    { "1 ", -EINVAL },
    { "1kk", -EINVAL },
    { "1.k", -EINVAL },
    { ".5k", -EINVAL },
    { "1.2.3k", -EINVAL },
    { "1,5k", -EINVAL },
    { "0x", -EINVAL },
    { "0xg", -EINVAL },
    { "1x", -EINVAL },
    { "1KiBx", -EINVAL },
};

START_TEST(size_is_parsed_as_documented)
{
    const SizeCase *c = &sizes[_i];
    int64_t bytes = -12345;
    int result = bdrv_parse_size(c->text, &bytes);
    if (c->bytes < 0) {
        ck_assert_msg(result == c->bytes, "\"%s\" gives %d, wanted %lld",
                      c->text, result, (long long)c->bytes);
        ck_assert_msg(bdrv_errmsg()[0] != '\0', "\"%s\": no message", c->text);
    } else {
        ck_assert_msg(result == 0 && bytes == c->bytes,
                      "\"%s\" gives %d, %lld bytes, wanted %lld", c->text,
                      result, (long long)bytes, (long long)c->bytes);
    }
}
END_TEST

START_TEST(size_needs_a_text_and_a_place)
{
    int64_t bytes;
    assert_fails(bdrv_parse_size(NULL, &bytes), -EINVAL);
    assert_fails(bdrv_parse_size("1", NULL), -EINVAL);
}
END_TEST

Suite *test_suite(void)
{
    const TTest *const tests[] = {
        defaults_are_filled_in,
        values_arrive_by_their_type,
        doubled_comma_is_a_comma_in_the_value,
        last_of_two_values_wins,
        every_word_for_yes_and_no_is_known,
        unknown_key_is_refused_with_the_valid_ones,
        value_of_the_wrong_type_is_refused_with_the_key,
        options_struct_of_an_impossible_size_is_refused,
        size_needs_a_text_and_a_place,
        NULL,
    };
    suite_register(&toy, "toy-options");
    Suite *suite = suite_create("opts");
    TCase *tcase = suite_add_case(suite, "options", tests, 20);
    tcase_add_loop_test(tcase, size_is_parsed_as_documented, 0,
                        sizeof(sizes) / sizeof(sizes[0]));
    return suite;
}
