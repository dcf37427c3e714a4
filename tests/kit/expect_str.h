/*
 * expect_str.h - a str that must say what a literal says.
 */
#ifndef TESTS_KIT_EXPECT_STR_H
#define TESTS_KIT_EXPECT_STR_H

#include <criterion/criterion.h>

#include "proxy/base/str.h"

static inline void expect_str(struct str found, const char *expected)
{
    cr_expect(str_eq(found, str_from(expected)), "found \"%.*s\", expected \"%s\"", STR_ARG(found),
              expected);
}

#endif
