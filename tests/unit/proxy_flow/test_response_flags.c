#include <criterion/criterion.h>

#include "proxy/base/err.h"
#include "proxy/flow/response_flags.h"

TestSuite(response_flags, .timeout = 20);

Test(response_flags, each_end_has_envoys_word_and_says_when_the_retries_are_spent)
{
    static const struct {
        int err;
        const char *alone, *spent;
    } rows[] = {
        {ERR_OK, "-", "URX"},
        {ERR_NO_HEALTHY_UPSTREAM, "UH", "UH,URX"},
        {ERR_REFUSED, "UF", "UF,URX"},
        {ERR_UNREACHABLE, "UF", "UF,URX"},
        {ERR_CONNECT_TIMEOUT, "UF", "UF,URX"},
        {ERR_TLS_IDENTITY, "UF", "UF,URX"},
        {ERR_CIRCUIT_OPEN, "UO", "UO,URX"},
        {ERR_RETRY_BUDGET, "URX", "URX"},
        {ERR_NO_ROUTE, "NR", "NR,URX"},
        {ERR_NO_SUCH_PORT, "NR", "NR,URX"},
        {ERR_RESPONSE_TIMEOUT, "UT", "UT,URX"},
        {ERR_IDLE_TIMEOUT, "SI", "SI,URX"},
        {ERR_CLIENT_RESET, "DC", "DC,URX"},
        {ERR_UPSTREAM_RESET, "UC", "UC,URX"},
        {ERR_H2_GOAWAY, "UC", "UC,URX"},
        {ERR_H2_REFUSED, "UR", "UR,URX"},
        {ERR_HTTP_RESPONSE, "UPE", "UPE,URX"},
        {ERR_HTTP_RESPONSE_LIMIT, "UPE", "UPE,URX"},
        {ERR_INVALID, "DPE", "DPE,URX"},
        {ERR_HTTP_REQUEST, "DPE", "DPE,URX"},
        {ERR_OVERLOAD, "OM", "OM,URX"},
        {ERR_HELD_MOST, "OM", "OM,URX"},
        {ERR_SHUTDOWN, "LR", "LR,URX"},
        {ERR_WORKLOAD_GONE, "LR", "LR,URX"},
        {ERR_DENIED, "-", "URX"},
        {ERR_TUNNEL_DENIED, "-", "URX"},
        {ERR_SYSTEM, "-", "URX"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        cr_expect(str_eq(response_flags(-rows[i].err, false), str_from(rows[i].alone)), "%s",
                  err_label(rows[i].err));
        cr_expect(str_eq(response_flags(-rows[i].err, true), str_from(rows[i].spent)), "%s",
                  err_label(rows[i].err));
    }
}
