/*
 * The values of policies, both ways: strings with their kind of match, and what a request shows. A
 * reader takes a field whole or not at all, and says when there was something that it does not
 * know; what comes of that is codec_policy_read.c's.
 */
#include <string.h>

#include "config/path_template.h"
#include "xds/codec_parts.h"
#include "xds/codec_policy.h"

bool codec_has_unknown(const ProtobufCMessage *message)
{
    return message->n_unknown_fields > 0;
}

/* ---- strings ---- */

static bool has_word(enum match_kind kind)
{
    return kind != MATCH_GLOB && kind != MATCH_TEMPLATE;
}

static Istio__Security__StringMatch *string_encode(const struct string_match *match,
                                                   struct arena *arena)
{
    Istio__Security__StringMatch *message = arena_new(arena, Istio__Security__StringMatch);
    char *value = wire_text(arena, match->value);

    istio__security__string_match__init(message);
    switch (match->kind) {
    case MATCH_EXACT:
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT;
        message->exact = value;
        break;
    case MATCH_PREFIX:
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX;
        message->prefix = value;
        break;
    case MATCH_SUFFIX:
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX;
        message->suffix = value;
        break;
    case MATCH_PRESENCE:
    case MATCH_TEMPLATE:
    case MATCH_GLOB: /* never, see codec_strings_encode() */
        message->match_type_case = ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE;
        message->presence = arena_new(arena, Istio__Security__Empty);
        istio__security__empty__init(message->presence);
        break;
    }
    return message;
}

Istio__Security__StringMatch **codec_strings_encode(const struct string_match *matches,
                                                    size_t n_matches, struct arena *arena,
                                                    size_t *out_n)
{
    Istio__Security__StringMatch **list =
        arena_new_array(arena, Istio__Security__StringMatch *, n_matches);

    *out_n = 0;
    for (size_t i = 0; i < n_matches; i++)
        if (has_word(matches[i].kind))
            list[(*out_n)++] = string_encode(&matches[i], arena);
    return list;
}

char **codec_patterns_encode(const struct string_match *matches, size_t n_matches,
                             enum match_kind kind, struct arena *arena, size_t *out_n)
{
    char **list = arena_new_array(arena, char *, n_matches);

    *out_n = 0;
    for (size_t i = 0; i < n_matches; i++)
        if (matches[i].kind == kind)
            list[(*out_n)++] = wire_text(arena, matches[i].value);
    return list;
}

/* False when the kind of match is not known. */
static bool string_decode(const Istio__Security__StringMatch *message, struct arena *arena,
                          struct string_match *out_match)
{
    if (codec_has_unknown(&message->base))
        return false;
    switch (message->match_type_case) {
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_EXACT:
        *out_match = (struct string_match){MATCH_EXACT, codec_keep(arena, message->exact)};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PREFIX:
        *out_match = (struct string_match){MATCH_PREFIX, codec_keep(arena, message->prefix)};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_SUFFIX:
        *out_match = (struct string_match){MATCH_SUFFIX, codec_keep(arena, message->suffix)};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE_PRESENCE:
        *out_match = (struct string_match){.kind = MATCH_PRESENCE};
        return true;
    case ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE__NOT_SET:
    case _ISTIO__SECURITY__STRING_MATCH__MATCH_TYPE__CASE_IS_INT_SIZE: return false;
    }
    return false;
}

struct string_match *codec_strings_decode(Istio__Security__StringMatch *const *messages, size_t n,
                                          char *const *patterns, size_t n_patterns,
                                          enum match_kind kind, struct arena *arena, size_t *out_n)
{
    struct string_match *list = arena_new_array(arena, struct string_match, n + n_patterns);

    *out_n = 0;
    for (size_t i = 0; i < n; i++)
        if (!string_decode(messages[i], arena, &list[i]))
            return NULL;
    for (size_t i = 0; i < n_patterns; i++)
        list[n + i] = (struct string_match){kind, codec_keep(arena, patterns[i])};
    *out_n = n + n_patterns;
    return list;
}

/* ---- what a request shows ---- */

/* The names of nested claims, which have a NUL between them in the model. */
static char **claim_encode(struct str path, struct arena *arena, size_t *out_n)
{
    struct str rest = path, name;
    size_t n = 1;

    for (size_t i = 0; i < path.len; i++)
        n += path.ptr[i] == '\0';
    char **list = arena_new_array(arena, char *, n);
    *out_n = 0;
    while (str_split(rest, '\0', &name, &rest))
        list[(*out_n)++] = wire_text(arena, name);
    list[(*out_n)++] = wire_text(arena, rest);
    return list;
}

static struct str claim_decode(char *const *names, size_t n, struct arena *arena)
{
    struct text path = {0};

    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            text_addc(&path, '\0');
        text_add(&path, str_from(names[i]));
    }
    const struct str kept = arena_str(arena, text_str(&path));
    text_fini(&path);
    return kept;
}

static Isthmus__V1alpha1__RequestField *field_encode(const struct request_field *field,
                                                     struct arena *arena)
{
    Isthmus__V1alpha1__RequestField *message = arena_new(arena, Isthmus__V1alpha1__RequestField);

    isthmus__v1alpha1__request_field__init(message);
    message->subject = (uint32_t)field->subject;
    if (field->subject == REQUEST_HEADER)
        message->header = wire_text(arena, field->name);
    if (field->subject == REQUEST_TOKEN_CLAIM)
        message->claim = claim_encode(field->name, arena, &message->n_claim);
    message->values =
        codec_strings_encode(field->values, field->n_values, arena, &message->n_values);
    message->templates = codec_patterns_encode(field->values, field->n_values, MATCH_TEMPLATE,
                                               arena, &message->n_templates);
    message->not_values =
        codec_strings_encode(field->not_values, field->n_not_values, arena, &message->n_not_values);
    message->not_templates = codec_patterns_encode(
        field->not_values, field->n_not_values, MATCH_TEMPLATE, arena, &message->n_not_templates);
    return message;
}

Isthmus__V1alpha1__RequestField **codec_request_encode(const struct request_field *fields, size_t n,
                                                       struct arena *arena)
{
    Isthmus__V1alpha1__RequestField **list =
        arena_new_array(arena, Isthmus__V1alpha1__RequestField *, n);

    for (size_t i = 0; i < n; i++)
        list[i] = field_encode(&fields[i], arena);
    return list;
}

static bool are_templates(char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (path_template_fault(str_from(texts[i])))
            return false;
    return true;
}

/* Header fields and nested claims, and nothing else, have names. */
static bool is_named_well(const Isthmus__V1alpha1__RequestField *message)
{
    for (size_t i = 0; i < message->n_claim; i++)
        if (!message->claim[i][0])
            return false;
    for (const char *c = message->header; *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            return false;
    return !message->header[0] == (message->subject != REQUEST_HEADER) &&
           (message->n_claim == 0) == (message->subject != REQUEST_TOKEN_CLAIM);
}

/* False when there is something in it that is not known. */
static bool field_decode(const Isthmus__V1alpha1__RequestField *message, struct arena *arena,
                         struct request_field *field)
{
    const size_t n_templates = message->n_templates + message->n_not_templates;

    if (codec_has_unknown(&message->base) || message->subject >= REQUEST_SUBJECTS ||
        !is_named_well(message) || (n_templates > 0 && message->subject != REQUEST_PATH) ||
        !are_templates(message->templates, message->n_templates) ||
        !are_templates(message->not_templates, message->n_not_templates))
        return false;
    *field = (struct request_field){.subject = (enum request_subject)message->subject};
    field->name = field->subject == REQUEST_TOKEN_CLAIM
                      ? claim_decode(message->claim, message->n_claim, arena)
                      : codec_keep(arena, message->header);
    field->values =
        codec_strings_decode(message->values, message->n_values, message->templates,
                             message->n_templates, MATCH_TEMPLATE, arena, &field->n_values);
    field->not_values =
        codec_strings_decode(message->not_values, message->n_not_values, message->not_templates,
                             message->n_not_templates, MATCH_TEMPLATE, arena, &field->n_not_values);
    return field->values && field->not_values && field->n_values + field->n_not_values > 0;
}

struct request_field *codec_request_decode(Isthmus__V1alpha1__RequestField *const *messages,
                                           size_t n, struct arena *arena, size_t *out_n,
                                           bool *has_unknown)
{
    struct request_field *list = arena_new_array(arena, struct request_field, n);

    *out_n = 0;
    for (size_t i = 0; i < n; i++) {
        if (field_decode(messages[i], arena, &list[*out_n]))
            (*out_n)++;
        else
            *has_unknown = true;
    }
    return list;
}
