#include "proxy/run/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>

#include "proxy/base/log.h"

static void apply(const unsigned *kept, size_t n_kept)
{
    bool had[CAP_LAST_CAP + 1] = {false};
    for (size_t i = 0; i < n_kept; i++)
        had[kept[i]] = capng_have_capability(CAPNG_PERMITTED, kept[i]) == 1;
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < n_kept; i++) {
        if (had[kept[i]])
            (void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]);
    }
    if (capng_apply(CAPNG_SELECT_CAPS) != 0)
        log_warn("capabilities could not be dropped");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        log_warn("no_new_privs could not be set");
}

void privileges_keep_network(void)
{
    static const unsigned kept[] = {CAP_NET_ADMIN, CAP_NET_RAW, CAP_NET_BIND_SERVICE};
    apply(kept, sizeof kept / sizeof kept[0]);
}

void privileges_drop_all(void)
{
    apply(NULL, 0);
}
