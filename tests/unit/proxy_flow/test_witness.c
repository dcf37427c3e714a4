/* What the walk says in the audit log, read back from the file. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/file.h"
#include "proxy/flow/witness.h"
#include "proxy/meter/meter.h"
#include "tests/kit/temp_dir.h"
#include "town.h"

TestSuite(witness, .timeout = 60);

#define LINES_MAX 64

static struct town town;
static struct temp_dir dir;
static char path[256];
static json_t *lines[LINES_MAX];
static size_t n_lines;

static void open_town(void)
{
    dir = temp_dir_new();
    (void)snprintf(path, sizeof path, "%s/audit.log", dir.path);
    n_lines = 0;
    town_open(&town);
    town_audit(&town, path);
}

/* Closes the town and reads what it wrote. */
static void read_lines(void)
{
    struct text text = {0};
    struct str line, rest;
    town_close(&town);
    cr_assert_eq(file_read_all(str_from(path), (size_t)1 << 20, &text), 0);
    rest = text_str(&text);
    while (str_split(rest, '\n', &line, &rest) && !str_is_empty(line)) {
        cr_assert_lt(n_lines, LINES_MAX);
        lines[n_lines] = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
        cr_assert_not_null(lines[n_lines], "%.*s", STR_ARG(line));
        n_lines++;
    }
    text_fini(&text);
}

static void forget_lines(void)
{
    for (size_t i = 0; i < n_lines; i++)
        json_decref(lines[i]);
    temp_dir_remove(&dir);
}

static const char *member(const json_t *line, const char *key)
{
    const char *value = json_string_value(json_object_get(line, key));
    return value ? value : "";
}

/* The idx-th line of this event, in this direction ("" is any). */
static const json_t *find(const char *event, const char *direction, size_t idx)
{
    for (size_t i = 0; i < n_lines; i++) {
        if (strcmp(member(lines[i], "event"), event) == 0 &&
            (!*direction || strcmp(member(lines[i], "direction"), direction) == 0) && idx-- == 0)
            return lines[i];
    }
    return NULL;
}

#define SAYS(line, key, value)                                                                     \
    cr_expect_str_eq(member(line, key), value, "%s: %s", key, member(line, key))
#define LACKS(line, key) cr_expect_null(json_object_get(line, key), "%s is there", key)

/* ---- cut connections ---- */

static void start_call(struct town_call *call)
{
    call_start(call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(call, 1));
}

static void expect_cut_line(const char *direction, size_t idx, const char *sentence,
                            const char *why)
{
    const json_t *cut = find("verdict", direction, idx), *end = find("end", direction, 0);
    cr_assert_not_null(cut);
    cr_assert_not_null(end);
    SAYS(cut, "decision", "deny");
    cr_expect(json_is_true(json_object_get(cut, "late")));
    SAYS(cut, "sentence", sentence);
    SAYS(cut, "src.identity", ID_A);
    SAYS(cut, "dst.identity", ID_B);
    SAYS(cut, "connection", member(end, "connection"));
    SAYS(end, "decision", "deny");
    cr_expect(json_is_true(json_object_get(end, "late")));
    SAYS(end, "why", why);
    cr_expect_null(find("end", direction, 1), "it ended twice");
}

Test(witness, a_root_that_is_removed_cuts_the_called_ones_end_and_says_so)
{
    struct town_call call;
    struct trust *without = NULL;
    struct text why = {0};
    open_town();
    start_call(&call);
    cr_assert_eq(trust_with(town.trust, STR("west.example"), STR(""), &without, &why), 0);

    town.trust = without;
    acceptor_recheck(town.n2.acceptor);

    cr_expect(tap_failed(town.world.loop, &call.tap));
    call_end(&call);
    cr_expect(town_is_quiet(&town));
    read_lines();
    expect_cut_line("inbound", 1, err_text(-ERR_TRUST_REMOVED), "trust_removed");
    SAYS(find("verdict", "inbound", 0), "decision", "allow");
    SAYS(find("end", "inbound", 0), "fault", "configuration");
    SAYS(find("end", "outbound", 0), "why", "upstream_reset");
    forget_lines();
    trust_unref(without);
}

Test(witness, a_root_that_is_removed_cuts_the_callers_end_and_says_so)
{
    struct town_call call;
    struct trust *without = NULL;
    struct text why = {0};
    open_town();
    start_call(&call);
    cr_assert_eq(trust_with(town.trust, STR("east.example"), STR(""), &without, &why), 0);

    town.trust = without;
    pool_recheck_trust(connector_pool(town.n1.connector));

    cr_expect(tap_failed(town.world.loop, &call.tap));
    call_end(&call);
    cr_expect(town_is_quiet(&town));
    read_lines();
    expect_cut_line("outbound", 0, err_text(-ERR_TRUST_REMOVED), "trust_removed");
    forget_lines();
    trust_unref(without);
}

Test(witness, a_revoked_certificate_cuts_its_connections_and_says_so)
{
    struct town_call call;
    struct trust *with = NULL;
    struct text why = {0}, crl = {0};
    open_town();
    struct svid *svid = test_svid_new(town.world.west, ID_A);
    struct tls_identity *identity;
    cr_assert_eq(tls_identity_new(svid, &identity), 0);
    struct tls_set *set = tls_set_new(2, town.world.trust);
    tls_set_add(set, identity);
    tls_set_add(set, town.world.b);
    town.set_now = set;
    start_call(&call);
    X509 *const revoked[] = {svid->leaf};
    test_crl_pem(town.world.west, &(struct test_crl){.revoked = revoked, .n_revoked = 1}, &crl);
    cr_assert_eq(trust_with_crls(town.trust, STR("west.example"), text_str(&crl), &with, &why), 0,
                 "%s", why.ptr);

    town.trust = with;
    acceptor_recheck(town.n2.acceptor);

    cr_expect(tap_failed(town.world.loop, &call.tap));
    call_end(&call);
    cr_expect(town_is_quiet(&town));
    read_lines();
    expect_cut_line("inbound", 1, err_text(-ERR_TLS_REVOKED), "tls_revoked");
    SAYS(find("end", "inbound", 0), "fault", "caller");
    forget_lines();
    trust_unref(with);
    tls_set_free(set);
    tls_identity_unref(identity);
    svid_unref(svid);
    text_fini(&crl);
}

Test(witness, a_policy_that_cuts_is_named_with_rule_and_revision)
{
    struct town_call call;
    open_town();
    start_call(&call);
    snap_policy(&town.snap, "cart", POLICY_DENY, "west.example/ns/shop/sa/cart")->revision = 0xbeef;

    town_learn(&town);

    cr_expect(tap_failed(town.world.loop, &call.tap));
    call_end(&call);
    cr_expect(town_is_quiet(&town));
    read_lines();
    expect_cut_line("inbound", 1, "explicitly denied by", "denied_late");
    const json_t *cut = find("verdict", "inbound", 1);
    SAYS(cut, "policy", "shop/cart");
    SAYS(cut, "action", "DENY");
    SAYS(cut, "mode", "enforced");
    SAYS(cut, "revision", "000000000000beef");
    cr_expect_eq(json_integer_value(json_object_get(cut, "rule")), 0);
    forget_lines();
}

/* ---- who was refused before there was a flow ---- */

struct dialled {
    bool is_done;
    struct stream *stream;
};

static void on_dialled(void *owner, int err, struct stream *stream)
{
    cr_assert_eq(err, 0);
    *(struct dialled *)owner = (struct dialled){true, stream};
}

static struct stream *dial(const char *pod)
{
    struct dialled dialled = {0};
    struct addr door = acceptor_addr(town.n2.acceptor, ARRIVAL_TUNNEL);
    cr_assert_eq(ip_parse(str_from(pod), &door.ip), 0);
    (void)tcp_connect(town.world.loop, &door, NULL, on_dialled, &dialled);
    cr_assert(run_until_set(town.world.loop, &dialled.is_done, PATIENCE_MS));
    return dialled.stream;
}

static bool is_refused(void *ctx)
{
    return meter_total(METRIC_HANDSHAKES_FAILED) > *(const int64_t *)ctx;
}

/* Dials the tunnel port as this client; back when n2 has refused it. */
static void knock(struct tls_identity *identity, const char *pod)
{
    struct side side = {0};
    const struct tls_options options = {
        .role = TLS_CLIENT, .identity = identity, .trust = &town.trust};
    const int64_t before = meter_total(METRIC_HANDSHAKES_FAILED);
    side_start(&side, &town.world, dial(pod), &options);
    cr_assert(side_wait(&town.world, &side));
    cr_assert(run_until(town.world.loop, is_refused, (void *)&before, PATIENCE_MS));
    tap_free(&side.tap);
}

Test(witness, a_caller_that_proves_nothing_is_a_verdict_with_what_it_claims)
{
    open_town();
    struct test_ca *liar = test_ca_new("west.example");
    struct tls_identity *nobody = tls_identity_anonymous();
    struct tls_identity *forged = world_identity(liar, ID_A);

    knock(nobody, PAY1);
    knock(forged, PAY1);

    read_lines();
    const json_t *line = find("verdict", "inbound", 0);
    cr_assert_not_null(line);
    SAYS(line, "decision", "deny");
    SAYS(line, "why", "tls_no_certificate");
    SAYS(line, "fault", "caller");
    SAYS(line, "sentence", "no tunnel came to be, so no policy was asked");
    SAYS(line, "dst.workload", "pay-1");
    SAYS(line, "dst.namespace", "shop");
    cr_expect_eq(strncmp(member(line, "src.addr"), "127.0.0.1:", 10), 0);
    cr_expect_eq(strncmp(member(line, "dst.addr"), PAY1 ":", sizeof PAY1), 0);
    cr_expect(json_is_false(json_object_get(line, "mtls")));
    LACKS(line, "src.claimed");
    LACKS(line, "peer.serial");
    line = find("verdict", "inbound", 1);
    cr_assert_not_null(line);
    SAYS(line, "why", "tls_chain");
    SAYS(line, "src.claimed", ID_A);
    cr_expect_neq(member(line, "peer.serial")[0], '\0');
    cr_expect_neq(member(line, "peer.not_after")[0], '\0');
    for (size_t i = 0; i < 2; i++) {
        LACKS(find("verdict", "inbound", i), "src.identity");
        LACKS(find("verdict", "inbound", i), "src.proof");
        LACKS(find("verdict", "inbound", i), "connection");
    }
    cr_expect_null(find("verdict", "", 2));
    cr_expect_null(find("end", "", 0), "there was no connection");
    forget_lines();
    tls_identity_unref(nobody);
    tls_identity_unref(forged);
    test_ca_free(liar);
}

Test(witness, who_leaves_by_itself_was_refused_by_nobody)
{
    static const int rows[] = {-ERR_EOF, -ERR_RESET};
    open_town();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        walk_note_refusal(town.n2.walk, &(struct refusal){.err = rows[i]});
    walk_note_refusal(town.n2.walk, &(struct refusal){.err = -ERR_HANDSHAKE_TIMEOUT});

    read_lines();
    const json_t *line = find("verdict", "", 0);
    cr_assert_not_null(line);
    SAYS(line, "why", "handshake_timeout");
    SAYS(line, "error", err_text(-ERR_HANDSHAKE_TIMEOUT));
    LACKS(line, "dst.workload");
    cr_expect_null(find("verdict", "", 1));
    forget_lines();
}

/* ---- the parts of a line ---- */

static struct audit_entry entry;

static json_t *render(void)
{
    struct text text = {0};
    text_addc(&text, '{');
    entry_render(entry_end(&entry), &text);
    text_addc(&text, '}');
    json_t *json = json_loads(text.ptr, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(json, "%s", text.ptr);
    text_fini(&text);
    return json;
}

static const struct str *both_ids(void)
{
    static struct str names[TRAFFIC_LABELS];
    names[LABEL_SOURCE_PRINCIPAL] = STR(ID_A);
    names[LABEL_DESTINATION_PRINCIPAL] = STR(ID_B);
    return names;
}

Test(witness, an_identity_is_said_only_with_its_proof)
{
    static const struct {
        enum arrival_kind kind;
        bool is_same_node;
        const char *direction;
        const char *source_proof, *destination_proof;
    } rows[] = {
        {ARRIVAL_OUTBOUND, false, "outbound", "node", NULL},
        {ARRIVAL_OUTBOUND, true, "local", "node", "node"},
        {ARRIVAL_TUNNEL, false, "inbound", "mtls", "node"},
        {ARRIVAL_PLAINTEXT, false, "inbound", NULL, "node"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct record record = {
            .kind = rows[i].kind,
            .is_same_node = rows[i].is_same_node,
            .names = both_ids(),
            .source = {.proof = rows[i].source_proof},
            .destination = {.proof = rows[i].destination_proof},
        };
        entry_begin(&entry, AUDIT_END, 0);
        witness_parties(&entry, &record);
        json_t *line = render();
        SAYS(line, "direction", rows[i].direction);
        SAYS(line, "src.identity", rows[i].source_proof ? ID_A : "");
        SAYS(line, "src.proof", rows[i].source_proof ? rows[i].source_proof : "");
        SAYS(line, "dst.identity", rows[i].destination_proof ? ID_B : "");
        SAYS(line, "dst.proof", rows[i].destination_proof ? rows[i].destination_proof : "");
        cr_expect(json_is_false(json_object_get(line, "mtls")));
        LACKS(line, "peer.trust_domain");
        json_decref(line);
    }
}

Test(witness, the_peer_of_a_tunnel_is_its_other_end)
{
    static const struct {
        enum arrival_kind kind;
        const char *trust_domain;
    } rows[] = {{ARRIVAL_TUNNEL, "west.example"}, {ARRIVAL_OUTBOUND, "east.example"}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct record record = {
            .kind = rows[i].kind,
            .is_mutual_tls = true,
            .names = both_ids(),
            .source = {.proof = "mtls"},
            .destination = {.proof = "mtls"},
            .tls_version = "TLSv1.3",
            .cipher = "TLS_AES_128_GCM_SHA256",
            .peer_serial = STR("0a"),
            .peer_not_after_ns = 1,
        };
        entry_begin(&entry, AUDIT_END, 0);
        witness_parties(&entry, &record);
        json_t *line = render();
        SAYS(line, "peer.trust_domain", rows[i].trust_domain);
        SAYS(line, "peer.serial", "0a");
        SAYS(line, "peer.not_after", "1970-01-01T00:00:00.000000001Z");
        SAYS(line, "tls.version", "TLSv1.3");
        json_decref(line);
    }
}

static struct str endless(size_t len)
{
    static char letters[ENTRY_MAX];
    memset(letters, '\x01', sizeof letters); /* six bytes of JSON each */
    return str_of(letters, len);
}

static void expect_decision_behind(struct str name)
{
    static struct str names[TRAFFIC_LABELS];
    for (size_t i = 0; i < TRAFFIC_LABELS; i++)
        names[i] = name;
    const struct party party = {.addr = {.ip = {4, {10, 0, 0, 1}}, .port = 1}, .proof = "mtls"};
    const struct record record = {.kind = ARRIVAL_TUNNEL,
                                  .is_mutual_tls = true,
                                  .source = party,
                                  .destination = party,
                                  .names = names,
                                  .hbone_addr = party.addr,
                                  .trace = name,
                                  .peer_serial = name};
    const struct ruling ruling = {.decision = "deny",
                                  .policy = name,
                                  .has_rule = true,
                                  .action = POLICY_DENY,
                                  .mode = "enforced",
                                  .revision = 1,
                                  .sentence = "explicitly denied by"};
    entry_begin(&entry, AUDIT_END, 0);
    witness_parties(&entry, &record);
    witness_ruling(&entry, &ruling);
    entry_cstr(&entry, AUDIT_WHY, "denied");
    entry_str(&entry, AUDIT_ERROR, name);
    entry_u64(&entry, AUDIT_DURATION, 7);
    json_t *line = render();
    SAYS(line, "decision", "deny");
    SAYS(line, "action", "DENY");
    SAYS(line, "sentence", "explicitly denied by");
    SAYS(line, "revision", "0000000000000001");
    SAYS(line, "why", "denied");
    SAYS(line, "dst.target", "10.0.0.1:1");
    cr_expect_eq(json_integer_value(json_object_get(line, "duration_ns")), 7);
    cr_expect_eq(json_is_true(json_object_get(line, "cut")), name.len > 512, "%zu", name.len);
    json_decref(line);
}

/* A peer writes what it likes into its baggage. */
Test(witness, nobody_pushes_the_decision_out_of_a_line_by_long_names)
{
    for (size_t len = 1; len < ENTRY_VALUE_MAX + 100; len += 13)
        expect_decision_behind(endless(len));
}

Test(witness, a_ruling_without_a_policy_names_none_and_no_rule)
{
    const struct ruling ruling = {.decision = "allow", .mode = "enforced", .sentence = "allowed"};
    entry_begin(&entry, AUDIT_VERDICT, 0);
    witness_ruling(&entry, &ruling);
    json_t *line = render();
    SAYS(line, "decision", "allow");
    for (size_t i = 0; i < 5; i++)
        LACKS(line, ((const char *const[]){"policy", "rule", "action", "revision", "late"})[i]);
    json_decref(line);
}
