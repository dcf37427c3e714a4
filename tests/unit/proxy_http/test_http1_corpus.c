/* Every row of http1_corpus.txt, in one piece, in two at every byte, and byte by byte. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/proxy_http/http1_corpus.h"
#include "tests/unit/proxy_http/http1_judge.h"
#include "tests/unit/proxy_http/http1_kit.h"

TestSuite(http1_corpus, .timeout = 300);

#define CUTS_MAX 120u /* of one row: long ones are cut at fewer places */

static struct loop *loop;
static struct corpus corpus;

static void start(void)
{
    loop = loop_new();
    corpus_load(&corpus, HTTP1_CORPUS);
}

static void finish(void)
{
    corpus_free(&corpus);
    loop_finish(loop);
}

static void feed_in_pieces(struct fake_stream *wire, struct str bytes, size_t piece)
{
    for (size_t at = 0; at < bytes.len; at += piece) {
        const struct str part = str_sub(bytes, at, piece);
        fake_feed(wire, part.ptr, part.len);
    }
}

static void check(const struct corpus_row *row, struct http1_seen *seen, struct fake_stream *wire,
                  size_t cut)
{
    const bool is_bad = row->is_refused || row->is_cut;
    const unsigned n_shown = row->n_served + row->is_cut;
    char status[32];

    cr_assert_eq(seen->n_requests, n_shown, "%.*s, cut at %zu: %u requests were shown",
                 STR_ARG(row->name), cut, seen->n_requests);
    cr_assert_eq(seen->n_ends, row->n_served, "%.*s, cut at %zu: %u became whole",
                 STR_ARG(row->name), cut, seen->n_ends);
    cr_assert_eq(seen->n_refused, is_bad, "%.*s, cut at %zu", STR_ARG(row->name), cut);
    if (!is_bad)
        return;
    cr_assert(str_eq(text_str(&seen->why), row->why), "%.*s, cut at %zu: %.*s", STR_ARG(row->name),
              cut, STR_ARG(text_str(&seen->why)));
    cr_assert_eq(seen->refused_status, row->status, "%.*s: %u", STR_ARG(row->name),
                 seen->refused_status);
    (void)snprintf(status, sizeof(status), "HTTP/1.1 %u ", row->status);
    cr_assert(str_contains(fake_written(wire), str_from(status)), "%.*s", STR_ARG(row->name));
    cr_assert(wire->is_closed && wire->is_shut, "%.*s, cut at %zu: stays open", STR_ARG(row->name),
              cut);
    cr_assert(seen->is_dead && seen->dead_err < 0, "%.*s", STR_ARG(row->name));
}

static void serve(const struct corpus_row *row, size_t cut, size_t piece)
{
    struct fake_stream *wire = fake_stream_new(loop);
    struct http1_seen seen = {.answers = true, .closes_at_fail = true};
    const struct http_limits limits = {0};
    const struct str bytes = text_str(&row->bytes);

    seen.server = http1_server_new(loop, &wire->stream, &limits, &http1_seen_server, &seen);
    feed_in_pieces(wire, str_sub(bytes, 0, cut), piece);
    if (cut > 0)
        run_turns(loop, 3);
    feed_in_pieces(wire, str_sub(bytes, cut, bytes.len), piece);
    run_turns(loop, 10 + (unsigned)(bytes.len / piece) * 2);
    check(row, &seen, wire, cut);
    http1_seen_fini(&seen);
    run_turns(loop, 3);
    fake_stream_free(wire);
}

Test(http1_corpus, every_row_is_judged_so_in_one_piece, .init = start, .fini = finish)
{
    unsigned n_bad = 0;

    for (size_t i = 0; i < corpus.n_rows; i++) {
        serve(&corpus.rows[i], 0, SLAB_BYTES);
        n_bad += corpus.rows[i].is_refused || corpus.rows[i].is_cut;
    }
    cr_expect_geq(n_bad, 150);
}

Test(http1_corpus, and_in_two_pieces_cut_at_every_byte, .init = start, .fini = finish)
{
    for (size_t i = 0; i < corpus.n_rows; i++) {
        const size_t len = corpus.rows[i].bytes.len;
        for (size_t cut = 1; cut < len; cut += 1 + len / CUTS_MAX)
            serve(&corpus.rows[i], cut, SLAB_BYTES);
    }
}

Test(http1_corpus, and_byte_by_byte, .init = start, .fini = finish)
{
    for (size_t i = 0; i < corpus.n_rows; i++)
        serve(&corpus.rows[i], 0, 1);
}

/* ------------------------------------------------------------------ llhttp reads it the same */

struct judged {
    struct text ours;
    struct http_stream *stream;
};

static void on_data(void *owner, struct slice bytes)
{
    judge_data(&((struct judged *)owner)->ours, slice_str(bytes));
}

static void on_end(void *owner)
{
    struct judged *judged = owner;
    const struct http_response head = http1_plain(200, 0);
    struct http_stream *stream = judged->stream;

    judge_end(&judged->ours);
    http_respond(stream, &head);
    stream_close(&stream->stream, 0);
}

static void on_drain(void *owner)
{
    (void)owner;
}

static void on_fail(void *owner, int err)
{
    stream_close(&((struct judged *)owner)->stream->stream, err);
}

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    static const struct stream_events events = {on_data, on_end, on_drain, on_fail};
    static const struct http_stream_events http_events = {0};
    const struct http_response declined = http1_plain(200, 0);
    struct judged *judged = owner;

    judged->stream = stream;
    judge_request(&judged->ours, head);
    http_stream_set_owner(stream, &http_events, &events, judged);
    stream_resume(&stream->stream);
    if (head->protocol.len > 0)
        http_respond(stream, &declined);
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    (void)owner, (void)status, (void)err, (void)why;
}

static void on_dead(void *owner, int err, struct str why)
{
    (void)owner, (void)err, (void)why;
}

Test(http1_corpus, what_is_taken_is_read_by_llhttp_the_same_way, .init = start, .fini = finish)
{
    static const struct http_server_events events = {on_request, on_refused, on_dead};
    const struct http_limits limits = {0};

    for (size_t i = 0; i < corpus.n_rows; i++) {
        struct fake_stream *wire = fake_stream_new(loop);
        struct judged judged = {0};
        const struct str bytes = text_str(&corpus.rows[i].bytes);
        struct http_server *server =
            http1_server_new(loop, &wire->stream, &limits, &events, &judged);

        fake_feed(wire, bytes.ptr, bytes.len);
        run_turns(loop, 20);
        judge_check_requests(&judged.ours, bytes);
        http_server_close(server, 0);
        run_turns(loop, 3);
        fake_stream_free(wire);
        text_fini(&judged.ours);
    }
}
