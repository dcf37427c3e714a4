/*
 * tls_handshake.c - from a lower stream to a TLS stream.
 *
 * Happy path: each read steps OpenSSL's handshake, in one of the next turns if many want to (a step
 * signs and verifies, so that it takes as long as a hundred small messages); when it is done and
 * the peer speaks h2, the lower stream's events go over to the stream and on_done(0) gives it away.
 * Failure modes: what tls_check.c finds, what OpenSSL says, the lower stream's end or death, the
 * deadline; each ends in fail(), once.
 */
#include <openssl/err.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/tls/tls_internal.h"

#define TIMEOUT_NS (10 * NS_PER_SEC)

struct tls_handshake {
    struct tls_stream *stream;
    struct tls_check check;
    struct task task; /* the first step, or one that was put off */
    bool is_http1, is_web, has_bad_name, follows_trust;
    struct timer timer;
    void (*on_done)(void *owner, int err, struct stream *stream, struct str why);
    void *owner;
};

static void free_memory(void *ptr)
{
    mem_free(ptr);
}

static void finish(struct tls_handshake *h)
{
    timer_stop(&h->timer);
    arena_fini(&h->check.arena);
    verify_path_free(h->check.proof.path);
    h->check.proof.path = NULL;
    tls_check_attach(h->stream->ssl, NULL);
    task_cancel(&h->task);
    loop_bury(h->stream->loop, h, free_memory);
}

/* lower_err 0 lets the alert go out before the lower stream ends. */
static void fail(struct tls_handshake *h, int err, const char *why, int lower_err)
{
    struct tls_stream *s = h->stream;

    stage_flush(&s->stage);
    if (lower_err == 0)
        stream_shutdown(s->lower);
    finish(h);
    tls_stream_drop(s, lower_err);
    h->on_done(h->owner, err, NULL, str_from(why));
}

static void refused(struct tls_handshake *h)
{
    const char *why;
    const long verdict = SSL_get_verify_result(h->stream->ssl);
    int err = tls_check_failure(&h->check, &why);

    if (h->is_web && verdict != X509_V_OK) {
        err = -ERR_TLS_CHAIN;
        why = X509_verify_cert_error_string(verdict);
    }

    fail(h, err, why, 0);
}

static bool peer_speaks_h2(const SSL *ssl)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(ssl, &name, &len);
    return str_eq(str_of(name, len), STR("h2"));
}

static void keep_peer(struct tls_stream *s, struct tls_check *check)
{
    ensure(check->err == 0); /* else the names are claims */
    s->proof = check->proof;
    check->proof.path = NULL;
    s->peer.id = arena_str(&s->arena, str_from(check->id));
    s->peer.serial = arena_str(&s->arena, str_from(check->serial));
    s->peer.not_after_ns = check->not_after_ns;
    s->peer.was_known = check->was_known;
    s->peer.version = SSL_get_version(s->ssl);
    s->peer.cipher = SSL_get_cipher_name(s->ssl);
}

static void done(struct tls_handshake *h)
{
    struct tls_stream *s = h->stream;

    tls_identity_forget(s->ssl);
    if (!h->is_http1 && !peer_speaks_h2(s->ssl)) {
        fail(h, -ERR_TLS_ALPN, "the server did not agree to h2", 0);
        return;
    }
    /* Trust may have changed between the certificate and the end of the handshake. A server of the
     * web was proven by none of ours, and its caller need not have any. */
    int err = h->is_web ? 0
                        : tls_check_again(&h->check.proof, s->ssl, str_from(h->check.id),
                                          *h->check.trust);
    if (err < 0) {
        fail(h, err, err_text(err), err);
        return;
    }
    stage_flush(&s->stage);
    keep_peer(s, &h->check);
    s->trust = h->follows_trust ? h->check.trust : NULL;
    finish(h);
    tls_stream_start(s);
    h->on_done(h->owner, 0, &s->base, (struct str){0});
}

static void step(struct tls_handshake *h)
{
    struct tls_stream *s = h->stream;
    int result;
    int code;

    ERR_clear_error();
    result = SSL_do_handshake(s->ssl);
    if (result == 1) {
        done(h);
        return;
    }
    code = SSL_get_error(s->ssl, result);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
        stage_flush(&s->stage);
    else
        refused(h);
}

static void on_timeout(struct timer *timer)
{
    struct tls_handshake *h = container_of(timer, struct tls_handshake, timer);

    fail(h, -ERR_HANDSHAKE_TIMEOUT, err_text(-ERR_HANDSHAKE_TIMEOUT), -ERR_HANDSHAKE_TIMEOUT);
}

/* What came has been waiting. */
static void step_late(struct task *task)
{
    struct tls_handshake *h = container_of(task, struct tls_handshake, task);
    struct tls_stream *s = h->stream;

    step(h);
    tls_stream_trim_input(s);
    if (timer_is_running(&h->timer)) /* it is neither done nor failed */
        stream_resume(s->lower);
}

static void start(struct task *task)
{
    struct tls_handshake *h = container_of(task, struct tls_handshake, task);

    if (h->has_bad_name) {
        fail(h, -ERR_INVALID, "the server's name is no host name", -ERR_INVALID);
        return;
    }

    h->task.run = step_late;
    stream_resume(h->stream->lower);
    step(h);
}

/* ------------------------------------------------------------------ the lower stream's events */

static void on_lower_data(void *owner, struct slice bytes)
{
    struct tls_handshake *h = owner;
    struct tls_stream *s = h->stream;

    s->input = bytes;
    if (loop_put_off(s->loop, &h->task))
        stream_pause(s->lower);
    else
        step(h);
    tls_stream_keep_input(s); /* for the late step, or what came behind the handshake */
}

static void on_lower_end(void *owner)
{
    fail(owner, -ERR_EOF, "the peer closed during the TLS handshake", 0);
}

static void on_lower_drain(void *owner)
{
    struct tls_handshake *h = owner;

    stage_drained(&h->stream->stage);
}

static void on_lower_fail(void *owner, int err)
{
    fail(owner, err, err_text(err), err);
}

static const struct stream_events lower_events = {
    .on_data = on_lower_data,
    .on_end = on_lower_end,
    .on_drain = on_lower_drain,
    .on_fail = on_lower_fail,
};

/* ------------------------------------------------------------------ birth */

static void set_role(SSL *ssl, const struct tls_options *options)
{
    int mode = SSL_VERIFY_PEER;

    if (options->role == TLS_CLIENT)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    if (!options->peer_certificate_optional)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_verify(ssl, mode, NULL);
}

static void fill_check(struct tls_check *check, const struct tls_options *options)
{
    check->role = options->role;
    check->trust = options->trust;
    check->verified = options->verified;
    check->n_expected = options->n_expected;
    if (options->n_expected == 0)
        return;
    check->expected = arena_new_array(&check->arena, struct str, options->n_expected);
    for (size_t i = 0; i < options->n_expected; i++)
        check->expected[i] = arena_str(&check->arena, options->expected[i]);
}

struct tls_handshake *
tls_handshake(struct loop *loop, struct stream *lower, const struct tls_options *options,
              void (*on_done)(void *owner, int err, struct stream *stream, struct str why),
              void *owner)
{
    struct tls_handshake *h = mem_new(struct tls_handshake);
    SSL *ssl = tls_identity_ssl(options->identity);

    ensure(ssl); /* fails for want of memory only */
    h->stream = tls_stream_new(loop, lower, ssl);
    h->task.run = start;
    h->on_done = on_done;
    h->owner = owner;
    set_role(ssl, options);
    h->is_web = tls_identity_is_web(options->identity);
    h->is_http1 = h->is_web || options->server_name.len > 0;
    h->has_bad_name = h->is_http1 && !tls_check_name_server(ssl, options->server_name, h->is_web);
    fill_check(&h->check, options);
    h->follows_trust = options->follows_trust;
    tls_check_attach(ssl, &h->check);
    timer_start(loop, &h->timer, options->timeout_ns ? options->timeout_ns : TIMEOUT_NS,
                on_timeout);
    stream_set_owner(lower, &lower_events, h);
    loop_defer(loop, &h->task);
    return h;
}

struct tls_claim tls_handshake_claim(const struct tls_handshake *h)
{
    return (struct tls_claim){
        .id = str_from(h->check.id),
        .serial = str_from(h->check.serial),
        .not_after_ns = h->check.not_after_ns,
    };
}

void tls_handshake_cancel(struct tls_handshake *h)
{
    struct tls_stream *s = h->stream;

    finish(h);
    tls_stream_drop(s, -ERR_SHUTDOWN);
}
