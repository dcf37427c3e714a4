#include "captured_net.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const commands[] = {
    "ip link set lo up",
    "ip addr add 10.97.0.1/32 dev lo",
    "ip rule add fwmark 1 lookup 100",
    "ip route add local 0.0.0.0/0 dev lo table 100",
    "ip -6 rule add fwmark 1 lookup 100",
    "ip -6 route add local ::/0 dev lo table 100",
    "ip route add 10.96.0.0/16 dev lo src 127.0.0.1",
    "ip -6 route add fd96::/64 dev lo src ::1",
    "nft add table inet t",
    "nft add chain inet t out '{ type route hook output priority mangle; }'",
    "nft add rule inet t out meta mark 7 accept",
    "nft add rule inet t out udp dport 53 meta mark set 1",
    "nft add rule inet t out tcp dport 80 meta mark set 1",
    "nft add chain inet t pre '{ type filter hook prerouting priority mangle; }'",
    "nft add rule inet t pre meta nfproto ipv4 udp dport 53 tproxy ip to :15053",
    "nft add rule inet t pre meta nfproto ipv6 udp dport 53 tproxy ip6 to :15053",
    "nft add rule inet t pre meta l4proto tcp socket transparent 1 socket wildcard 0 meta mark set "
    "1"
    " accept",
    "nft add rule inet t pre meta nfproto ipv4 tcp dport 80 tproxy ip to :15001",
    "nft add rule inet t pre meta nfproto ipv6 tcp dport 80 tproxy ip6 to :15001",
};

bool captured_net_enter(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
        return false;
    for (size_t idx = 0; idx < sizeof(commands) / sizeof(commands[0]); idx++)
        if (system(commands[idx]) != 0)
            return false;
    return true;
}
