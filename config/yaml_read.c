/* The typed readers of yaml.h. */
#include <stdio.h>
#include <string.h>

#include "config/yaml.h"
#include "proxy/base/clock.h"
#include "proxy/base/keyed_hash.h"

uint64_t yaml_hash(const struct yaml *node, uint64_t before)
{
    const uint64_t head[] = {(uint64_t)node->kind, node->quoted, node->len};
    uint64_t hash = keyed_hash(before, str_of(head, sizeof(head)));
    if (node->kind == YAML_TEXT)
        return keyed_hash(hash, node->text);
    for (size_t i = 0; i < node->len; i++) {
        if (node->kind == YAML_MAPPING)
            hash = yaml_hash(node->keys[i], hash);
        hash = yaml_hash(node->items[i], hash);
    }
    return hash;
}

struct yaml *yaml_get(const struct yaml *node, const char *key)
{
    if (!node || node->kind != YAML_MAPPING)
        return NULL;
    struct str wanted = str_from(key);
    for (size_t i = 0; i < node->len; i++)
        if (str_eq(node->keys[i]->text, wanted))
            return node->items[i]->kind == YAML_NULL ? NULL : node->items[i];
    return NULL;
}

static struct yaml *get_str(const struct yaml *node, struct str key)
{
    char buf[256];
    if (key.len >= sizeof(buf))
        return NULL;
    memcpy(buf, key.ptr, key.len);
    buf[key.len] = '\0';
    return yaml_get(node, buf);
}

struct yaml *yaml_path(const struct yaml *node, const char *path)
{
    struct str rest = str_from(path), head, tail;
    while (node && str_split(rest, '.', &head, &tail)) {
        node = get_str(node, head);
        rest = tail;
    }
    return node ? get_str(node, rest) : NULL;
}

static const char *kind_word(const struct yaml *node)
{
    switch (node->kind) {
    case YAML_NULL: return "nothing";
    case YAML_TEXT: return "a plain value";
    case YAML_SEQUENCE: return "a list";
    case YAML_MAPPING: return "a mapping";
    }
    return "nothing";
}

#define SHOWN_MAX 80 /* of a wrong value, in a sentence */

static void wrong(const struct yaml *node, const char *what, const char *expected,
                  struct diag *diag)
{
    if (node->kind == YAML_TEXT) {
        struct str shown = str_sub(node->text, 0, SHOWN_MAX);
        diag_error(diag, node->place, "%s: \"%.*s\" is not %s", what, STR_ARG(shown), expected);
    } else {
        diag_error(diag, node->place, "%s: expected %s, found %s", what, expected, kind_word(node));
    }
}

struct str yaml_text(const struct yaml *node, const char *what, struct str fallback,
                     struct diag *diag)
{
    if (!node || node->kind == YAML_NULL)
        return fallback;
    if (node->kind == YAML_TEXT)
        return node->text;
    wrong(node, what, "text", diag);
    return fallback;
}

bool yaml_bool(const struct yaml *node, const char *what, bool fallback, struct diag *diag)
{
    if (!node || node->kind == YAML_NULL)
        return fallback;
    if (node->kind == YAML_TEXT && !node->quoted) {
        if (str_eq_ci(node->text, STR("true")))
            return true;
        if (str_eq_ci(node->text, STR("false")))
            return false;
    }
    wrong(node, what, node->quoted ? "true or false (without quotes)" : "true or false", diag);
    return fallback;
}

uint64_t yaml_u64(const struct yaml *node, const char *what, uint64_t min, uint64_t max,
                  uint64_t fallback, struct diag *diag)
{
    if (!node || node->kind == YAML_NULL)
        return fallback;
    uint64_t value;
    if (node->kind == YAML_TEXT && !node->quoted && str_to_u64(node->text, max, &value) &&
        value >= min)
        return value;
    char expected[96];
    (void)snprintf(expected, sizeof(expected), "a whole number from %llu to %llu%s",
                   (unsigned long long)min, (unsigned long long)max,
                   node->quoted ? " (without quotes)" : "");
    wrong(node, what, expected, diag);
    return fallback;
}

static bool unit_ns(struct str unit, uint64_t *out_ns)
{
    static const struct {
        const char *name;
        uint64_t ns;
    } units[] = {
        {"ns", 1},         {"us", 1000},           {"ms", NS_PER_MS},
        {"s", NS_PER_SEC}, {"m", 60 * NS_PER_SEC}, {"h", 3600 * NS_PER_SEC},
    };

    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (str_eq(unit, str_from(units[i].name))) {
            *out_ns = units[i].ns;
            return true;
        }
    }
    return false;
}

static size_t span(struct str text, bool digits)
{
    size_t len = 0;
    while (len < text.len && (text.ptr[len] >= '0' && text.ptr[len] <= '9') == digits)
        len++;
    return len;
}

/* As Go writes durations, without fractions: "1h30m". "0" needs no unit. */
static bool parse_duration(struct str text, uint64_t *out_ns)
{
    uint64_t total = 0, count, unit;
    if (str_eq(text, STR("0"))) {
        *out_ns = 0;
        return true;
    }
    if (str_is_empty(text))
        return false;
    while (text.len > 0) {
        size_t n_digits = span(text, true);
        struct str after = str_sub(text, n_digits, text.len);
        size_t n_letters = span(after, false);
        uint64_t part;
        if (!str_to_u64(str_sub(text, 0, n_digits), UINT64_MAX, &count) ||
            !unit_ns(str_sub(after, 0, n_letters), &unit) ||
            __builtin_mul_overflow(count, unit, &part) ||
            __builtin_add_overflow(total, part, &total))
            return false;
        text = str_sub(after, n_letters, after.len);
    }
    *out_ns = total;
    return true;
}

static void duration_text(uint64_t ns, char *buf, size_t size)
{
    if (ns >= 3600 * NS_PER_SEC && ns % (3600 * NS_PER_SEC) == 0)
        (void)snprintf(buf, size, "%lluh", (unsigned long long)(ns / (3600 * NS_PER_SEC)));
    else if (ns >= NS_PER_SEC && ns % NS_PER_SEC == 0)
        (void)snprintf(buf, size, "%llus", (unsigned long long)(ns / NS_PER_SEC));
    else
        (void)snprintf(buf, size, "%llums", (unsigned long long)(ns / NS_PER_MS));
}

uint64_t yaml_duration_ns(const struct yaml *node, const char *what, uint64_t min_ns,
                          uint64_t max_ns, uint64_t fallback_ns, struct diag *diag)
{
    if (!node || node->kind == YAML_NULL)
        return fallback_ns;
    uint64_t ns;
    if (node->kind != YAML_TEXT || !parse_duration(node->text, &ns)) {
        wrong(node, what, "a duration such as 400ms, 10s, 5m or 1h", diag);
        return fallback_ns;
    }
    if (ns >= min_ns && ns <= max_ns)
        return ns;
    char min[32], max[32], expected[96];
    duration_text(min_ns, min, sizeof(min));
    duration_text(max_ns, max, sizeof(max));
    (void)snprintf(expected, sizeof(expected), "a duration from %s to %s", min, max);
    wrong(node, what, expected, diag);
    return fallback_ns;
}

bool yaml_must_be(enum yaml_kind kind, const struct yaml *node, const char *what, struct diag *diag)
{
    if (node->kind != kind && node->kind != YAML_NULL)
        wrong(node, what, kind == YAML_MAPPING ? "a mapping" : "a list", diag);
    return node->kind == kind;
}

#define WORD_MAX 48 /* longer words are not compared */

/* Levenshtein's distance, case folded: how many letters a typing mistake got wrong. */
static size_t distance(struct str a, struct str b)
{
    size_t row[WORD_MAX + 1];
    if (a.len > WORD_MAX || b.len > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = str_eq_ci(str_sub(a, i - 1, 1), str_sub(b, j - 1, 1));
            size_t best = diagonal + (same ? 0 : 1);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[b.len];
}

const char *yaml_nearest(struct str word, const char *const *known, size_t max_distance)
{
    const char *best = NULL;
    size_t best_distance = max_distance;
    for (size_t i = 0; known[i]; i++) {
        size_t d = distance(word, str_from(known[i]));
        if (d < best_distance) {
            best_distance = d;
            best = known[i];
        }
    }
    return best;
}

static bool is_known(struct str key, const char *const *known)
{
    for (size_t i = 0; known[i]; i++)
        if (str_eq(key, str_from(known[i])))
            return true;
    return false;
}

void yaml_only_keys(const struct yaml *node, const char *what, const char *const *known,
                    struct diag *diag)
{
    if (!node || node->kind != YAML_MAPPING)
        return;
    for (size_t i = 0; i < node->len; i++) {
        struct str key = node->keys[i]->text, shown = str_sub(key, 0, SHOWN_MAX);
        if (is_known(key, known))
            continue;
        /* further away is another word, not a mistake */
        const char *near = yaml_nearest(key, known, key.len / 2 + 1);
        const char *dot = *what ? "." : "";
        if (near)
            diag_error(diag, node->keys[i]->place,
                       "%s%s%.*s: there is no such key; did you mean \"%s\"?", what, dot,
                       STR_ARG(shown), near);
        else
            diag_error(diag, node->keys[i]->place, "%s%s%.*s: there is no such key", what, dot,
                       STR_ARG(shown));
    }
}
