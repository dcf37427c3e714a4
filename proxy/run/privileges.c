#include "proxy/run/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "proxy/base/log.h"

/* The first of kept that we do not have; n_kept when all are there. */
static size_t apply(const unsigned *kept, size_t n_kept)
{
    bool had[CAP_LAST_CAP + 1] = {false};
    size_t missing = n_kept;
    for (size_t i = 0; i < n_kept; i++)
        had[kept[i]] = capng_have_capability(CAPNG_PERMITTED, kept[i]) == 1;
    const bool may_bound = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) == 1;
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = n_kept; i-- > 0;) {
        if (!had[kept[i]])
            missing = i;
        else
            (void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, kept[i]);
    }
    if (missing != 0 && n_kept > 0) /* for the program that accept/nft.h starts */
        (void)capng_update(CAPNG_ADD, CAPNG_INHERITABLE | CAPNG_AMBIENT | CAPNG_BOUNDING_SET,
                           kept[0]);
    /* Before the others, with which the right to it goes. */
    if (may_bound && capng_apply(CAPNG_SELECT_BOUNDS) != 0)
        log_warn("capabilities of programs that are started could not be bounded");
    if (capng_apply(CAPNG_SELECT_CAPS) != 0)
        log_warn("capabilities could not be dropped");
    if (capng_apply(CAPNG_SELECT_AMBIENT) != 0)
        log_warn("capabilities of programs that are started could not be set");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        log_warn("no_new_privs could not be set");
    return missing;
}

const char *privileges_keep_network(void)
{
    static const char *const names[] = {"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"};
    static const unsigned kept[] = {CAP_NET_ADMIN, CAP_NET_BIND_SERVICE};
    const size_t missing = apply(kept, sizeof kept / sizeof kept[0]);
    return missing < sizeof kept / sizeof kept[0] ? names[missing] : NULL;
}

void privileges_drop_all(void)
{
    (void)apply(NULL, 0);
}

#ifdef __has_feature /* clang */
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED
#endif

void privileges_hide_memory(void)
{
    const struct rlimit none = {0};
    bool is_hidden = setrlimit(RLIMIT_CORE, &none) == 0;
#ifndef IS_SANITIZED /* the leak checker has to attach */
    is_hidden = prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 && is_hidden;
#endif
    if (!is_hidden)
        log_warn("core dumps could not be forbidden");
}
