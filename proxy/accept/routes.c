#include "proxy/accept/routes.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>

#define LOOPBACK_IFINDEX 1
#define REQUEST_BYTES    256  /* a header and at most five attributes */
#define REPLY_BYTES      8192 /* an acknowledgement repeats the request */

/* Sends one request and waits for its acknowledgement: 0 or a negative errno. */
static int transact(struct nlmsghdr *request)
{
    char reply[REPLY_BYTES];
    struct mnl_socket *socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
    if (!socket)
        return -errno;
    int result = -EIO;
    request->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
    if (mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0 &&
        mnl_socket_sendto(socket, request, request->nlmsg_len) >= 0) {
        const ssize_t len = mnl_socket_recvfrom(socket, reply, sizeof reply);
        const unsigned port = mnl_socket_get_portid(socket);
        if (len > 0)
            result = mnl_cb_run(reply, (size_t)len, 0, port, NULL, NULL) < 0 ? -errno : 0;
    }
    (void)mnl_socket_close(socket);
    return result;
}

static int change_rule(uint8_t family, bool add, uint32_t table, uint32_t mark, uint32_t mask)
{
    char buf[REQUEST_BYTES] = {0};
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    request->nlmsg_type = add ? RTM_NEWRULE : RTM_DELRULE;
    request->nlmsg_flags = add ? NLM_F_CREATE | NLM_F_EXCL : 0;
    struct fib_rule_hdr *rule = mnl_nlmsg_put_extra_header(request, sizeof *rule);
    rule->family = family;
    rule->action = FR_ACT_TO_TBL;
    mnl_attr_put_u32(request, FRA_TABLE, table);
    mnl_attr_put_u32(request, FRA_PRIORITY, ROUTES_PRIORITY);
    mnl_attr_put_u32(request, FRA_FWMARK, mark);
    mnl_attr_put_u32(request, FRA_FWMASK, mask);
    return transact(request);
}

static int change_route(uint8_t family, bool add, uint32_t table)
{
    char buf[REQUEST_BYTES] = {0};
    struct nlmsghdr *request = mnl_nlmsg_put_header(buf);
    request->nlmsg_type = add ? RTM_NEWROUTE : RTM_DELROUTE;
    request->nlmsg_flags = add ? NLM_F_CREATE | NLM_F_EXCL : 0;
    struct rtmsg *route = mnl_nlmsg_put_extra_header(request, sizeof *route);
    route->rtm_family = family;
    route->rtm_table = RT_TABLE_UNSPEC;
    route->rtm_protocol = RTPROT_STATIC;
    route->rtm_scope = RT_SCOPE_HOST;
    route->rtm_type = RTN_LOCAL;
    mnl_attr_put_u32(request, RTA_TABLE, table);
    mnl_attr_put_u32(request, RTA_OIF, LOOPBACK_IFINDEX);
    return transact(request);
}

static int add_family(uint8_t family, uint32_t table, uint32_t mark, uint32_t mask,
                      struct text *why)
{
    int result = change_rule(family, true, table, mark, mask);
    const char *what = "ip rule";
    if (result == 0 || result == -EEXIST) {
        result = change_route(family, true, table);
        what = "ip route";
    }
    if (result == 0 || result == -EEXIST)
        return 0;
    if (family == AF_INET6 && (result == -EAFNOSUPPORT || result == -EOPNOTSUPP))
        return 0;
    text_addf(why, "%s for table %u (%s): %s", what, table, family == AF_INET ? "IPv4" : "IPv6",
              strerrordesc_np(-result));
    return -ERR_SYSTEM;
}

int routes_add(uint32_t table, uint32_t mark, uint32_t mask, struct text *why)
{
    int err = add_family(AF_INET, table, mark, mask, why);
    if (err == 0)
        err = add_family(AF_INET6, table, mark, mask, why);
    if (err < 0)
        routes_remove(table, mark, mask);
    return err;
}

void routes_remove(uint32_t table, uint32_t mark, uint32_t mask)
{
    static const uint8_t families[] = {AF_INET, AF_INET6};
    for (size_t i = 0; i < ARRAY_LEN(families); i++) {
        (void)change_rule(families[i], false, table, mark, mask);
        (void)change_route(families[i], false, table);
    }
}
