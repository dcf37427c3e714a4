#include <criterion/criterion.h>

#include "proxy/base/diag.h"

TestSuite(diag, .timeout = 5);

static void assert_prints(const struct diag *diag, const char *expected)
{
    struct text text = {0};

    diag_print(diag, &text);
    cr_assert_str_eq(text.ptr, expected);
    text_fini(&text);
}

Test(diag, nothing_said_is_clean)
{
    struct diag diag = {0};
    struct text text = {0};

    cr_assert(diag_is_clean(&diag));
    diag_print(&diag, &text);
    cr_assert_eq(text.len, 0);
    diag_fini(&diag);
}

Test(diag, warnings_are_clean_and_errors_are_not)
{
    struct diag diag = {0};

    diag_warn(&diag, (struct place){0}, "odd");
    cr_assert(diag_is_clean(&diag));
    diag_error(&diag, (struct place){0}, "wrong");
    cr_assert_not(diag_is_clean(&diag));
    diag_fini(&diag);
}

Test(diag, prints_as_much_of_the_place_as_is_known)
{
    struct diag diag = {0};
    char name[] = "a.yaml";

    diag_error(&diag, (struct place){str_from(name), 3, 5}, "%d is not a port", 70000);
    diag_warn(&diag, (struct place){str_from(name), 4, 0}, "odd");
    diag_error(&diag, (struct place){str_from(name), 0, 0}, "missing");
    diag_error(&diag, (struct place){0}, "bare");
    name[0] = 'X'; /* the diag keeps its own copy */

    assert_prints(&diag, "a.yaml:3:5: error: 70000 is not a port\n"
                         "a.yaml:4: warning: odd\n"
                         "a.yaml: error: missing\n"
                         "error: bare\n");
    diag_fini(&diag);
}

Test(diag, one_entry_is_one_line_whatever_it_quotes)
{
    struct diag diag = {0};

    diag_error(&diag, (struct place){0}, "'%s' is no name", "a\nb\x1b[2J");

    assert_prints(&diag, "error: 'a?b?[2J' is no name\n");
    diag_fini(&diag);
}

Test(diag, what_terminals_obey_beyond_ascii_is_not_printed_either)
{
    struct diag diag = {0};

    diag_error(&diag, (struct place){.file = STR("a\xff.yaml")}, "%s",
               "'\xc2\x9b[2J \xe2\x80\xae\xd1\x95\xe2\x80\xa9 \xc3\xa9 \xc0\xaf'");

    assert_prints(&diag, "a?.yaml: error: '?[2J ?\xd1\x95? \xc3\xa9 ?\?'\n");
    diag_fini(&diag);
}

Test(diag, keeps_a_bounded_number_and_counts_the_rest)
{
    struct diag diag = {0};

    for (int i = 0; i < DIAG_MAX + 50; i++)
        diag_error(&diag, (struct place){0}, "%d", i);

    cr_assert_eq(diag.len, DIAG_MAX);
    cr_assert_eq(diag.dropped, 50);
    cr_assert_eq(diag.n_errors, DIAG_MAX + 50);
    diag_fini(&diag);
}

Test(diag, warnings_do_not_crowd_out_an_error)
{
    struct diag diag = {0};

    for (int i = 0; i < DIAG_MAX; i++)
        diag_warn(&diag, (struct place){0}, "odd");
    diag_error(&diag, (struct place){0}, "wrong");

    cr_assert_eq(diag.dropped, 1);
    cr_assert(str_eq(diag.entries[DIAG_MAX - 1].sentence, STR("wrong")));
    diag_fini(&diag);
}
