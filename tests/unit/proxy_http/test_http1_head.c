/*
 * Heads are read in one go when they come in one piece, copied as one piece, and written as the
 * lines that they came in. Each of these has a slow way beside it; they have to agree about every
 * head, good or bad.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/text.h"
#include "proxy/http/http1_head.h"

TestSuite(http1_head, .timeout = 120);

static struct http_limits limits = {.fields = 12};
static const struct http1_hop hop = {.length = HTTP_LENGTH_UNKNOWN};
static struct slab_pool slabs;

static void start(void)
{
    slab_pool_init(&slabs, 16);
}

static void finish(void)
{
    slab_pool_fini(&slabs);
}

/* ------------------------------------------------------------------ what was read, in words */

static void say_fields(struct text *to, const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++)
        text_addf(to, "%.*s: %.*s|\n", STR_ARG(fields->at[i].name), STR_ARG(fields->at[i].value));
}

static void say_request(struct text *to, const struct http_request *request)
{
    text_addf(to, "%.*s %.*s at %.*s, version %d, length %lld, body %d, upgrade %.*s\n",
              STR_ARG(request->method), STR_ARG(request->path), STR_ARG(request->authority),
              (int)request->version, (long long)request->content_length, request->has_body,
              STR_ARG(request->protocol));
    say_fields(to, &request->fields);
}

static void say_verdict(struct text *to, const struct http1_verdict *verdict)
{
    text_addf(to, "framing %d, closes %d, continue %d, upgrade %.*s\n", (int)verdict->framing,
              verdict->closes, verdict->expects_continue, STR_ARG(verdict->upgrade));
}

static void say_slice(struct text *to, struct slice bytes)
{
    text_add(to, slice_str(bytes));
    slice_release(bytes);
}

/* As it is written when nothing is known of where it lies. */
static struct slice written_plainly(const struct http_request *request)
{
    struct http_request plain = *request;

    plain.piece = (struct str){0};
    plain.fields.are_lines = false;
    return http1_write_request(&slabs, &plain, &hop);
}

static void check_writing(const struct http_request *request, const char *what)
{
    const struct slice fast = http1_write_request(&slabs, request, &hop);
    const struct slice plain = written_plainly(request);

    cr_assert(str_eq(slice_str(fast), slice_str(plain)), "%s:\n%.*s\nis not\n%.*s", what,
              STR_ARG(slice_str(fast)), STR_ARG(slice_str(plain)));
    slice_release(fast);
    slice_release(plain);
}

/* A copy says the same and is written the same, also when the bytes of the first are gone. */
static void check_copy(struct http1_head *head, const struct http_request *request)
{
    struct text before = {0}, after = {0};
    struct arena arena = {0};
    struct http_request copy;
    http_request_copy(request, &arena, &copy);

    say_request(&before, request);
    memset(head->bytes, 'X', head->len);
    memset(head->fields, 0, head->n_fields * sizeof(*head->fields));
    say_request(&after, &copy);
    cr_assert(str_eq(text_str(&before), text_str(&after)), "%.*s", STR_ARG(text_str(&after)));
    check_writing(&copy, "a copy");
    text_fini(&before);
    text_fini(&after);
    arena_fini(&arena);
}

static void read_request(struct http1_head *head, struct text *to)
{
    struct http_request request;
    struct http1_verdict verdict;

    if (!http1_read_request(head, &request, &verdict))
        return;
    say_request(to, &request);
    say_verdict(to, &verdict);
    check_writing(&request, "what was read");
    check_copy(head, &request);
}

static void read_response(struct http1_head *head, struct text *to)
{
    struct http_response response;
    struct http1_verdict verdict;

    if (!http1_read_response(head, false, &response, &verdict))
        return;
    text_addf(to, "%u, length %lld, body %d\n", response.status, (long long)response.content_length,
              response.has_body);
    say_fields(to, &response.fields);
    say_verdict(to, &verdict);
    const struct http_response plain = {
        .status = response.status,
        .fields = {.at = response.fields.at, .len = response.fields.len}};
    struct text fast = {0}, slow = {0};
    say_slice(&fast, http1_write_response(&slabs, &response, &hop));
    say_slice(&slow, http1_write_response(&slabs, &plain, &hop));
    cr_assert(str_eq(text_str(&fast), text_str(&slow)), "%.*s", STR_ARG(text_str(&fast)));
    text_fini(&fast);
    text_fini(&slow);
}

/* In reads of so many bytes, each in memory of its own. */
static bool judge(enum http1_kind kind, struct str bytes, size_t piece, struct text *to)
{
    struct http1_head *head = http1_head_new(&slabs, kind, &limits);
    size_t n_taken = 0;

    while (n_taken < bytes.len && !head->is_whole && !head->fault) {
        const struct str part = str_sub(bytes, n_taken, piece);
        char *own = malloc(part.len);
        memcpy(own, part.ptr, part.len);
        n_taken += http1_take(head, own, part.len);
        free(own);
    }
    const bool was_at_once = head->has_read_all;
    if (head->is_whole && !head->fault && kind == HTTP1_REQUEST)
        read_request(head, to);
    else if (head->is_whole && !head->fault)
        read_response(head, to);
    if (head->fault)
        text_addf(to, "%u%s: %s\n", head->fault, head->is_ambiguous ? " twice" : "", head->why);
    else
        text_addf(to, "whole %d, %zu bytes\n", head->is_whole, n_taken);
    http1_head_free(head);
    return was_at_once;
}

/* ------------------------------------------------------------------ every head there is */

static bool check(enum http1_kind kind, struct str bytes)
{
    struct text once = {0}, slowly = {0}, halves = {0};
    const bool was_at_once = judge(kind, bytes, bytes.len, &once);

    cr_assert(!judge(kind, bytes, 1, &slowly));
    (void)judge(kind, bytes, bytes.len / 2 + 1, &halves);
    cr_assert(str_eq(text_str(&once), text_str(&slowly)),
              "%.*s\nis at once\n%.*sand byte by byte\n%.*s", STR_ARG(bytes),
              STR_ARG(text_str(&once)), STR_ARG(text_str(&slowly)));
    cr_assert(str_eq(text_str(&once), text_str(&halves)), "%.*s", STR_ARG(bytes));
    text_fini(&once);
    text_fini(&slowly);
    text_fini(&halves);
    return was_at_once;
}

struct sample {
    enum http1_kind kind;
    struct str bytes;
};

static const struct sample samples[] = {
    {HTTP1_REQUEST, STR("GET /1024 HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\n\r\n")},
    {HTTP1_REQUEST, STR("POST /a?b=c HTTP/1.1\r\nAccept: */*\r\nHost: a.b:80\r\n"
                        "Content-Length: 4\r\nConnection: keep-alive, X-Own\r\nX-Own: 1\r\n"
                        "X_Odd.Name: v\r\n\r\nbody")},
    {HTTP1_REQUEST, STR("GET http://a/x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n"
                        "Connection: upgrade\r\nA: \r\nB:\r\nExpect: 100-continue\r\n"
                        "TE: trailers\r\nC:\t d \r\n\r\n")},
    {HTTP1_REQUEST, STR("PUT / HTTP/1.1\r\nhost:a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")},
    {HTTP1_REQUEST,
     STR("GET /a/target/that/is/longer/than/what/a/field/counts/for/beside/its/bytes "
         "HTTP/1.1\r\nHost: a\r\n\r\n")},
    {HTTP1_RESPONSE,
     STR("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 10\r\nX: y\r\n\r\n")},
    {HTTP1_RESPONSE, STR("HTTP/1.1 404 Not \t Found\r\nTransfer-Encoding: chunked\r\n\r\n")},
    {HTTP1_RESPONSE, STR("HTTP/1.1 101 \r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n")},
};

static const char others[] = "\0 \t\r\n:A1a#-_,.x\x1f\x7f\x80\xff";

#define LONGEST 200

Test(http1_head, with_any_one_byte_another_is_judged_the_same_at_once_and_byte_by_byte,
     .init = start, .fini = finish)
{
    char bytes[LONGEST];

    for (size_t n = 0; n < ARRAY_LEN(samples); n++) {
        const struct sample *sample = &samples[n];
        for (size_t at = 0; at < sample->bytes.len; at++) {
            for (size_t i = 0; i < sizeof(others) - 1; i++) {
                memcpy(bytes, sample->bytes.ptr, sample->bytes.len);
                bytes[at] = others[i];
                (void)check(sample->kind, str_of(bytes, sample->bytes.len));
            }
        }
    }
}

Test(http1_head, with_one_byte_more_or_less_too, .init = start, .fini = finish)
{
    char bytes[LONGEST];

    for (size_t n = 0; n < ARRAY_LEN(samples); n++) {
        const struct str whole = samples[n].bytes;
        for (size_t at = 0; at < whole.len; at++) {
            for (size_t i = 0; i < sizeof(others) - 1; i += 2) {
                memcpy(bytes, whole.ptr, at);
                bytes[at] = others[i];
                memcpy(bytes + at + 1, whole.ptr + at, whole.len - at);
                (void)check(samples[n].kind, str_of(bytes, whole.len + 1));
            }
            memcpy(bytes + at, whole.ptr + at + 1, whole.len - at - 1);
            (void)check(samples[n].kind, str_of(bytes, whole.len - 1));
        }
    }
}

Test(http1_head, the_usual_ones_are_read_at_once, .init = start, .fini = finish)
{
    for (size_t n = 0; n < ARRAY_LEN(samples); n++)
        cr_expect(check(samples[n].kind, samples[n].bytes), "sample %zu", n);
    cr_expect(!check(HTTP1_REQUEST, STR("GET / HTTP/1.0\r\n\r\n")));
    cr_expect(!check(HTTP1_RESPONSE, STR("HTTP/1.1 200\r\n\r\n")));
}

Test(http1_head, of_any_size_too, .init = start, .fini = finish)
{
    struct text head = {0};

    for (size_t len = 1; len<5000; len += len> 1900 && len < 2100 ? 1 : 97) {
        text_clear(&head);
        text_addf(&head, "GET / HTTP/1.1\r\nHost: a\r\nX: %0*d\r\n\r\n", (int)len, 7);
        (void)check(HTTP1_REQUEST, text_str(&head));
    }
    for (unsigned n = 1; n < 20; n++) {
        text_clear(&head);
        text_add(&head, STR("GET / HTTP/1.1\r\nHost: a\r\n"));
        for (unsigned i = 0; i < n; i++)
            text_addf(&head, "Name-%u: value\r\n", i);
        text_add(&head, STR("\r\n"));
        cr_expect_eq(check(HTTP1_REQUEST, text_str(&head)), n < 12);
    }
    text_fini(&head);
}

/* The next head stands behind it in the same read, and the bound is at each of its bytes. */
Test(http1_head, cut_anywhere_and_bounded_anywhere_it_is_the_same_head, .init = start,
     .fini = finish)
{
    struct text bytes = {0};

    for (size_t n = 0; n < ARRAY_LEN(samples); n++) {
        const size_t len = samples[n].bytes.len;
        text_clear(&bytes);
        text_add(&bytes, samples[n].bytes);
        text_add(&bytes, STR("GET /next HTTP/1.1\r\nHost: next\r\n\r\n"));
        for (size_t at = 1; at <= len + 40; at++) {
            struct text once = {0}, cut = {0};
            limits.head_bytes = (uint32_t)at;
            (void)check(samples[n].kind, text_str(&bytes));
            limits.head_bytes = 0;
            (void)judge(samples[n].kind, text_str(&bytes), bytes.len, &once);
            (void)judge(samples[n].kind, text_str(&bytes), at, &cut);
            cr_assert(str_eq(text_str(&once), text_str(&cut)), "sample %zu, cut at %zu", n, at);
            text_fini(&once);
            text_fini(&cut);
        }
    }
    text_fini(&bytes);
}

/* RFC 9110 10.1.4: te is of one hop, like the others that connection names. */
Test(http1_head, what_is_of_this_hop_is_named_by_connection, .init = start, .fini = finish)
{
    const struct http_field te = {STR("te"), STR("trailers")};
    const struct http_request request = {.method = STR("GET"),
                                         .path = STR("/"),
                                         .authority = STR("a"),
                                         .fields = {.at = &te, .len = 1}};
    const struct http1_hop closing = {
        .length = HTTP_LENGTH_UNKNOWN, .closes = true, .upgrade = STR("x")};
    struct text told = {0};

    say_slice(&told, http1_write_request(&slabs, &request, &closing));
    cr_expect_str_eq(told.ptr, "GET / HTTP/1.1\r\nhost: a\r\nte: trailers\r\n"
                               "connection: close, upgrade, te\r\nupgrade: x\r\n\r\n");
    text_fini(&told);
}
