#include "proxy/base/err.h"

#include <errno.h>

#define ERR(name, sentence, blame, label, flag) [ERR_##name] = {sentence, blame, label, flag},
static const struct err_info rows[ERR_COUNT] = {
#include "proxy/base/errors.def"
};
#undef ERR

const struct err_info *err_info(int err)
{
    /* A number that is no error of ours, such as a raw errno, must still end in a sentence. */
    if (err <= -ERR_COUNT || err >= ERR_COUNT)
        return &rows[ERR_SYSTEM];
    return &rows[err < 0 ? -err : err];
}

const char *err_text(int err)
{
    return err_info(err)->sentence;
}

const char *err_label(int err)
{
    return err_info(err)->label;
}

int err_from_errno(int errnum)
{
    switch (errnum) {
    case EAGAIN:
    case EINTR:
    case EINPROGRESS: return -ERR_AGAIN;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
    case EADDRNOTAVAIL: return -ERR_LIMIT;
    case EINVAL: return -ERR_INVALID;
    case ENOENT: return -ERR_NOT_FOUND;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED: return -ERR_RESET;
    case ECONNREFUSED: return -ERR_REFUSED;
    case ENETUNREACH:
    case ENETDOWN:
    case EHOSTUNREACH:
    case EHOSTDOWN: return -ERR_UNREACHABLE;
    case ETIMEDOUT: return -ERR_CONNECT_TIMEOUT;
    default: return -ERR_SYSTEM;
    }
}
