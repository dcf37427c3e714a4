/* Policies on the wire: kept whole, or closed in doubt. */
#include <authorization.pb-c.h>
#include <criterion/criterion.h>
#include <details.pb-c.h>

#include "certs/digest.h"
#include "codec_kit.h"
#include "models.h"
#include "xds/codec.h"

TestSuite(codec, .timeout = 20, .fini = codec_fini);

static void assert_matches_eq(const struct model_match *a, const struct model_match *b)
{
    cr_assert_eq(a->n_namespaces, b->n_namespaces);
    cr_assert_eq(b->namespaces[1].kind, MATCH_PREFIX);
    cr_assert(str_eq(b->namespaces[1].value, STR("team-")));
    cr_assert_eq(b->n_not_principals, 2);
    cr_assert_eq(b->not_principals[0].kind, MATCH_SUFFIX);
    cr_assert_eq(b->not_principals[1].kind, MATCH_PRESENCE);
    cr_assert_eq(b->n_source_ips, 2);
    cr_assert(ip_eq(&a->source_ips[1].ip, &b->source_ips[1].ip));
    cr_assert_eq(b->source_ips[1].prefix_len, 17);
    cr_assert_eq(b->not_destination_ips[0].prefix_len, 32);
    cr_assert_eq(b->n_ports, 2);
    cr_assert_eq(b->ports[1], 65535);
    cr_assert_eq(b->not_ports[0], 8080);
    cr_assert(!b->has_unknown);
}

Test(codec, keeps_every_field_of_a_policy)
{
    struct model_resource *from = model_rich_policy(&arena);
    struct model_policy *policy = round_trip(from).of.policy;

    cr_assert(str_eq(policy->name, STR("rich")) && str_eq(policy->namespace_, STR("ns")));
    cr_assert_eq(policy->action, POLICY_DENY);
    cr_assert_eq(policy->scope, POLICY_WORKLOAD);
    cr_assert(policy->dry_run);
    cr_assert_eq(policy->n_rules, 2);
    cr_assert_eq(policy->rules[0].n_clauses, 2);
    cr_assert_eq(policy->rules[0].clauses[0].n_matches, 2);
    cr_assert_eq(policy->rules[0].clauses[1].n_matches, 0);
    cr_assert_eq(policy->rules[1].n_clauses, 0);
    assert_matches_eq(&from->of.policy->rules[0].clauses[0].matches[0],
                      &policy->rules[0].clauses[0].matches[0]);
}

Test(codec, keeps_the_mark_of_what_cannot_be_evaluated)
{
    struct model_resource *from = model_rich_policy(&arena);
    struct model_policy *policy;

    from->of.policy->rules[0].clauses[0].matches[1].has_unknown = true;
    policy = round_trip(from).of.policy;

    cr_assert(!policy->rules[0].clauses[0].matches[0].has_unknown);
    cr_assert(policy->rules[0].clauses[0].matches[1].has_unknown);
}

/* ---- closed in doubt ---- */

static struct model_policy *decode_policy(struct str bytes)
{
    struct model_resource out;

    cr_assert_eq(xds_decode(XDS_AUTHORIZATION, STR("ns/p"), bytes, &arena, &out, &why), 0, "%s",
                 why.ptr);
    return out.of.policy;
}

/* name "p", namespace "ns", then what the test adds. */
static struct str policy_with(struct str rest)
{
    char *bytes = arena_alloc(&arena, 7 + rest.len);

    memcpy(bytes, "\x0a\x01p\x12\x02ns", 7);
    memcpy(bytes + 7, rest.ptr, rest.len);
    return str_of(bytes, 7 + rest.len);
}

Test(codec, marks_a_match_with_an_unknown_field)
{
    /* rules[0].clauses[0].matches[0] = {field 14: 1} */
    struct model_policy *policy =
        decode_policy(policy_with(STR("\x2a\x06\x0a\x04\x0a\x02\x70\x01")));

    cr_assert_eq(policy->rules[0].clauses[0].n_matches, 1);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);
}

Test(codec, marks_a_match_with_a_field_that_is_known_and_not_evaluated)
{
    Istio__Security__Authorization message = ISTIO__SECURITY__AUTHORIZATION__INIT;
    Istio__Security__Rule rule = ISTIO__SECURITY__RULE__INIT, *rules[] = {&rule};
    Istio__Security__Clause clause = ISTIO__SECURITY__CLAUSE__INIT, *clauses[] = {&clause};
    Istio__Security__Match match = ISTIO__SECURITY__MATCH__INIT, *matches[] = {&match};
    Istio__Security__ServiceAccountMatch account = ISTIO__SECURITY__SERVICE_ACCOUNT_MATCH__INIT;
    Istio__Security__ServiceAccountMatch *accounts[] = {&account};
    Istio__Security__StringMatch unset = ISTIO__SECURITY__STRING_MATCH__INIT, *strings[] = {&unset};

    message.name = (char[]){"p"};
    message.namespace_ = (char[]){"ns"};
    message.rules = rules;
    message.n_rules = 1;
    rule.clauses = clauses;
    rule.n_clauses = 1;
    clause.matches = matches;
    clause.n_matches = 1;

    match.not_service_accounts = accounts;
    match.n_not_service_accounts = 1;
    cr_assert(decode_policy(packed(&message.base))->rules[0].clauses[0].matches[0].has_unknown);

    match.n_not_service_accounts = 0;
    cr_assert(!decode_policy(packed(&message.base))->rules[0].clauses[0].matches[0].has_unknown);

    match.principals = strings;
    match.n_principals = 1;
    cr_assert(decode_policy(packed(&message.base))->rules[0].clauses[0].matches[0].has_unknown,
              "a string match of a kind that is not known");
}

Test(codec, closes_clauses_rules_and_policies_with_unknown_fields)
{
    /* clause {matches: {destination_ports: 80}, field 2: 1} */
    struct model_policy *policy =
        decode_policy(policy_with(STR("\x2a\x09\x0a\x07\x0a\x03\x4a\x01\x50\x10\x01")));
    cr_assert_eq(policy->rules[0].clauses[0].n_matches, 2);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);
    cr_assert(policy->rules[0].clauses[0].matches[1].has_unknown);

    /* rule {field 2: 1} */
    policy = decode_policy(policy_with(STR("\x2a\x02\x10\x01")));
    cr_assert_eq(policy->rules[0].n_clauses, 1);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);

    /* policy {rules: {}, field 8: 1} */
    policy = decode_policy(policy_with(STR("\x2a\x00\x40\x01")));
    cr_assert_eq(policy->n_rules, 2);
    cr_assert_eq(policy->rules[0].n_clauses, 1);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);
    cr_assert(policy->rules[1].clauses[0].matches[0].has_unknown);
}

Test(codec, refuses_policies_with_bad_values)
{
    assert_refused(XDS_AUTHORIZATION, STR("ns/p"), policy_with(STR("\x18\x03")), "scope: 3");
    assert_refused(XDS_AUTHORIZATION, STR("ns/p"), policy_with(STR("\x20\x02")), "action: 2");
    /* matches {destination_ports: 65536} */
    assert_refused(XDS_AUTHORIZATION, STR("ns/p"),
                   policy_with(STR("\x2a\x09\x0a\x07\x0a\x05\x4a\x03\x80\x80\x04")),
                   "65536 is not a port");
    /* matches {source_ips: {address: 4 bytes, length: 33}} */
    assert_refused(
        XDS_AUTHORIZATION, STR("ns/p"),
        policy_with(STR("\x2a\x0e\x0a\x0c\x0a\x0a\x2a\x08\x0a\x04\x0a\x01\x01\x01\x10\x21")),
        "a prefix of /33 does not fit");
}

Test(codec, clears_the_host_bits_of_a_range)
{
    /* matches {source_ips: {address: 10.1.1.255, length: 25}} */
    struct model_policy *policy = decode_policy(
        policy_with(STR("\x2a\x0e\x0a\x0c\x0a\x0a\x2a\x08\x0a\x04\x0a\x01\x01\xff\x10\x19")));
    const struct cidr *cidr = &policy->rules[0].clauses[0].matches[0].source_ips[0];

    cr_assert_eq(cidr->prefix_len, 25);
    cr_assert_eq(cidr->ip.bytes[3], 0x80);
}

/* ---- what istio.security has no word for ---- */

static struct model_policy *travel(const struct model_policy *policy)
{
    struct model_resource sent = {.kind = MODEL_POLICY,
                                  .of.policy = (struct model_policy *)(uintptr_t)policy};
    struct model_resource got;
    struct text bytes = {0};
    const struct str name = xds_encode(&sent, &arena, &bytes);
    cr_assert_eq(xds_decode(XDS_AUTHORIZATION, name, text_str(&bytes), &arena, &got, &why), 0, "%s",
                 why.ptr ? why.ptr : "");
    cr_expect_eq(got.of.policy->revision, digest_number(text_str(&bytes)));
    text_fini(&bytes);
    return got.of.policy;
}

Test(codec, a_policy_with_details_arrives_whole)
{
    static struct string_match globs[] = {{MATCH_GLOB, STR("team-*-prod")},
                                          {MATCH_EXACT, STR("a")}};
    static struct string_match domains[] = {{MATCH_PREFIX, STR("td")}, {MATCH_GLOB, STR("*.x*")}};
    static struct account_match accounts[] = {{STR("ops"), STR("admin")}};
    static struct str targets[] = {STR("shop/till.shop.svc.cluster.local")};

    static const enum policy_action actions[] = {POLICY_ALLOW, POLICY_DENY, POLICY_AUDIT};
    struct model_match match = {.namespaces = globs,
                                .n_namespaces = 2,
                                .trust_domains = domains,
                                .n_trust_domains = 2,
                                .not_accounts = accounts,
                                .n_not_accounts = 1};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};

    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        const struct model_policy policy = {.name = STR("p"),
                                            .namespace_ = STR("shop"),
                                            .action = actions[i],
                                            .scope = POLICY_WORKLOAD,
                                            .dry_run = i == 2,
                                            .targets = targets,
                                            .n_targets = 1,
                                            .rules = &rule,
                                            .n_rules = 1};
        const struct model_policy *got = travel(&policy);
        const struct model_match *m = &got->rules[0].clauses[0].matches[0];
        cr_assert_eq(got->n_rules, 1);
        cr_expect_eq(got->action, actions[i]);
        cr_expect_eq(got->dry_run, i == 2);
        cr_assert_eq(got->n_targets, 1);
        cr_expect(str_eq(got->targets[0], targets[0]));
        cr_assert_eq(m->n_namespaces, 2);
        cr_expect_eq(m->namespaces[1].kind, MATCH_GLOB);
        cr_expect(str_eq(m->namespaces[1].value, STR("team-*-prod")));
        cr_assert_eq(m->n_trust_domains, 2);
        cr_assert_eq(m->n_not_accounts, 1);
        cr_expect(str_eq(m->not_accounts[0].name, STR("admin")));
        cr_expect_not(m->has_unknown);
        cr_expect_eq(m->n_source_ips, 0);
    }
}

/* A13: 0 is a port that a policy may name; lost on the way it would leave a match without ports. */
/* As istiod sends it: a field that has its default is not in the bytes. */
Test(codec, a3_an_action_that_is_not_there_is_allow)
{
    struct text bytes = {0};
    struct model_policy policy = {.name = STR("p"), .namespace_ = STR("shop")};
    const struct model_resource sent = {.kind = MODEL_POLICY, .of.policy = &policy};

    policy.action = POLICY_ALLOW;
    (void)xds_encode(&sent, &arena, &bytes);
    const size_t len = bytes.len;
    cr_expect_eq(travel(&policy)->action, POLICY_ALLOW);
    text_clear(&bytes);
    policy.action = POLICY_DENY;
    (void)xds_encode(&sent, &arena, &bytes);
    cr_expect_gt(bytes.len, len, "ALLOW is in the bytes, so this shows nothing");
    cr_expect_eq(travel(&policy)->action, POLICY_DENY);
    text_fini(&bytes);
}

Test(codec, a13_port_0_of_a_policy_arrives)
{
    static uint16_t ports[] = {0}, not_ports[] = {0, 80};
    struct model_match match = {
        .ports = ports, .n_ports = 1, .not_ports = not_ports, .n_not_ports = 2};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};
    const struct model_policy policy = {.name = STR("p"),
                                        .namespace_ = STR("shop"),
                                        .action = POLICY_DENY,
                                        .rules = &rule,
                                        .n_rules = 1};
    const struct model_match *got = &travel(&policy)->rules[0].clauses[0].matches[0];
    cr_assert_eq(got->n_ports, 1);
    cr_expect_eq(got->ports[0], 0);
    cr_assert_eq(got->n_not_ports, 2);
    cr_expect(got->not_ports[0] == 0 && got->not_ports[1] == 80);
    cr_expect_not(got->has_unknown);
}

/* What a reader sees who passes over extensions. */
Test(codec, details_that_are_passed_over_leave_a_policy_closed)
{
    static const struct {
        enum policy_action action;
        bool dry_run;
        size_t n_ranges;
    } rows[] = {{POLICY_ALLOW, false, 0}, {POLICY_DENY, false, 2}, {POLICY_AUDIT, true, 2}};
    struct model_match match = {.has_unknown = true};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text bytes = {0};
        struct model_policy policy = {.name = STR("p"),
                                      .namespace_ = STR("shop"),
                                      .action = rows[i].action,
                                      .rules = &rule,
                                      .n_rules = 1};
        struct model_resource sent = {.kind = MODEL_POLICY, .of.policy = &policy};
        (void)xds_encode(&sent, &arena, &bytes);
        Istio__Security__Authorization *message =
            istio__security__authorization__unpack(NULL, bytes.len, (const uint8_t *)bytes.ptr);
        cr_assert_not_null(message);
        const Istio__Security__Match *seen = message->rules[0]->clauses[0]->matches[0];
        cr_expect_eq(message->action, rows[i].action == POLICY_ALLOW
                                          ? ISTIO__SECURITY__ACTION__ALLOW
                                          : ISTIO__SECURITY__ACTION__DENY);
        cr_expect_eq(message->dry_run, rows[i].dry_run);
        cr_expect_eq(seen->n_source_ips, rows[i].n_ranges, "row %zu", i);
        cr_expect_eq(seen->n_extensions, 1);
        istio__security__authorization__free_unpacked(message, NULL);
        text_fini(&bytes);
    }
}

/* ---- what a request shows ---- */

static struct string_match paths[] = {{MATCH_EXACT, STR("/a")},
                                      {MATCH_PREFIX, STR("/b/")},
                                      {MATCH_SUFFIX, STR(".txt")},
                                      {MATCH_TEMPLATE, STR("/c/{*}/{**}")}},
                           admin[] = {{MATCH_EXACT, STR("admin")}},
                           present[] = {{MATCH_PRESENCE, {0}}};
static struct request_field request_fields[] = {
    {REQUEST_METHOD, {0}, admin, NULL, 1, 0},
    {REQUEST_HOST, {0}, NULL, admin, 0, 1},
    {REQUEST_PATH, {0}, paths, paths, 4, 4},
    {REQUEST_HEADER, STR("x-role"), admin, present, 1, 1},
    {REQUEST_TOKEN_PRINCIPAL, {0}, present, NULL, 1, 0},
    {REQUEST_TOKEN_AUDIENCE, {0}, admin, NULL, 1, 0},
    {REQUEST_TOKEN_PRESENTER, {0}, admin, NULL, 1, 0},
    {REQUEST_TOKEN_CLAIM, STR("realm\0role"), admin, NULL, 1, 0},
};

static void expect_values_eq(const struct string_match *a, size_t n_a, const struct string_match *b,
                             size_t n_b)
{
    cr_assert_eq(n_a, n_b);
    for (size_t i = 0; i < n_a; i++) {
        cr_expect_eq(a[i].kind, b[i].kind);
        cr_expect(str_eq(a[i].value, b[i].value), "%.*s", STR_ARG(b[i].value));
    }
}

static const struct model_match *travel_match(struct model_match match, enum policy_action action)
{
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};
    const struct model_policy policy = {
        .name = STR("p"), .namespace_ = STR("ns"), .action = action, .rules = &rule, .n_rules = 1};
    return &travel(&policy)->rules[0].clauses[0].matches[0];
}

Test(codec, what_a_policy_asks_of_a_request_arrives_whole)
{
    uint16_t port = 80;
    for (enum policy_action action = POLICY_ALLOW; action <= POLICY_AUDIT; action++) {
        const struct model_match *got =
            travel_match((struct model_match){.http = request_fields,
                                              .n_http = ARRAY_LEN(request_fields),
                                              .ports = &port,
                                              .n_ports = 1},
                         action);
        cr_expect_not(got->has_unknown);
        cr_expect_eq(got->n_ports, 1);
        cr_assert_eq(got->n_http, ARRAY_LEN(request_fields));
        for (size_t i = 0; i < got->n_http; i++) {
            const struct request_field *sent = &request_fields[i], *field = &got->http[i];
            cr_expect_eq(field->subject, sent->subject);
            cr_expect(str_eq(field->name, sent->name), "field %zu", i);
            expect_values_eq(field->values, field->n_values, sent->values, sent->n_values);
            expect_values_eq(field->not_values, field->n_not_values, sent->not_values,
                             sent->n_not_values);
        }
    }
}

/* A match around these details, packed and read. */
static const struct model_match *read_details(Isthmus__V1alpha1__MatchDetails *details)
{
    Istio__Security__Authorization message = ISTIO__SECURITY__AUTHORIZATION__INIT;
    Istio__Security__Rule rule = ISTIO__SECURITY__RULE__INIT, *rules[] = {&rule};
    Istio__Security__Clause clause = ISTIO__SECURITY__CLAUSE__INIT, *clauses[] = {&clause};
    Istio__Security__Match match = ISTIO__SECURITY__MATCH__INIT, *matches[] = {&match};
    Istio__Security__Extension extension = ISTIO__SECURITY__EXTENSION__INIT,
                               *extensions[] = {&extension};
    Google__Protobuf__Any config = GOOGLE__PROTOBUF__ANY__INIT;
    const struct str bytes = packed(&details->base);

    message.name = (char[]){"p"};
    message.namespace_ = (char[]){"ns"};
    message.rules = rules;
    rule.clauses = clauses;
    clause.matches = matches;
    match.extensions = extensions;
    message.n_rules = rule.n_clauses = clause.n_matches = match.n_extensions = 1;
    extension.name = (char[]){"isthmus.v1alpha1.MatchDetails"};
    extension.config = &config;
    config.value = (ProtobufCBinaryData){bytes.len, (uint8_t *)(uintptr_t)bytes.ptr};
    return &decode_policy(packed(&message.base))->rules[0].clauses[0].matches[0];
}

/* The field is left out, and the match is marked: it allows nobody and denies by the rest. */
Test(codec, what_is_not_known_of_a_request_is_held_against_it)
{
    Istio__Security__StringMatch get = ISTIO__SECURITY__STRING_MATCH__INIT, unset = get;
    Istio__Security__StringMatch *known[] = {&get}, *mixed[] = {&get, &unset};
    char *templates[] = {(char[]){"/a/{*}"}}, *broken[] = {(char[]){"/a/{*}x"}};
    char *claim[] = {(char[]){"a"}}, *empty_claim[] = {(char[]){"a"}, (char[]){""}};
    const Isthmus__V1alpha1__RequestField none = ISTHMUS__V1ALPHA1__REQUEST_FIELD__INIT;
    ProtobufCMessageUnknownField later = {
        .tag = 15, .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT, .len = 1, .data = (uint8_t[]){1}};
    Isthmus__V1alpha1__RequestField rows[14];
    size_t n = 0;

    get.match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT;
    get.exact = (char[]){"GET"};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rows[i] = none;
        rows[i].values = known;
        rows[i].n_values = 1;
    }
    rows[n++].subject = 0; /* known, to show that the others are marked for what is wrong in them */
    rows[n].subject = REQUEST_PATH; /* known too */
    rows[n].templates = templates;
    rows[n++].n_templates = 1;
    rows[n++].subject = REQUEST_SUBJECTS;
    rows[n++].n_values = 0;
    rows[n].values = mixed;
    rows[n++].n_values = 2;
    rows[n].not_values = mixed;
    rows[n++].n_not_values = 2;
    rows[n].templates = templates; /* of a method */
    rows[n++].n_templates = 1;
    rows[n].subject = REQUEST_PATH;
    rows[n].not_templates = broken;
    rows[n++].n_not_templates = 1;
    rows[n++].subject = REQUEST_HEADER; /* without a name */
    rows[n].subject = REQUEST_HEADER;
    rows[n++].header = (char[]){"X-Role"};
    rows[n++].header = (char[]){"x-role"}; /* of a method */
    rows[n++].subject = REQUEST_TOKEN_CLAIM;
    rows[n].subject = REQUEST_TOKEN_CLAIM;
    rows[n].claim = empty_claim;
    rows[n++].n_claim = 2;
    rows[n].claim = claim; /* of a method */
    rows[n++].n_claim = 1;
    cr_assert_eq(n, ARRAY_LEN(rows));

    for (size_t i = 0; i <= n; i++) {
        Istio__Security__Match inner = ISTIO__SECURITY__MATCH__INIT;
        Isthmus__V1alpha1__MatchDetails details = ISTHMUS__V1ALPHA1__MATCH_DETAILS__INIT;
        Isthmus__V1alpha1__RequestField *fields[] = {&rows[i % n]};
        if (i == n) { /* a field of a later version */
            fields[0]->base.unknown_fields = &later;
            fields[0]->base.n_unknown_fields = 1;
        }
        details.match = &inner;
        details.request = fields;
        details.n_request = 1;
        const struct model_match *got = read_details(&details);
        cr_expect_eq(got->has_unknown, i >= 2, "row %zu", i);
        cr_expect_eq(got->n_http, i < 2 ? 1 : 0, "row %zu", i);
    }
}

/* As a node of a version before requests reads it: the details have a field that it does not know,
 * so it goes by what stands around them. */
Test(codec, a_reader_that_knows_no_requests_is_closed)
{
    uint16_t port = 80;
    struct model_match match = {.http = request_fields, .n_http = 1, .ports = &port, .n_ports = 1};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};

    for (enum policy_action action = POLICY_ALLOW; action <= POLICY_DENY; action++) {
        struct text bytes = {0};
        struct model_policy policy = {.name = STR("p"),
                                      .namespace_ = STR("ns"),
                                      .action = action,
                                      .rules = &rule,
                                      .n_rules = 1};
        const struct model_resource sent = {.kind = MODEL_POLICY, .of.policy = &policy};
        (void)xds_encode(&sent, &arena, &bytes);
        Istio__Security__Authorization *message =
            istio__security__authorization__unpack(NULL, bytes.len, (const uint8_t *)bytes.ptr);
        cr_assert_not_null(message);
        const Istio__Security__Match *around = message->rules[0]->clauses[0]->matches[0];
        cr_expect_eq(around->n_destination_ports, action == POLICY_DENY ? 1 : 0);
        Isthmus__V1alpha1__MatchDetails *details =
            isthmus__v1alpha1__match_details__unpack(NULL, around->extensions[0]->config->value.len,
                                                     around->extensions[0]->config->value.data);
        cr_assert_not_null(details);
        cr_expect_eq(details->n_request, 1, "the field that an older reader takes for unknown");
        isthmus__v1alpha1__match_details__free_unpacked(details, NULL);
        istio__security__authorization__free_unpacked(message, NULL);
        text_fini(&bytes);
    }
}

/* One value that is known beside one that is not would deny less than is meant. */
Test(codec, a_field_with_one_unknown_value_is_left_out_whole)
{
    Istio__Security__StringMatch known = ISTIO__SECURITY__STRING_MATCH__INIT, unset = known;
    Istio__Security__StringMatch *strings[] = {&known, &unset};
    Isthmus__V1alpha1__MatchDetails details = ISTHMUS__V1ALPHA1__MATCH_DETAILS__INIT;
    Istio__Security__Match inner = ISTIO__SECURITY__MATCH__INIT;

    known.match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT;
    known.exact = (char[]){"td/ns/a/sa/b"};
    inner.principals = strings;
    inner.n_principals = 2;
    details.match = &inner;
    const struct model_match *got = read_details(&details);
    cr_expect(got->has_unknown);
    cr_expect_eq(got->n_principals, 0);
}
