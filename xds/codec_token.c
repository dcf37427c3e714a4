/*
 * RequestAuthentications as isthmus.v1alpha1.RequestAuthentication.
 *
 * What is not known of a rule makes it one that takes no token; what is not known of the whole
 * makes all its rules that, and adds one for the places in which tokens stand by default: nothing
 * passes unverified because a newer control process says more than we understand.
 */
#include <request_authentication.pb-c.h>

#include "proxy/base/err.h"
#include "xds/codec_parts.h"

typedef Isthmus__V1alpha1__RequestAuthentication Message;
typedef Isthmus__V1alpha1__RequestAuthentication__Rule RuleMessage;
typedef Isthmus__V1alpha1__RequestAuthentication__Place PlaceMessage;
typedef Isthmus__V1alpha1__RequestAuthentication__ClaimHeader HeaderMessage;

/* ---- model to message ---- */

static RuleMessage *rule_encode(const struct token_rule *rule, struct arena *arena)
{
    RuleMessage *message = arena_new(arena, RuleMessage);

    isthmus__v1alpha1__request_authentication__rule__init(message);
    message->issuer = wire_text(arena, rule->issuer);
    message->audiences = codec_texts(arena, rule->audiences, rule->n_audiences);
    message->n_audiences = rule->n_audiences;
    message->jwks = wire_text(arena, rule->jwks);
    message->forwards = rule->forwards;
    message->payload_header = wire_text(arena, rule->payload_header);
    message->is_unknown = rule->is_unknown;
    message->places = arena_new_array(arena, PlaceMessage *, rule->n_places);
    message->n_places = rule->n_places;
    for (size_t i = 0; i < rule->n_places; i++) {
        PlaceMessage *place = arena_new(arena, PlaceMessage);

        isthmus__v1alpha1__request_authentication__place__init(place);
        place->kind = (Isthmus__V1alpha1__RequestAuthentication__PlaceKind)rule->places[i].kind;
        place->name = wire_text(arena, rule->places[i].name);
        place->prefix = wire_text(arena, rule->places[i].prefix);
        message->places[i] = place;
    }
    message->claim_headers = arena_new_array(arena, HeaderMessage *, rule->n_claim_headers);
    message->n_claim_headers = rule->n_claim_headers;
    for (size_t i = 0; i < rule->n_claim_headers; i++) {
        HeaderMessage *header = arena_new(arena, HeaderMessage);

        isthmus__v1alpha1__request_authentication__claim_header__init(header);
        header->header = wire_text(arena, rule->claim_headers[i].header);
        header->claim = wire_text(arena, rule->claim_headers[i].claim);
        message->claim_headers[i] = header;
    }
    return message;
}

void codec_token_encode(const struct model_request_auth *auth, struct arena *arena,
                        struct text *out)
{
    Message message;

    isthmus__v1alpha1__request_authentication__init(&message);
    message.name = wire_text(arena, auth->name);
    message.namespace_ = wire_text(arena, auth->namespace_);
    message.scope = (Isthmus__V1alpha1__RequestAuthentication__Scope)auth->scope;
    message.targets = codec_texts(arena, auth->targets, auth->n_targets);
    message.n_targets = auth->n_targets;
    message.rules = arena_new_array(arena, RuleMessage *, auth->n_rules);
    message.n_rules = auth->n_rules;
    for (size_t i = 0; i < auth->n_rules; i++)
        message.rules[i] = rule_encode(&auth->rules[i], arena);
    wire_pack(&message.base, out);
}

/* ---- message to model ---- */

static bool has_unknown(const ProtobufCMessage *message)
{
    return message->n_unknown_fields > 0;
}

static bool has_length(const char *text, size_t max)
{
    const struct str word = str_from(text);

    return word.len > 0 && word.len <= max;
}

/* A field's name in lower case. */
static bool is_header(const char *text)
{
    for (const char *c = text; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            return false;
    return has_length(text, TOKEN_NAME_MAX) && route_is_field_name(str_from(text));
}

static int places_decode(const RuleMessage *message, struct arena *arena, struct token_rule *rule,
                         struct text *why)
{
    struct token_place *places = arena_new_array(arena, struct token_place, message->n_places);

    if (message->n_places == 0 || message->n_places > TOKEN_PLACES_MAX)
        return codec_refuse(why, "Rule: %zu places (1 to %d)", message->n_places, TOKEN_PLACES_MAX);
    for (size_t i = 0; i < message->n_places; i++) {
        const PlaceMessage *from = message->places[i];
        const bool is_known = (unsigned)from->kind < TOKEN_PLACE_KINDS;

        if (is_known &&
            (str_from(from->prefix).len > TOKEN_NAME_MAX ||
             !((int)from->kind == TOKEN_IN_HEADER ? is_header(from->name)
                                                  : has_length(from->name, TOKEN_NAME_MAX))))
            return codec_refuse(why, "Rule: a token cannot stand in \"%.80s\"", from->name);
        if (!is_known || has_unknown(&from->base)) {
            rule->is_unknown = true;
            continue;
        }
        places[rule->n_places++] =
            (struct token_place){(enum token_place_kind)from->kind, codec_keep(arena, from->name),
                                 codec_keep(arena, from->prefix)};
    }
    rule->places = places;
    return 0;
}

static int headers_decode(const RuleMessage *message, struct arena *arena, struct token_rule *rule,
                          struct text *why)
{
    struct token_claim_header *headers =
        arena_new_array(arena, struct token_claim_header, message->n_claim_headers);

    if (message->n_claim_headers > TOKEN_CLAIM_HEADERS_MAX)
        return codec_refuse(why, "Rule: %zu claim_headers (%d at most)", message->n_claim_headers,
                            TOKEN_CLAIM_HEADERS_MAX);
    if (message->payload_header[0] && !is_header(message->payload_header))
        return codec_refuse(why, "Rule.payload_header: \"%.80s\" is no header that can be written",
                            message->payload_header);
    for (size_t i = 0; i < message->n_claim_headers; i++) {
        const HeaderMessage *from = message->claim_headers[i];

        if (!is_header(from->header) || !has_length(from->claim, TOKEN_NAME_MAX))
            return codec_refuse(why,
                                "Rule: \"%.80s\" is no header that can be written, or of no "
                                "claim",
                                from->header);
        rule->is_unknown |= has_unknown(&from->base);
        headers[i] = (struct token_claim_header){codec_keep(arena, from->header),
                                                 codec_keep(arena, from->claim)};
    }
    rule->payload_header = codec_keep(arena, message->payload_header);
    rule->claim_headers = headers;
    rule->n_claim_headers = message->n_claim_headers;
    return 0;
}

static int rule_decode(const RuleMessage *message, struct arena *arena, struct token_rule *rule,
                       struct text *why)
{
    if (!has_length(message->issuer, TOKEN_WORD_MAX) && !message->is_unknown)
        return codec_refuse(why, "Rule.issuer: must have 1 to %d bytes", TOKEN_WORD_MAX);
    if (message->n_audiences > TOKEN_AUDIENCES_MAX)
        return codec_refuse(why, "Rule: %zu audiences (%d at most)", message->n_audiences,
                            TOKEN_AUDIENCES_MAX);
    rule->issuer = codec_keep(arena, message->issuer);
    rule->audiences = codec_keep_all(arena, message->audiences, message->n_audiences);
    rule->n_audiences = message->n_audiences;
    rule->jwks = codec_keep(arena, message->jwks);
    rule->forwards = message->forwards;
    rule->is_unknown = message->is_unknown || has_unknown(&message->base);
    int err = places_decode(message, arena, rule, why);
    return err ? err : headers_decode(message, arena, rule, why);
}

/* Tokens stand there, and none is taken. */
static struct token_rule marked_rule(void)
{
    struct token_rule rule = {.is_unknown = true};

    rule.places = token_default_places(&rule.n_places);
    return rule;
}

static int rules_decode(const Message *message, struct arena *arena,
                        struct model_request_auth *auth, struct text *why)
{
    const bool is_unknown = has_unknown(&message->base);

    if (message->n_rules > TOKEN_RULES_MAX)
        return codec_refuse(why, "RequestAuthentication: %zu rules (%d at most)", message->n_rules,
                            TOKEN_RULES_MAX);
    auth->rules = arena_new_array(arena, struct token_rule, message->n_rules + 1);
    for (size_t i = 0; i < message->n_rules; i++) {
        int err = rule_decode(message->rules[i], arena, &auth->rules[i], why);

        if (err)
            return err;
        auth->rules[i].is_unknown |= is_unknown;
    }
    auth->n_rules = message->n_rules;
    if (is_unknown)
        auth->rules[auth->n_rules++] = marked_rule();
    return 0;
}

static int auth_decode(const Message *message, struct str name, struct arena *arena,
                       struct model_request_auth *auth, struct text *why)
{
    if (!message->name[0])
        return codec_refuse(why, "RequestAuthentication.name must not be empty");
    if ((unsigned)message->scope > POLICY_WORKLOAD)
        return codec_refuse(why, "RequestAuthentication.scope: %d is not known (0 to 2)",
                            (int)message->scope);
    auth->name = codec_keep(arena, message->name);
    auth->namespace_ = codec_keep(arena, message->namespace_);
    auth->scope = (enum policy_scope)message->scope;
    auth->targets = codec_keep_all(arena, message->targets, message->n_targets);
    auth->n_targets = message->n_targets;
    int err = codec_check_name(
        name, arena_printf(arena, "%s/%s", message->namespace_, message->name), why);
    return err ? err : rules_decode(message, arena, auth, why);
}

int codec_token_decode(struct str bytes, struct str name, struct arena *arena,
                       struct model_request_auth **out_auth, struct text *why)
{
    struct model_request_auth *auth = arena_new(arena, struct model_request_auth);
    struct arena scratch = {0};
    const Message *message = (const void *)wire_unpack(
        &isthmus__v1alpha1__request_authentication__descriptor, bytes, &scratch, why);
    int err = message ? auth_decode(message, name, arena, auth, why) : -ERR_INVALID;

    arena_fini(&scratch);
    if (!err)
        *out_auth = auth;
    return err;
}
