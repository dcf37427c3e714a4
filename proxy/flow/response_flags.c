#include "proxy/flow/response_flags.h"

#include "proxy/base/err.h"
#include "proxy/flow/http_refusals.h"

/* Each with what it is when the retries are spent too. */
struct flag {
    struct str alone, spent;
};

#define FLAG(word)                                                                                 \
    (struct flag)                                                                                  \
    {                                                                                              \
        STR(word), STR(word ",URX")                                                                \
    }

static struct flag flag_of(int err)
{
    enum metric cut;
    switch (-err) {
    case ERR_OK: return (struct flag){STR("-"), STR("URX")};
    case ERR_NO_HEALTHY_UPSTREAM: return FLAG("UH");
    case ERR_CIRCUIT_OPEN: return FLAG("UO");
    case ERR_RETRY_BUDGET: return (struct flag){STR("URX"), STR("URX")};
    case ERR_NO_ROUTE:
    case ERR_NO_SUCH_PORT: return FLAG("NR");
    case ERR_RESPONSE_TIMEOUT: return FLAG("UT");
    case ERR_IDLE_TIMEOUT:
    case ERR_HALF_CLOSE_TIMEOUT: return FLAG("SI");
    case ERR_CLIENT_RESET: return FLAG("DC");
    case ERR_UPSTREAM_RESET:
    case ERR_H2_GOAWAY: return FLAG("UC");
    case ERR_H2_REFUSED: return FLAG("UR");
    case ERR_HTTP_RESPONSE:
    case ERR_HTTP_RESPONSE_LIMIT: return FLAG("UPE");
    case ERR_INVALID: return FLAG("DPE");
    case ERR_HELD_MOST:
    case ERR_OVERLOAD: return FLAG("OM");
    case ERR_SHUTDOWN:
    case ERR_WORKLOAD_GONE: return FLAG("LR");
    default: break;
    }
    if (http_cut_of(err, &cut))
        return FLAG("DPE");
    return err_info(err)->blame == BLAME_UPSTREAM ? FLAG("UF") : FLAG("-");
}

struct str response_flags(int err, bool spent)
{
    const struct flag flag = flag_of(err);
    if (spent && str_eq(flag.alone, STR("-")))
        return STR("URX");
    return spent ? flag.spent : flag.alone;
}
