/*
 * Calls over a real HTTP/2 connection on fake streams; and a server that answers with heads of the
 * test's choice.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "h2_pair.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"
#include "tests/kit/loop_kit.h"
#include "xds/grpc.h"

TestSuite(grpc, .timeout = 60);

struct end {                /* what one end of a call heard */
    struct grpc_call *call; /* NULL once it is gone */
    struct text got;        /* messages, each followed by '|' */
    size_t n_messages, n_bytes;
    bool is_ended, is_accepted;
    int status;
    struct text message;
    unsigned n_writable;
    bool echoes, cancels_at_message, finishes_at_end;
};

struct rig {
    struct h2_pair h2;
    struct end client, server;
    /* Instead of serving: answers with these fields. */
    const struct h2_field *raw_fields;
    size_t n_raw_fields;
    const char *raw_body; /* NULL: the head ends the stream */
    size_t raw_body_len;
    unsigned checked; /* what grpc_check_request() said */
    size_t message_max;
};

static void on_message(void *owner, struct str bytes)
{
    struct end *end = owner;

    end->n_messages++;
    end->n_bytes += bytes.len;
    if (bytes.len < 1000) {
        text_add(&end->got, bytes);
        text_addc(&end->got, '|');
    }
    if (end->echoes)
        grpc_send(end->call, bytes);
    if (end->cancels_at_message) {
        grpc_cancel(end->call);
        end->call = NULL;
    }
}

static void on_client_end(void *owner, int status, struct str message)
{
    struct end *end = owner;

    cr_assert(!end->is_ended);
    end->is_ended = true;
    end->status = status;
    text_add(&end->message, message);
    end->call = NULL;
}

static void on_server_end(void *owner, int status, struct str message)
{
    struct end *end = owner;

    (void)message;
    end->is_ended = true;
    end->status = status;
    if (status != GRPC_OK)
        end->call = NULL;
    if (status == GRPC_OK && end->finishes_at_end) {
        grpc_finish(end->call, GRPC_OK, STR(""));
        end->call = NULL;
    }
}

static void on_writable(void *owner)
{
    ((struct end *)owner)->n_writable++;
}

static void on_accepted(void *owner)
{
    ((struct end *)owner)->is_accepted = true;
}

static const struct grpc_events client_events = {on_message, on_client_end, on_writable,
                                                 on_accepted};
static const struct grpc_events server_events = {on_message, on_server_end, on_writable, NULL};

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    struct rig *rig = owner;

    rig->checked = grpc_check_request(head);
    if (rig->raw_fields) {
        h2_respond(stream, rig->raw_fields, rig->n_raw_fields, !rig->raw_body);
        if (rig->raw_body) {
            stream_write_copy(stream, rig->raw_body, rig->raw_body_len);
            stream_shutdown(stream);
        }
        stream_close(stream, 0);
        return;
    }
    rig->server.call = grpc_serve(rig->h2.loop, stream, &server_events, &rig->server);
    if (rig->message_max)
        grpc_limit_messages(rig->server.call, rig->message_max);
}

static struct rig *rig_new(void)
{
    struct rig *rig = mem_new(struct rig);

    h2_pair_open(&rig->h2, on_request, rig);
    return rig;
}

static void end_fini(struct end *end)
{
    if (end->call)
        grpc_cancel(end->call);
    text_fini(&end->got);
    text_fini(&end->message);
}

static void rig_free(struct rig *rig)
{
    end_fini(&rig->client);
    end_fini(&rig->server);
    h2_pair_close(&rig->h2);
    mem_free(rig);
}

static void start(struct rig *rig, uint64_t timeout_ns)
{
    const struct h2_field metadata[] = {{STR("clusterid"), STR("west")}};

    rig->client.call = grpc_start(rig->h2.loop, rig->h2.client, STR("/a.B/C"), metadata, 1,
                                  timeout_ns, &client_events, &rig->client);
    cr_assert_not_null(rig->client.call);
}

static bool client_ended(void *rig)
{
    return ((struct rig *)rig)->client.is_ended;
}

static bool server_ended(void *rig)
{
    return ((struct rig *)rig)->server.is_ended;
}

static bool server_has_call(void *rig)
{
    return ((struct rig *)rig)->server.call != NULL;
}

static void start_served(struct rig *rig)
{
    start(rig, 0);
    cr_assert(run_until(rig->h2.loop, server_has_call, rig, 5000));
}

Test(grpc, a_unary_call_goes_there_and_back)
{
    struct rig *rig = rig_new();

    rig->server.echoes = rig->server.finishes_at_end = true;
    start(rig, 5 * NS_PER_SEC);
    cr_assert(grpc_send(rig->client.call, STR("hello")));
    grpc_half_close(rig->client.call);
    cr_assert(run_until(rig->h2.loop, client_ended, rig, 5000));

    cr_assert_eq(rig->checked, 0);
    cr_assert_str_eq(rig->server.got.ptr, "hello|");
    cr_assert_str_eq(rig->client.got.ptr, "hello|");
    cr_assert(rig->client.is_accepted);
    cr_assert_eq(rig->client.status, GRPC_OK);
    rig_free(rig);
}

Test(grpc, large_messages_pass_both_ways_under_back_pressure)
{
    struct rig *rig = rig_new();
    const size_t len = 5 << 20;
    char *bytes = mem_zalloc(len);

    rig->server.echoes = rig->server.finishes_at_end = true;
    start(rig, 0);
    cr_assert(!grpc_send(rig->client.call, str_of(bytes, len)), "5 MiB do not fit the queues");
    cr_assert(!grpc_send(rig->client.call, STR("after")));
    grpc_half_close(rig->client.call);
    cr_assert(run_until(rig->h2.loop, client_ended, rig, 20000));

    cr_assert_eq(rig->client.n_bytes, len + 5);
    cr_assert_str_eq(rig->client.got.ptr, "after|");
    cr_assert_eq(rig->client.n_writable, 1);
    cr_assert_eq(rig->client.status, GRPC_OK);
    mem_free(bytes);
    rig_free(rig);
}

Test(grpc, a_refusal_without_messages_is_one_head_with_its_sentence)
{
    struct rig *rig = rig_new();

    start_served(rig);
    grpc_finish(rig->server.call, GRPC_PERMISSION_DENIED, STR("100 % no\n"));
    rig->server.call = NULL;
    cr_assert(run_until(rig->h2.loop, client_ended, rig, 5000));

    cr_assert_eq(rig->client.status, GRPC_PERMISSION_DENIED);
    cr_assert_str_eq(rig->client.message.ptr, "100 % no\n");
    cr_assert(!rig->client.is_accepted);
    rig_free(rig);
}

Test(grpc, a_status_follows_what_is_queued)
{
    struct rig *rig = rig_new();
    const size_t len = 1 << 20;
    char *bytes = mem_zalloc(len);

    start_served(rig);
    grpc_send(rig->server.call, str_of(bytes, len));
    grpc_finish(rig->server.call, GRPC_UNAVAILABLE, STR("going away"));
    rig->server.call = NULL;
    cr_assert(run_until(rig->h2.loop, client_ended, rig, 5000));

    cr_assert_eq(rig->client.n_bytes, len);
    cr_assert_eq(rig->client.status, GRPC_UNAVAILABLE);
    cr_assert_str_eq(rig->client.message.ptr, "going away");
    mem_free(bytes);
    rig_free(rig);
}

Test(grpc, an_accepted_call_is_told_before_any_message)
{
    struct rig *rig = rig_new();

    start_served(rig);
    grpc_accept(rig->server.call);
    cr_assert(run_until_set(rig->h2.loop, &rig->client.is_accepted, 5000));
    cr_assert_eq(rig->client.n_messages, 0);
    rig_free(rig);
}

Test(grpc, a_deadline_ends_the_call_on_both_sides)
{
    struct rig *rig = rig_new();

    start(rig, 20 * NS_PER_MS);
    cr_assert(run_until(rig->h2.loop, client_ended, rig, 5000));
    cr_assert_eq(rig->client.status, GRPC_DEADLINE_EXCEEDED);
    cr_assert(run_until(rig->h2.loop, server_ended, rig, 5000));
    cr_assert_eq(rig->server.status, GRPC_CANCELLED);
    rig_free(rig);
}

Test(grpc, cancelling_says_nothing_to_the_owner_and_everything_to_the_peer)
{
    struct rig *rig = rig_new();

    start_served(rig);
    grpc_cancel(rig->client.call);
    rig->client.call = NULL;
    cr_assert(run_until(rig->h2.loop, server_ended, rig, 5000));
    cr_assert_eq(rig->server.status, GRPC_CANCELLED);
    cr_assert(!rig->client.is_ended);
    rig_free(rig);
}

Test(grpc, cancelling_inside_a_message_stops_the_next_one)
{
    struct rig *rig = rig_new();

    rig->client.cancels_at_message = true;
    start_served(rig);
    grpc_send(rig->server.call, STR("one"));
    grpc_send(rig->server.call, STR("two"));
    cr_assert(run_until(rig->h2.loop, server_ended, rig, 5000));
    cr_assert_str_eq(rig->client.got.ptr, "one|");
    rig_free(rig);
}

Test(grpc, a_dying_connection_ends_both_sides)
{
    struct rig *rig = rig_new();

    start_served(rig);
    fake_fail(rig->h2.below_client, -ERR_RESET);
    cr_assert(run_until(rig->h2.loop, client_ended, rig, 5000));
    cr_assert_eq(rig->client.status, GRPC_UNAVAILABLE);
    rig_free(rig);
}

Test(grpc, a_message_over_the_servers_limit_is_refused)
{
    struct rig *rig = rig_new();

    rig->message_max = 10;
    start(rig, 0);
    grpc_send(rig->client.call, STR("eleven bytes"));
    cr_assert(run_until(rig->h2.loop, client_ended, rig, 5000));

    cr_assert_eq(rig->client.status, GRPC_RESOURCE_EXHAUSTED);
    cr_assert_eq(rig->server.n_messages, 0);
    cr_assert_eq(rig->server.status, GRPC_CANCELLED);
    rig_free(rig);
}

#define GRPC_HEAD                                                                                  \
    {STR(":status"), STR("200")},                                                                  \
    {                                                                                              \
        STR("content-type"), STR("application/grpc")                                               \
    }

Test(grpc, strange_answers_have_their_status)
{
    const struct h2_field not_found[] = {{STR(":status"), STR("404")}};
    const struct h2_field busy[] = {{STR(":status"), STR("503")}};
    const struct h2_field html[] = {{STR(":status"), STR("200")},
                                    {STR("content-type"), STR("text/html")}};
    const struct h2_field silent[] = {GRPC_HEAD};
    const struct h2_field odd[] = {GRPC_HEAD, {STR("grpc-status"), STR("forty")}};

    const struct {
        const char *name;
        const struct h2_field *fields;
        size_t n_fields;
        const char *body;
        size_t body_len;
        int status;
    } rows[] = {
        {"404", not_found, 1, NULL, 0, GRPC_UNIMPLEMENTED},
        {"503", busy, 1, "overloaded", 10, GRPC_UNAVAILABLE},
        {"html", html, 2, "<html>", 6, GRPC_UNKNOWN},
        {"no status", silent, 2, NULL, 0, GRPC_UNKNOWN},
        {"no status after a message", silent, 2, "\0\0\0\0\0", 5, GRPC_UNKNOWN},
        {"a status that is no number", odd, 3, NULL, 0, GRPC_UNKNOWN},
        {"compressed", silent, 2, "\1\0\0\0\1x", 6, GRPC_UNIMPLEMENTED},
        {"too large", silent, 2, "\0\xff\0\0\0", 5, GRPC_RESOURCE_EXHAUSTED},
        {"cut", silent, 2, "\0\0\0\0\5hel", 8, GRPC_INTERNAL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct rig *rig = rig_new();

        rig->raw_fields = rows[i].fields;
        rig->n_raw_fields = rows[i].n_fields;
        rig->raw_body = rows[i].body;
        rig->raw_body_len = rows[i].body_len;
        start(rig, 0);
        cr_assert(run_until(rig->h2.loop, client_ended, rig, 5000), "%s", rows[i].name);
        cr_assert_eq(rig->client.status, rows[i].status, "%s: %d", rows[i].name,
                     rig->client.status);
        cr_assert(rig->client.message.len > 0 || rows[i].fields == odd, "%s", rows[i].name);
        rig_free(rig);
    }
}

Test(grpc, requests_that_are_no_grpc_have_their_http_status)
{
    const struct h2_field good[] = {{STR(":method"), STR("POST")},
                                    {STR(":path"), STR("/a.B/C")},
                                    {STR("content-type"), STR("application/grpc+proto")},
                                    {STR("te"), STR("trailers")}};
    struct h2_field fields[4];
    struct h2_head head = {.fields = fields, .len = 4};

    memcpy(fields, good, sizeof(good));
    cr_assert_eq(grpc_check_request(&head), 0);
    fields[0].value = STR("GET");
    cr_assert_eq(grpc_check_request(&head), 405);
    memcpy(fields, good, sizeof(good));
    fields[2].value = STR("application/grpcweb");
    cr_assert_eq(grpc_check_request(&head), 415);
    memcpy(fields, good, sizeof(good));
    head.len = 3;
    cr_assert_eq(grpc_check_request(&head), 415);
    head.len = 4;
    fields[1].value = STR("*");
    cr_assert_eq(grpc_check_request(&head), 404);
}
