#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "proxy/base/ensure.h"
#include "proxy/base/err.h"

TestSuite(err, .timeout = 5);

Test(err, every_error_has_a_whole_row_and_a_label_of_its_own)
{
    for (int i = 0; i < ERR_COUNT; i++) {
        const struct err_info *info = err_info(i);
        cr_assert_not_null(info->sentence, "%d", i);
        cr_assert_gt(strlen(info->sentence), 0);
        cr_assert_gt(strlen(info->label), 0);
        cr_assert_gt(strlen(info->flag), 0);
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(info->label, err_label(j));
    }
}

Test(err, the_enum_and_its_negative_name_one_row)
{
    cr_assert_eq(err_info(ERR_REFUSED), err_info(-ERR_REFUSED));
    cr_assert_str_eq(err_label(-ERR_REFUSED), "refused");
    cr_assert_str_eq(err_text(ERR_OK), "the connection ended normally");
    cr_assert_str_eq(err_info(ERR_DENIED)->flag, "DENY");
    cr_assert_eq(err_info(ERR_DENIED)->blame, BLAME_POLICY);
}

Test(err, a_number_that_is_no_error_still_has_a_sentence)
{
    static const int strangers[] = {ERR_COUNT, -ERR_COUNT, 100000, -100000, INT32_MAX, INT32_MIN};

    for (size_t i = 0; i < ARRAY_LEN(strangers); i++)
        cr_assert_str_eq(err_label(strangers[i]), "system", "%d", strangers[i]);
}

Test(err, names_what_the_operating_system_meant)
{
    static const struct {
        int errnum, err;
    } rows[] = {
        {ECONNREFUSED, ERR_REFUSED},
        {ETIMEDOUT, ERR_CONNECT_TIMEOUT},
        {EHOSTUNREACH, ERR_UNREACHABLE},
        {ENETUNREACH, ERR_UNREACHABLE},
        {ECONNRESET, ERR_RESET},
        {EPIPE, ERR_RESET},
        {EAGAIN, ERR_AGAIN},
        {EMFILE, ERR_LIMIT},
        {ENFILE, ERR_LIMIT},
        {ENOENT, ERR_NOT_FOUND},
        {EINVAL, ERR_INVALID},
        {EXDEV, ERR_SYSTEM},
        {0, ERR_SYSTEM},
        {-5, ERR_SYSTEM},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_assert_eq(err_from_errno(rows[i].errnum), -rows[i].err, "%s", strerror(rows[i].errnum));
}

Test(err, a_broken_contract_aborts, .signal = SIGABRT)
{
    int n = 1;

    ensure(n == 2);
}
