/* Keys fetched from a real server on loopback, from files, and what is kept of them. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "certs/jwk.h"
#include "cluster.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/http/h1_server.h"
#include "tests/kit/jwt_kit.h"
#include "tests/kit/loop_kit.h"
#include "xds/control/token_keys.h"

#define MS NS_PER_MS

static struct cluster cluster;
static struct loop *loop;
static struct meter *meter;
static struct h1_server *server;
static struct token_keys *keys;
static struct jwt_key one, two;
static struct str uri;
static unsigned n_changes, n_asked;
static struct temp_dir dir; /* of the state and of files */

static struct { /* what the server answers */
    unsigned status;
    struct str body;
    bool is_slow;
    struct h1_exchange *held[64];
    size_t n_held;
} answer;

static void on_request(void *owner, struct h1_exchange *exchange, const struct h1_request *request)
{
    (void)owner;
    (void)request;
    n_asked++;
    if (answer.is_slow && answer.n_held < 64)
        answer.held[answer.n_held++] = exchange;
    else
        h1_answer(exchange, answer.status, "application/json", answer.body);
}

static void on_change(void *owner)
{
    (void)owner;
    n_changes++;
}

static void open_keys(void)
{
    struct text why = {0};
    const struct token_keys_options options = {.state_dir = temp_dir_path(&dir),
                                               .meter = meter,
                                               .refresh_ns = 20 * MS,
                                               .on_change = on_change};

    cr_assert_eq(token_keys_open(loop, &options, &keys, &why), 0, "%s", why.ptr);
    text_fini(&why);
}

static void follow(struct str from, const char *timeout)
{
    text_clear(&cluster.yaml);
    cluster_addf(&cluster,
                 "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: "
                 "{namespace: shop, name: a}, spec: {jwtRules: [{issuer: i, timeout: %s, jwksUri: "
                 "\"%.*s\"}]}}",
                 timeout, STR_ARG(from));
    cluster_build(&cluster);
    token_keys_follow(keys, cluster.manifests);
}

static void init(void)
{
    struct addr local;
    int saved_errno = 0;

    cluster_init(&cluster);
    loop = loop_new();
    meter = meter_new();
    one = jwt_key_new("ES256", "one");
    two = jwt_key_new("EdDSA", "two");
    dir = temp_dir_new();
    answer.status = 200;
    answer.body = jwt_key_set(&one, 1, ",\"use\":\"sig\"", &cluster.arena);
    cr_assert_eq(addr_parse(STR("127.0.0.1:0"), &local), 0);
    cr_assert_eq(h1_server_open(loop, &local, on_request, NULL, &server, &saved_errno), 0);
    uri = arena_printf(&cluster.arena, "http://127.0.0.1:%u/keys", h1_server_addr(server).port);
    open_keys();
}

static void fini(void)
{
    token_keys_close(keys);
    for (size_t i = 0; i < answer.n_held; i++)
        h1_answer(answer.held[i], 200, "text/plain", STR(""));
    h1_server_close(server);
    loop_finish(loop);
    meter_free(meter);
    jwt_key_free(&one);
    jwt_key_free(&two);
    cluster_fini(&cluster);
    temp_dir_remove(&dir);
}

TestSuite(token_keys, .init = init, .fini = fini, .timeout = 60);

/* The name as a member has it: three letters alone may be spelt by a key in base64. */
static bool holds(const char *kid)
{
    struct arena arena = {0};
    size_t n;
    const struct registry_keys *list = token_keys_list(keys, &arena, &n);
    const struct str member = arena_printf(&arena, "\"kid\":\"%s\"", kid);
    const bool is_there = n == 1 && str_contains(list[0].jwks, member);

    arena_fini(&arena);
    return is_there;
}

static bool holds_kid(void *kid)
{
    return holds(kid);
}

static bool has_failed(void *n)
{
    return meter_total(METRIC_TOKEN_KEYS_FAILED) >= *(const int *)n;
}

static void wait_for(const char *kid)
{
    cr_assert(run_until(loop, holds_kid, (void *)(uintptr_t)kid, 20000), "no key %s", kid);
}

static void wait_for_failures(int more)
{
    int n = (int)meter_total(METRIC_TOKEN_KEYS_FAILED) + more;

    cr_assert(run_until(loop, has_failed, &n, 20000));
}

static struct token_keys_status status(void)
{
    struct token_keys_status status;
    size_t idx = 0;

    cr_assert(token_keys_next(keys, &idx, &status));
    return status;
}

static bool is_told(void *why)
{
    return str_contains(status().last_error, str_from(why));
}

/* A fetch that the machine slept through fails in another way. */
static void wait_for_error(const char *why)
{
    cr_assert(run_until(loop, is_told, (void *)(uintptr_t)why, 20000), "%.*s is not \"%s\"",
              STR_ARG(status().last_error), why);
}

Test(token_keys, are_fetched_and_followed_when_they_rotate)
{
    follow(uri, "60s");
    cr_assert(!holds("one"), "not before the server answered");
    wait_for("one");
    cr_assert_eq(n_changes, 1);
    answer.body = jwt_key_set(&two, 1, "", &cluster.arena);
    wait_for("two");
    cr_assert_eq(n_changes, 2, "told when they are others, not at every look");
    cr_assert_gt(n_asked, 1);
    cr_assert_eq(meter_total(METRIC_TOKEN_KEYS_FAILED), 0);
}

Test(token_keys, the_last_good_ones_stay_while_their_server_fails)
{
    char *large = arena_alloc(&cluster.arena, JWK_SET_MAX_BYTES + 1);

    follow(uri, "200ms");
    wait_for("one");
    answer.status = 503;
    wait_for_failures(2);
    cr_assert(holds("one"));
    wait_for_error("status 503");
    answer.status = 200;
    answer.body = STR("{\"keys\":[]}");
    wait_for_failures(1);
    cr_assert(holds("one"));
    memset(large, ' ', JWK_SET_MAX_BYTES + 1);
    answer.body = str_of(large, JWK_SET_MAX_BYTES + 1);
    wait_for_failures(2);
    wait_for_error("too large");
    answer.is_slow = true;
    wait_for_failures(2);
    wait_for_error("in time");
    cr_assert(holds("one"));
    answer.is_slow = false;
    answer.body = jwt_key_set(&two, 1, "", &cluster.arena);
    wait_for("two");
    cr_assert_eq(status().last_error.len, 0);
}

Test(token_keys, are_kept_for_a_restart_and_forgotten_when_nobody_names_them)
{
    follow(uri, "5s");
    wait_for("one");
    token_keys_close(keys);
    answer.status = 503;
    open_keys();
    token_keys_follow(keys, cluster.manifests);
    cr_assert(holds("one"), "at once, without the server");
    follow(STR("http://127.0.0.1:1/other"), "5s");
    cr_assert(!holds("one"));
    token_keys_close(keys);
    open_keys();
    follow(uri, "5s");
    cr_assert(!holds("one"), "what was kept went with its rule");
}

/* The two URIs were searched for, in less than a second: they have one XXH64. */
Test(token_keys, kept_of_one_source_are_not_those_of_another_made_to_look_alike)
{
    const struct str theirs = STR("file:///proc/self/cwd/u8jzPde0IgxLd6GncfBAepfJBd0Kh8oOOL8dKLzdoc"
                                  "J2isAjIhKtJ0RlgLKOmxgJTeKdNnFRIB");
    const struct str ours = STR("file:///proc/self/cwd/u8jzPde0IgSKwO0LDUBAepfJBd0Kh8oOOL8dKLzdoc"
                                "i5HA4mYhKtJ0RlgLKOmxgJTeKdNnFRIB");

    cr_assert_eq(str_hash(theirs, 0), str_hash(ours, 0));
    cr_assert_eq(chdir(dir.path), 0);
    cr_assert_eq(file_write_atomic(str_sub(theirs, strlen("file:///proc/self/cwd/"), theirs.len),
                                   answer.body, 0600),
                 0);
    follow(theirs, "5s");
    wait_for("one");
    token_keys_close(keys);
    open_keys();
    follow(ours, "5s");
    cr_assert(!holds("one"));
}

Test(token_keys, of_a_file_are_read_again_when_it_changes)
{
    struct str path = arena_printf(&cluster.arena, "%s/keys.json", dir.path);
    struct str file_uri = arena_printf(&cluster.arena, "file://%.*s", STR_ARG(path));

    follow(file_uri, "5s");
    wait_for_failures(1);
    cr_assert_eq(file_write_atomic(path, answer.body, 0600), 0);
    wait_for("one");
    cr_assert_eq(file_write_atomic(path, jwt_key_set(&two, 1, "", &cluster.arena), 0600), 0);
    wait_for("two");
    cr_assert_eq(n_asked, 0);
}

Test(token_keys, of_a_server_that_nobody_can_verify_are_not_taken)
{
    /* Speaks no TLS; that one with a stranger's certificate is refused too, test_federation.py. */
    follow(arena_printf(&cluster.arena, "https://127.0.0.1:%u/keys", h1_server_addr(server).port),
           "5s");
    wait_for_failures(1);
    cr_assert(!holds("one"));
    cr_assert(!status().has_keys);
}

/* So many sources of that name. */
static void follow_all(const char *name, int n)
{
    text_clear(&cluster.yaml);
    for (int i = 0; i < n; i++)
        cluster_addf(
            &cluster,
            "---\n{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: "
            "{namespace: shop, name: a%d}, spec: {jwtRules: [{issuer: i, jwksUri: "
            "\"file:///nowhere/%s/%d\"}]}}\n",
            i, name, i);
    cluster_build(&cluster);
    token_keys_follow(keys, cluster.manifests);
}

Test(token_keys, sources_that_replace_all_others_find_room)
{
    struct token_keys_status one_of;
    size_t n = 0;

    follow_all("before", TOKEN_KEYS_SOURCES_MAX);
    follow_all("after", TOKEN_KEYS_SOURCES_MAX);
    for (size_t idx = 0; token_keys_next(keys, &idx, &one_of); n++)
        cr_assert(str_contains(one_of.uri, STR("/after/")), "%s", one_of.uri.ptr);
    cr_assert_eq(n, TOKEN_KEYS_SOURCES_MAX);
}

Test(token_keys, that_were_kept_go_when_their_rule_went_while_nobody_was_there)
{
    const struct str other = STR("http://127.0.0.1:1/other");
    struct str stranger;

    follow(uri, "5s");
    wait_for("one");
    token_keys_close(keys);
    answer.status = 503;
    stranger = arena_printf(&cluster.arena, "%s/token-keys/notes.json", dir.path);
    cr_assert_eq(file_write_atomic(stranger, STR("x"), 0600), 0);
    open_keys();
    follow(other, "5s"); /* the rule was changed meanwhile */
    token_keys_close(keys);
    open_keys();
    follow(uri, "5s");
    cr_expect(!holds("one"));
    cr_expect_eq(access(stranger.ptr, F_OK), 0, "what it did not write it leaves alone");
}

Test(token_keys, that_are_too_many_are_told_each_time_that_they_become_so)
{
    int fds[2];
    char told[16384];
    struct str rest;
    unsigned n_told = 0;

    cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    log_start(fds[1], -1);
    log_attach("test");
    follow_all("a", TOKEN_KEYS_SOURCES_MAX + 2);
    follow_all("b", TOKEN_KEYS_SOURCES_MAX + 2);
    follow_all("b", 1);
    follow_all("c", TOKEN_KEYS_SOURCES_MAX + 1);
    log_stop();
    const ssize_t len = read(fds[0], told, sizeof(told));
    cr_assert_gt(len, 0);
    rest = str_of(told, (size_t)len);
    for (struct str line; rest.len > 0; n_told += str_contains(line, STR("too many sources"))) {
        line = rest;
        if (!str_split(rest, '\n', &line, &rest))
            rest = (struct str){0};
    }
    cr_expect_eq(n_told, 2, "%u: a and b are one time", n_told);
    (void)close(fds[0]);
    (void)close(fds[1]);
}
