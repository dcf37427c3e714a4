#include "hole.h"

#include <criterion/criterion.h>
#include <unistd.h>

#include "proxy/base/addr.h"

void hole_dig(struct hole *hole, const char *address, uint16_t port)
{
    struct addr addr = {.port = port};
    struct sockaddr_storage sa;
    cr_assert_eq(ip_parse(str_from(address), &addr.ip), 0);
    const socklen_t len = addr_to_sockaddr(&addr, &sa);
    hole->fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(hole->fds[0], (struct sockaddr *)&sa, len), 0);
    cr_assert_eq(listen(hole->fds[0], 0), 0);
    for (int i = 1; i < HOLE_FDS; i++) {
        hole->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(hole->fds[i], (struct sockaddr *)&sa, len);
    }
}

void hole_make_room(struct hole *hole)
{
    int fd;
    for (int i = 1; i < HOLE_FDS; i++) {
        close(hole->fds[i]);
        hole->fds[i] = -1;
    }
    while ((fd = accept4(hole->fds[0], NULL, NULL, SOCK_CLOEXEC)) >= 0)
        close(fd);
}

void hole_fill(struct hole *hole)
{
    for (int i = 0; i < HOLE_FDS; i++)
        if (hole->fds[i] >= 0)
            close(hole->fds[i]);
}
