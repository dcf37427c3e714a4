#include "proxy/run/state_dir.h"

#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/file.h"

int state_dir_take(struct str dir, int *out_fd, struct text *why)
{
    int err = file_make_dir(dir, 0700);
    if (err == 0)
        err = file_lock_dir(dir, out_fd);
    if (err == -ERR_AGAIN)
        text_addf(why, "stateDir %.*s: another process uses it", STR_ARG(dir));
    else if (err < 0)
        text_addf(why, "stateDir %.*s: %s", STR_ARG(dir), file_why(err));
    return err;
}

void state_dir_release(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}
