/*
 * dns_node.c - a transparent DNS server on [::]:15053 with the mesh of tests/unit/proxy_dns/zone.h
 * and the mark 1337, as dns_transparent.py wants it. Says "ready" once it listens, ends at SIGTERM.
 */
#include <signal.h>
#include <stdio.h>

#include "proxy/dns/server.h"
#include "proxy/io/process.h"
#include "tests/unit/proxy_dns/zone.h"

static void on_term(void *owner, int signum)
{
    (void)signum;
    loop_stop(owner);
}

int main(void)
{
    const struct dns_server_options options = {
        .listen = {.port = 15053}, .transparent = true, .mark = 1337, .listen_mark = 1338};
    struct loop *loop = loop_new();
    struct meter *meter = meter_new();
    struct snapshot *snapshot = zone_snapshot(7, true);
    const struct snapshot *current = snapshot;
    struct signal_watch *watch = signal_watch_open(loop, SIGTERM, on_term, loop);
    struct dns_server *server;
    int errnum;
    if (dns_server_open(loop, &options, &current, meter, &server, &errnum) < 0) {
        fprintf(stderr, "cannot listen: errno %d\n", errnum);
        return 1;
    }
    puts("ready");
    fflush(stdout);
    loop_run(loop);
    dns_server_close(server);
    signal_watch_close(watch);
    while (loop_turn(loop, true))
        continue;
    loop_free(loop);
    snapshot_free(snapshot);
    meter_free(meter);
    return 0;
}
