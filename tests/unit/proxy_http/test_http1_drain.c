/*
 * A connection of HTTP/1.1 whose node is about to end.
 */
#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "tests/unit/proxy_http/http1_wire.h"

TestSuite(http1_drain, .timeout = 60);

Test(http1_drain, a_drained_connection_ends_with_the_next_answer, .init = start, .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    http_server_drain(seen.server);
    run_turns(loop, 20);
    cr_expect(!seen.is_dead);
    respond(200, 2);
    http1_say(&seen, "ok");
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    cr_expect(seen.is_dead && seen.dead_err == 0 && wire->is_closed);
}

/* That may have been sent before its client could know. */
static void expect_one_more(void)
{
    cr_expect(!seen.is_dead && !wire->is_shut);
    feed("GET /last HTTP/1.1\r\nHost: a\r\n\r\n");
    respond(200, 2);
    http1_say(&seen, "ok");
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    cr_expect(seen.is_dead && seen.dead_err == 0 && wire->is_closed);
}

Test(http1_drain, a_drained_connection_that_is_idle_takes_one_more_request, .init = start,
     .fini = finish)
{
    run_turns(loop, 5);
    http_server_drain(seen.server);
    run_turns(loop, 20);
    expect_one_more();
}

Test(http1_drain, a_connection_that_drains_once_it_has_promised_more_keeps_to_it, .init = start,
     .fini = finish)
{
    feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    respond(200, 2);
    http_server_drain(seen.server);
    http1_say(&seen, "ok");
    http1_close(&seen, 0);
    expect_sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    expect_one_more();
}

Test(http1_drain, a_drained_connection_that_stays_idle_ends, .init = start, .fini = finish)
{
    run_turns(loop, 5);
    http_server_drain(seen.server);
    const uint64_t due_ns = loop_now_ns(loop) + HTTP_DRAIN_IDLE_NS;
    http_server_drain(seen.server); /* once more, which makes it no longer */
    cr_expect(!seen.is_dead);
    cr_expect(run_until_set(loop, &seen.is_dead, PATIENCE_MS));
    cr_expect_geq(loop_now_ns(loop), due_ns);
    cr_expect(seen.dead_err == 0 && wire->is_shut);
}
