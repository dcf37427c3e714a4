#include "proxy/run/state_dir.h"

#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/file.h"

#define OTHERS_WRITE 0022u

/* As sshd judges the folder of somebody's keys. */
static int judge(struct str dir, struct text *why)
{
    struct file_dir about;
    const unsigned us = geteuid();
    int err = file_about_dir(dir, &about);

    if (err < 0) {
        text_addf(why, "stateDir %.*s: %s", STR_ARG(dir), file_why(err));
    } else if (about.owner != us && about.owner != 0) {
        text_addf(why,
                  "stateDir %.*s: it belongs to user %u and holds keys: it must belong to user %u, "
                  "who we are, or to root",
                  STR_ARG(dir), about.owner, us);
        err = -ERR_INVALID;
    } else if (about.mode & OTHERS_WRITE) {
        text_addf(why,
                  "stateDir %.*s: its mode is 0%o, so others may write into it, and it holds keys: "
                  "see that nobody did, and chmod go-w %.*s",
                  STR_ARG(dir), about.mode, STR_ARG(dir));
        err = -ERR_INVALID;
    }
    return err;
}

static int take(struct str dir, int *out_fd, struct text *why)
{
    const int err = file_lock_dir(dir, out_fd);
    if (err == -ERR_AGAIN)
        text_addf(why, "stateDir %.*s: another process uses it", STR_ARG(dir));
    else if (err < 0)
        text_addf(why, "stateDir %.*s: %s", STR_ARG(dir), file_why(err));
    return err;
}

int state_dir_take(struct str dir, int *out_fd, struct text *why)
{
    int err = file_make_dir(dir, 0700);
    if (err < 0)
        text_addf(why, "stateDir %.*s: %s", STR_ARG(dir), file_why(err));
    if (err == 0)
        err = judge(dir, why);
    return err < 0 ? err : take(dir, out_fd, why);
}

void state_dir_release(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}
