/*
 * Sorted arrays as tries: of all entries that a subject begins with, the longest is the greatest
 * entry not greater than the subject or is a beginning of that one. So one bisection finds where to
 * start, and the links to the next shorter beginning lead to all of them.
 */
#include "config/policy_index.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/map.h"
#include "proxy/base/text.h"

#define WALKED_RULES_MAX        8 /* so few are asked one by one */
#define BITS_TEXT_MAX           129
#define SERVICE_ACCOUNT_KEY_MAX 2048 /* a SPIFFE ID is not longer, nor is a part of it */

enum dimension {
    BY_PRINCIPAL,
    BY_ACCOUNT,
    BY_NAMESPACE,
    BY_TRUST_DOMAIN,
    BY_SOURCE,
    BY_DESTINATION,
    BY_PORT,
    DIMENSIONS
};

struct bucket { /* rules filed under one value */
    struct str value;
    const uint32_t *rules;
    uint32_t n_rules;
    uint32_t shorter; /* the next shorter entry of a trie, plus one; 0 when there is none */
};

struct trie {
    struct bucket *buckets; /* sorted */
    uint32_t n_buckets;
};

struct table_slot {
    uint64_t hash;
    enum dimension dimension;
    struct bucket bucket; /* n_rules 0: free */
};

struct policy_index {
    const struct policy_place *places;
    uint32_t n_places;
    struct bucket always, present[DIMENSIONS];
    struct trie beginnings[DIMENSIONS], endings[DIMENSIONS];
    struct table_slot *slots;
    size_t mask;
};

/* ---- what a rule can be filed under ---- */

struct filing { /* a value of a field, in the form in which a question looks for it */
    enum dimension dimension;
    enum match_kind kind; /* never a glob or a template */
    struct str value;
};

struct posting { /* one value and the rules that ask for it */
    struct filing filing;
    uint32_t n_askers;
    uint32_t *rules;
    uint32_t n_rules, cap;
};

struct index_builder {
    struct arena *arena;
    struct arena scratch;
    struct map postings; /* dimension, kind and value as bytes -> struct posting */
    struct text key;
    uint32_t n_rules;
    uint32_t *always;
    uint32_t n_always;
};

/* "4" or "6", then bits as digits: a range is a beginning of its addresses. */
static struct str bits_of(const struct ip *ip, unsigned n_bits, char *buf)
{
    buf[0] = ip->len == 4 ? '4' : '6';
    for (unsigned i = 0; i < n_bits; i++)
        buf[1 + i] = (char)('0' + (ip->bytes[i / 8] >> (7 - i % 8) & 1));
    return str_of(buf, 1 + n_bits);
}

static void port_bytes(uint16_t port, char *buf)
{
    buf[0] = (char)(port >> 8);
    buf[1] = (char)(port & 0xff);
}

static struct filing file_string(enum dimension dimension, const struct string_match *match)
{
    struct str head, tail;
    if (match->kind != MATCH_GLOB)
        return (struct filing){dimension, match->kind, match->value};
    if (!str_split(match->value, '*', &head, &tail))
        return (struct filing){dimension, MATCH_EXACT, match->value};
    return (struct filing){dimension, str_is_empty(head) ? MATCH_PRESENCE : MATCH_PREFIX, head};
}

static size_t count_values(const struct model_match *match, enum dimension dimension)
{
    switch (dimension) {
    case BY_PRINCIPAL: return match->n_principals;
    case BY_ACCOUNT: return match->n_accounts;
    case BY_NAMESPACE: return match->n_namespaces;
    case BY_TRUST_DOMAIN: return match->n_trust_domains;
    case BY_SOURCE: return match->n_source_ips;
    case BY_DESTINATION: return match->n_destination_ips;
    case BY_PORT: return match->n_ports;
    case DIMENSIONS: break;
    }
    return 0;
}

static struct filing file_range(enum dimension dimension, const struct cidr *cidr, char *buf)
{
    return (struct filing){dimension, MATCH_PREFIX, bits_of(&cidr->ip, cidr->prefix_len, buf)};
}

/* buf: BITS_TEXT_MAX bytes, for values that must be written. */
static struct filing file_value(struct index_builder *builder, const struct model_match *match,
                                enum dimension dimension, size_t i, char *buf)
{
    const struct account_match *account;
    switch (dimension) {
    case BY_PRINCIPAL: return file_string(dimension, &match->principals[i]);
    case BY_NAMESPACE: return file_string(dimension, &match->namespaces[i]);
    case BY_TRUST_DOMAIN: return file_string(dimension, &match->trust_domains[i]);
    case BY_SOURCE: return file_range(dimension, &match->source_ips[i], buf);
    case BY_DESTINATION: return file_range(dimension, &match->destination_ips[i], buf);
    case BY_ACCOUNT:
        account = &match->accounts[i];
        return (struct filing){dimension, MATCH_EXACT,
                               arena_printf(&builder->scratch, "%.*s/%.*s",
                                            STR_ARG(account->namespace_), STR_ARG(account->name))};
    case BY_PORT:
        port_bytes(match->ports[i], buf);
        return (struct filing){dimension, MATCH_EXACT, str_of(buf, 2)};
    case DIMENSIONS: break;
    }
    ensure_failed("a dimension", __FILE__, __LINE__);
}

static struct posting *posting_of(struct index_builder *builder, const struct filing *filing)
{
    text_clear(&builder->key);
    text_addc(&builder->key, (char)('a' + (int)filing->dimension));
    text_addc(&builder->key, (char)('a' + (int)filing->kind));
    text_add(&builder->key, filing->value);
    struct posting *posting = map_find(&builder->postings, text_str(&builder->key));
    if (posting)
        return posting;
    posting = arena_new(&builder->scratch, struct posting);
    const struct str key = arena_str(&builder->scratch, text_str(&builder->key));
    posting->filing = *filing;
    posting->filing.value = str_sub(key, 2, key.len);
    map_put(&builder->postings, key, posting);
    return posting;
}

/* ---- which of its values a rule is filed under ---- */

static void count_askers(struct index_builder *builder, const struct model_rule *rule,
                         enum policy_action action)
{
    char buf[BITS_TEXT_MAX];
    for (size_t c = 0; c < rule->n_clauses; c++)
        for (size_t m = 0; m < rule->clauses[c].n_matches; m++) {
            const struct model_match *match = &rule->clauses[c].matches[m];
            if (policy_match_is_dead(match, action))
                continue;
            for (enum dimension d = 0; d < DIMENSIONS; d++)
                for (size_t i = 0; i < count_values(match, d); i++) {
                    const struct filing filing = file_value(builder, match, d, i, buf);
                    posting_of(builder, &filing)->n_askers++;
                }
        }
}

/* How many candidates this value is good for: what everybody has is as bad as walking. */
static uint64_t cost_of_value(struct index_builder *builder, const struct filing *filing)
{
    const bool is_everybody = filing->kind == MATCH_PRESENCE ||
                              (filing->kind == MATCH_PREFIX && filing->dimension != BY_PRINCIPAL &&
                               filing->value.len <= 1);
    return is_everybody ? builder->n_rules : posting_of(builder, filing)->n_askers;
}

/* The field to file a match under; DIMENSIONS when it has none to be found by. */
static enum dimension best_dimension(struct index_builder *builder, const struct model_match *match,
                                     uint64_t *out_cost)
{
    char buf[BITS_TEXT_MAX];
    enum dimension best = DIMENSIONS;
    *out_cost = UINT32_MAX;
    for (enum dimension d = 0; d < DIMENSIONS; d++) {
        const size_t n = count_values(match, d);
        uint64_t cost = 0;
        for (size_t i = 0; i < n; i++) {
            const struct filing filing = file_value(builder, match, d, i, buf);
            cost += cost_of_value(builder, &filing);
        }
        if (n > 0 && cost < *out_cost) {
            *out_cost = cost;
            best = d;
        }
    }
    return best;
}

/* UINT64_MAX when some match of the clause cannot be filed. */
static uint64_t cost_of_clause(struct index_builder *builder, const struct model_clause *clause,
                               enum policy_action action)
{
    uint64_t sum = 0, cost;
    if (clause->n_matches == 0)
        return UINT64_MAX;
    for (size_t i = 0; i < clause->n_matches; i++) {
        if (policy_match_is_dead(&clause->matches[i], action))
            continue;
        if (best_dimension(builder, &clause->matches[i], &cost) == DIMENSIONS)
            return UINT64_MAX;
        sum += cost;
    }
    return sum;
}

static void posting_push(struct index_builder *builder, struct posting *posting, uint32_t number)
{
    if (posting->n_rules > 0 && posting->rules[posting->n_rules - 1] == number)
        return;
    if (posting->n_rules == posting->cap) {
        posting->cap = posting->cap ? 2 * posting->cap : 2;
        uint32_t *grown = arena_new_array(&builder->scratch, uint32_t, posting->cap);
        if (posting->n_rules > 0)
            memcpy(grown, posting->rules, posting->n_rules * sizeof(*grown));
        posting->rules = grown;
    }
    posting->rules[posting->n_rules++] = number;
}

static void file_clause(struct index_builder *builder, const struct model_clause *clause,
                        enum policy_action action, uint32_t number)
{
    char buf[BITS_TEXT_MAX];
    uint64_t cost;
    for (size_t i = 0; i < clause->n_matches; i++) {
        const struct model_match *match = &clause->matches[i];
        if (policy_match_is_dead(match, action))
            continue;
        const enum dimension d = best_dimension(builder, match, &cost);
        for (size_t v = 0; v < count_values(match, d); v++) {
            const struct filing filing = file_value(builder, match, d, v, buf);
            posting_push(builder, posting_of(builder, &filing), number);
        }
    }
}

static void file_rule(struct index_builder *builder, const struct model_rule *rule,
                      enum policy_action action, uint32_t number)
{
    const struct model_clause *best = NULL;
    uint64_t lowest = UINT64_MAX;
    for (size_t i = 0; i < rule->n_clauses; i++) {
        const uint64_t cost = cost_of_clause(builder, &rule->clauses[i], action);
        if (cost < lowest) {
            lowest = cost;
            best = &rule->clauses[i];
        }
    }
    if (best)
        file_clause(builder, best, action, number);
    else
        builder->always[builder->n_always++] = number;
}

/* ---- the finished form ---- */

static struct bucket bucket_of(struct index_builder *builder, const struct posting *posting)
{
    uint32_t *rules = arena_new_array(builder->arena, uint32_t, posting->n_rules);
    memcpy(rules, posting->rules, posting->n_rules * sizeof(*rules));
    return (struct bucket){.value = arena_str(builder->arena, posting->filing.value),
                           .rules = rules,
                           .n_rules = posting->n_rules};
}

static struct table_slot *find_slot(const struct policy_index *index, enum dimension dimension,
                                    struct str value, uint64_t hash)
{
    for (size_t i = (size_t)hash & index->mask;; i = (i + 1) & index->mask) {
        struct table_slot *slot = &index->slots[i];
        if (slot->bucket.n_rules == 0 || (slot->hash == hash && slot->dimension == dimension &&
                                          str_eq(slot->bucket.value, value)))
            return slot;
    }
}

static uint64_t hash_of(enum dimension dimension, struct str value)
{
    return str_hash(value, (uint64_t)dimension);
}

static void table_put(struct policy_index *index, enum dimension dimension, struct bucket bucket)
{
    const uint64_t hash = hash_of(dimension, bucket.value);
    *find_slot(index, dimension, bucket.value, hash) = (struct table_slot){hash, dimension, bucket};
}

static int compare_forwards(const void *a, const void *b)
{
    return str_cmp(((const struct bucket *)a)->value, ((const struct bucket *)b)->value);
}

static int compare_backwards(const void *a, const void *b)
{
    return policy_compare_backwards(((const struct bucket *)a)->value,
                                    ((const struct bucket *)b)->value);
}

static bool is_part(struct str text, struct str part, bool backwards)
{
    return backwards ? str_ends_with(text, part) : str_starts_with(text, part);
}

static void finish_trie(struct trie *trie, bool backwards)
{
    if (trie->n_buckets > 1)
        qsort(trie->buckets, trie->n_buckets, sizeof(*trie->buckets),
              backwards ? compare_backwards : compare_forwards);
    for (uint32_t i = 1; i < trie->n_buckets; i++) {
        uint32_t shorter = i; /* the entry before, plus one */
        while (shorter > 0 &&
               !is_part(trie->buckets[i].value, trie->buckets[shorter - 1].value, backwards))
            shorter = trie->buckets[shorter - 1].shorter;
        trie->buckets[i].shorter = shorter;
    }
}

/* Room for the postings of each kind, before they are filed. */
static void make_room(struct index_builder *builder, struct policy_index *index)
{
    size_t idx = 0, n_exact = 0, cap = 8;
    uint32_t n_beginnings[DIMENSIONS] = {0}, n_endings[DIMENSIONS] = {0};
    struct str key;
    void *value;
    while (map_next(&builder->postings, &idx, &key, &value)) {
        const struct posting *posting = value;
        const enum dimension d = posting->filing.dimension;
        if (posting->n_rules == 0)
            continue;
        n_exact += posting->filing.kind == MATCH_EXACT;
        n_beginnings[d] += posting->filing.kind == MATCH_PREFIX;
        n_endings[d] += posting->filing.kind == MATCH_SUFFIX;
    }
    while (cap < 2 * n_exact)
        cap *= 2;
    index->slots = arena_new_array(builder->arena, struct table_slot, cap);
    index->mask = cap - 1;
    for (enum dimension d = 0; d < DIMENSIONS; d++) {
        index->beginnings[d].buckets =
            arena_new_array(builder->arena, struct bucket, n_beginnings[d]);
        index->endings[d].buckets = arena_new_array(builder->arena, struct bucket, n_endings[d]);
    }
}

static void trie_push(struct trie *trie, struct bucket bucket)
{
    trie->buckets[trie->n_buckets++] = bucket;
}

static void finish(struct index_builder *builder, struct policy_index *index)
{
    size_t idx = 0;
    struct str key;
    void *value;
    make_room(builder, index);
    while (map_next(&builder->postings, &idx, &key, &value)) {
        const struct posting *posting = value;
        const enum dimension d = posting->filing.dimension;
        if (posting->n_rules == 0)
            continue;
        const struct bucket bucket = bucket_of(builder, posting);
        switch (posting->filing.kind) {
        case MATCH_EXACT: table_put(index, d, bucket); break;
        case MATCH_PREFIX: trie_push(&index->beginnings[d], bucket); break;
        case MATCH_SUFFIX: trie_push(&index->endings[d], bucket); break;
        case MATCH_PRESENCE:
        case MATCH_GLOB:
        case MATCH_TEMPLATE: index->present[d] = bucket; break;
        }
    }
    for (enum dimension d = 0; d < DIMENSIONS; d++) {
        finish_trie(&index->beginnings[d], false);
        finish_trie(&index->endings[d], true);
    }
}

static struct policy_place *list_places(struct arena *arena, const struct policy_layer *layer,
                                        uint32_t *out_n)
{
    uint32_t n = 0;
    for (size_t p = 0; p < layer->n_policies; p++)
        n += (uint32_t)layer->policies[p]->n_rules;
    struct policy_place *places = arena_new_array(arena, struct policy_place, n);
    *out_n = 0;
    for (uint32_t p = 0; p < layer->n_policies; p++)
        for (uint32_t r = 0; r < layer->policies[p]->n_rules; r++)
            places[(*out_n)++] = (struct policy_place){p, r};
    return places;
}

static void each_rule(struct index_builder *builder, const struct policy_layer *layer,
                      const struct policy_index *index, bool is_counting)
{
    for (uint32_t i = 0; i < index->n_places; i++) {
        const struct policy *policy = layer->policies[index->places[i].policy_idx];
        const struct model_rule *rule = &policy->rules[index->places[i].rule_idx];
        if (is_counting)
            count_askers(builder, rule, policy->action);
        else
            file_rule(builder, rule, policy->action, i);
    }
}

const struct policy_index *policy_index_new(struct arena *arena, const struct policy_layer *layer)
{
    struct policy_index *index = arena_new(arena, struct policy_index);
    struct index_builder builder = {.arena = arena};
    index->places = list_places(arena, layer, &index->n_places);
    builder.n_rules = index->n_places;
    builder.always = arena_new_array(arena, uint32_t, index->n_places);
    if (index->n_places <= WALKED_RULES_MAX) {
        for (uint32_t i = 0; i < index->n_places; i++)
            builder.always[builder.n_always++] = i;
    } else {
        each_rule(&builder, layer, index, true);
        each_rule(&builder, layer, index, false);
        finish(&builder, index);
    }
    index->always = (struct bucket){.rules = builder.always, .n_rules = builder.n_always};
    map_fini(&builder.postings);
    text_fini(&builder.key);
    arena_fini(&builder.scratch);
    return index;
}

const struct policy_place *policy_index_place(const struct policy_index *index, uint32_t number)
{
    return &index->places[number];
}

/* ---- lookups ---- */

struct visit {
    const struct policy_index *index;
    policy_visitor *each;
    void *owner;
};

static void visit_bucket(const struct visit *visit, const struct bucket *bucket)
{
    for (uint32_t i = 0; i < bucket->n_rules; i++) {
        const uint32_t number = bucket->rules[i];
        visit->each(visit->owner, number, &visit->index->places[number]);
    }
}

static void visit_trie(const struct visit *visit, const struct trie *trie, struct str subject,
                       bool backwards)
{
    uint32_t low = 0, high = trie->n_buckets;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const struct str value = trie->buckets[middle].value;
        if ((backwards ? policy_compare_backwards(value, subject) : str_cmp(value, subject)) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    while (low > 0) {
        const struct bucket *bucket = &trie->buckets[low - 1];
        if (is_part(subject, bucket->value, backwards))
            visit_bucket(visit, bucket);
        low = bucket->shorter;
    }
}

static void visit_exact(const struct visit *visit, enum dimension dimension, struct str subject)
{
    const struct table_slot *slot =
        find_slot(visit->index, dimension, subject, hash_of(dimension, subject));
    visit_bucket(visit, &slot->bucket);
}

static void visit_string(const struct visit *visit, enum dimension dimension, struct str subject)
{
    const struct policy_index *index = visit->index;
    if (str_is_empty(subject))
        return;
    visit_exact(visit, dimension, subject);
    visit_bucket(visit, &index->present[dimension]);
    visit_trie(visit, &index->beginnings[dimension], subject, false);
    visit_trie(visit, &index->endings[dimension], subject, true);
}

static void visit_ip(const struct visit *visit, enum dimension dimension, const struct ip *ip)
{
    char buf[BITS_TEXT_MAX];
    const struct trie *trie = &visit->index->beginnings[dimension];
    if (trie->n_buckets > 0 && !ip_is_none(ip))
        visit_trie(visit, trie, bits_of(ip, ip->len * 8u, buf), false);
}

static void visit_account(const struct visit *visit, const struct policy_question *question)
{
    char buf[SERVICE_ACCOUNT_KEY_MAX];
    const struct str namespace_ = question->namespace_, name = question->service_account;
    const size_t len = namespace_.len + 1 + name.len;
    if (str_is_empty(namespace_) || str_is_empty(name) || len > sizeof(buf))
        return;
    memcpy(buf, namespace_.ptr, namespace_.len);
    buf[namespace_.len] = '/';
    memcpy(buf + namespace_.len + 1, name.ptr, name.len);
    visit_exact(visit, BY_ACCOUNT, str_of(buf, len));
}

void policy_index_visit(const struct policy_index *index, const struct policy_asked *asked,
                        policy_visitor *each, void *owner)
{
    const struct policy_question *question = asked->question;
    const struct visit visit = {index, each, owner};
    char port[2];
    visit_bucket(&visit, &index->always);
    if (!index->slots)
        return;
    visit_string(&visit, BY_PRINCIPAL, question->principal);
    visit_string(&visit, BY_NAMESPACE, question->namespace_);
    visit_string(&visit, BY_TRUST_DOMAIN, asked->trust_domain);
    visit_account(&visit, question);
    visit_ip(&visit, BY_SOURCE, &question->source);
    visit_ip(&visit, BY_DESTINATION, &question->destination);
    port_bytes(question->port, port);
    visit_exact(&visit, BY_PORT, str_of(port, sizeof(port)));
}
