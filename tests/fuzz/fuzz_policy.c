/*
 * fuzz_policy.c - any bytes as AuthorizationPolicies, and questions out of the same bytes: what is
 * accepted has to be answered by the compiled form as the plain one of tests/kit answers it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "config/k8s.h"
#include "config/policy_explain.h"
#include "tests/kit/plain_policy.h"

#define QUESTIONS    16
#define POLICIES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct manifests *read(struct str bytes)
{
    struct arena arena = {0};
    struct diag diag = {0};
    struct k8s_reader reader;
    struct yaml **docs;
    manifests_begin(&reader, &diag);
    reader.file = STR("input.yaml");
    const size_t n_docs = yaml_parse(&arena, reader.file, bytes, &docs, &diag);
    for (size_t i = 0; i < n_docs; i++)
        manifests_add_doc(&reader, docs[i]);
    struct manifests *set = manifests_end(&reader);
    arena_fini(&arena);
    diag_fini(&diag);
    return set;
}

/* As the control process names them; of one namespace, which is how the plain form orders them. */
static size_t take(const struct manifests *set, struct arena *arena, struct model_policy **models)
{
    size_t n = set->n_policies < POLICIES_MAX ? set->n_policies : POLICIES_MAX;
    for (size_t i = 0; i < n; i++) {
        models[i] = arena_new(arena, struct model_policy);
        *models[i] = set->policies[i].policy;
        models[i]->name = arena_printf(arena, "policy-%02zu", i);
        models[i]->namespace_ = STR("shop");
    }
    return n;
}

static struct str any_value(struct rng *rng, const struct string_match *values, size_t n)
{
    return n > 0 ? values[rng_below(rng, (uint32_t)n)].value : (struct str){0};
}

static const struct request_field *any_field(struct rng *rng, const struct model_match *m)
{
    return &m->http[rng_below(rng, (uint32_t)m->n_http)];
}

/* Of a template the letters, with something in its holes. */
static struct str fill(struct arena *arena, struct rng *rng, struct str value)
{
    static const char *const hole[] = {"", "a", "a/b", "/"};
    struct text text = {0};
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '{')
            text_addf(&text, "%s", hole[rng_below(rng, ARRAY_LEN(hole))]);
        else if (value.ptr[i] != '*' && value.ptr[i] != '}')
            text_addc(&text, value.ptr[i]);
    }
    const struct str kept = arena_str(arena, text_str(&text));
    text_fini(&text);
    return kept;
}

/* A request that has what one field asks for. */
static void lean_request(struct arena *arena, struct rng *rng, const struct request_field *field,
                         struct policy_request *request)
{
    const bool is_not = field->n_values == 0;
    const struct str value = any_value(rng, is_not ? field->not_values : field->values,
                                       is_not ? field->n_not_values : field->n_values);
    struct policy_header *headers;
    struct policy_token *token;
    struct str *values;
    switch (field->subject) {
    case REQUEST_METHOD: request->method = value; break;
    case REQUEST_HOST:
        request->host =
            arena_printf(arena, "%.*s%s", STR_ARG(value), rng_below(rng, 2) ? ":1" : "");
        break;
    case REQUEST_PATH: request->path = fill(arena, rng, value); break;
    case REQUEST_HEADER:
        headers = arena_new_array(arena, struct policy_header, 2);
        headers[0] = headers[1] = (struct policy_header){field->name, value};
        request->headers = headers;
        request->n_headers = 1 + rng_below(rng, 2);
        break;
    case REQUEST_TOKEN_PRINCIPAL:
    case REQUEST_TOKEN_AUDIENCE:
    case REQUEST_TOKEN_PRESENTER:
    case REQUEST_TOKEN_CLAIM:
        token = arena_new(arena, struct policy_token);
        values = arena_new(arena, struct str);
        *values = token->principal = token->presenter = value;
        token->audiences = values;
        token->n_audiences = 1;
        struct policy_claim *claim = arena_new(arena, struct policy_claim);
        *claim = (struct policy_claim){field->name, values, 1};
        token->claims = claim;
        token->n_claims = 1;
        request->token = token;
        break;
    case REQUEST_SUBJECTS: break;
    }
}

/* Towards what the policy asks for, so that something matches. */
static void lean(struct arena *arena, struct rng *rng, const struct model_match *m,
                 struct policy_question *question)
{
    const struct str principal = any_value(rng, m->principals, m->n_principals);
    const struct str namespace_ = any_value(rng, m->namespaces, m->n_namespaces);
    if (principal.len > 0)
        question->principal =
            arena_printf(arena, "%.*s%s", STR_ARG(principal), rng_below(rng, 4) == 0 ? "x" : "");
    if (namespace_.len > 0)
        question->namespace_ = namespace_;
    if (m->n_ports > 0)
        question->port = m->ports[rng_below(rng, (uint32_t)m->n_ports)];
    if (m->n_source_ips > 0)
        question->source = m->source_ips[rng_below(rng, (uint32_t)m->n_source_ips)].ip;
    if (m->n_accounts > 0) {
        question->namespace_ = m->accounts[0].namespace_;
        question->service_account = m->accounts[0].name;
    }
    if (m->n_http > 0 && question->request) {
        struct policy_request *request = arena_new(arena, struct policy_request);
        *request = *question->request;
        lean_request(arena, rng, any_field(rng, m), request);
        question->request = request;
    }
}

static struct policy_question make_question(struct arena *arena, struct rng *rng,
                                            struct model_policy *const *models, size_t n)
{
    struct policy_question question = random_question(arena, rng);
    if (rng_below(rng, 3) > 0)
        question.request = random_request(arena, rng);
    const struct model_policy *model = models[rng_below(rng, (uint32_t)n)];
    for (size_t r = 0; r < model->n_rules; r++)
        for (size_t c = 0; c < model->rules[r].n_clauses; c++)
            for (size_t m = 0; m < model->rules[r].clauses[c].n_matches; m++)
                if (rng_below(rng, 2) == 0)
                    lean(arena, rng, &model->rules[r].clauses[c].matches[m], &question);
    return question;
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "fuzz_policy: %s differs between the compiled form and the plain one\n",
                  what);
    abort();
}

/* What a connection is told holds for the request on it. */
static void expect_closed(const struct policy_set *set, struct policy_question question,
                          const struct policy_answer *of_request)
{
    if (!question.request)
        return;
    question.request = NULL;
    const struct policy_answer of_connection = policy_ask(set, &question);
    if (of_connection.allowed && !of_request->allowed)
        fail("a connection that is allowed and its request");
    if (!of_connection.depends_on_request && of_connection.allowed != of_request->allowed)
        fail("a verdict that does not depend on the request");
}

static void ask(struct arena *arena, struct model_policy *const *models, size_t n, uint64_t seed)
{
    const struct model_policy *plain_models[POLICIES_MAX];
    const struct policy *compiled[POLICIES_MAX];
    struct rng rng;
    rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) {
        plain_models[i] = models[i];
        compiled[i] = policy_compile(arena, models[i]);
    }
    const struct policy_layer *layer = policy_layer_new(arena, compiled, n, NULL, 0);
    const struct policy_set set = {.layers = &layer, .n_layers = 1};
    const struct plain_set plain = {.policies = plain_models, .n_policies = n};
    for (size_t i = 0; i < QUESTIONS; i++) {
        struct policy_explanation explanation;
        const struct policy_question question = make_question(arena, &rng, models, n);
        const struct policy_answer expected = plain_policy_ask(&plain, &question);
        policy_explain(&set, &question, arena, &explanation);
        const char *difference = policy_answers_differ(&explanation.answer, &expected);
        if (difference)
            fail(difference);
        expect_closed(&set, question, &explanation.answer);
        for (size_t l = 0; l < explanation.n_lines; l++)
            if (explanation.lines[l].matches != str_is_empty(explanation.lines[l].why_not))
                fail("the explanation");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct model_policy *models[POLICIES_MAX];
    struct manifests *set = read(str_of(data, size));
    if (!set)
        return 0;
    const size_t n = take(set, &arena, models);
    if (n > 0)
        ask(&arena, models, n, str_hash(str_of(data, size), 1));
    manifests_free(set);
    arena_fini(&arena);
    return 0;
}
