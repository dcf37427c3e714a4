/* The fields that many kinds share. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/k8s.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"

#define SHOWN_MAX 80 /* of a wrong value, in a sentence */

void *vec_add(struct vec *vec)
{
    if (vec->len == vec->cap) {
        vec->cap = vec->cap ? 2 * vec->cap : 16;
        vec->items = mem_realloc(vec->items, vec->cap * vec->item_size);
    }
    void *item = (char *)vec->items + vec->len++ * vec->item_size;
    memset(item, 0, vec->item_size);
    return item;
}

const char *what_at(char *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(buf, WHAT_MAX, format, args);
    va_end(args);
    return buf;
}

struct place k8s_place(const struct k8s_reader *reader, const struct yaml *node)
{
    return (struct place){reader->file, node->place.line, node->place.column};
}

struct str k8s_text(const struct k8s_reader *reader, const struct yaml *node, const char *what)
{
    struct str text = yaml_text(node, what, (struct str){0}, reader->diag);
    return text.len > 0 ? arena_str(reader->arena, text) : (struct str){0};
}

struct str k8s_name(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                    bool (*is_valid)(struct str), const char *expected)
{
    struct str text = k8s_text(reader, node, what);
    if (node && node->kind == YAML_TEXT && !is_valid(text))
        diag_error(reader->diag, node->place, "%s: \"%.*s\" is not %s", what,
                   STR_ARG(str_sub(text, 0, SHOWN_MAX)), expected);
    return text;
}

void k8s_mention(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                 struct str cluster)
{
    struct k8s_mentions *all = reader->mentions;
    if (!all || !node || str_is_empty(cluster))
        return;
    struct k8s_mention *mention = arena_new(reader->arena, struct k8s_mention);
    mention->place = k8s_place(reader, node);
    mention->what = arena_str(reader->arena, str_from(what));
    mention->name = arena_str(reader->arena, cluster);
    if (all->last)
        all->last->next = mention;
    else
        all->first = mention;
    all->last = mention;
}

uint16_t k8s_port(const struct k8s_reader *reader, const struct yaml *node,
                  const struct yaml *parent, const char *what)
{
    uint64_t port;
    if (!node) {
        diag_error(reader->diag, parent->place, "%s: is required", what);
        return 0;
    }
    if (node->kind == YAML_TEXT && !node->quoted && str_to_u64(node->text, UINT16_MAX, &port) &&
        port > 0)
        return (uint16_t)port;
    if (node->kind == YAML_TEXT)
        diag_error(reader->diag, node->place, "%s: %s%.*s%s is not a port (1 to 65535)", what,
                   node->quoted ? "\"" : "", STR_ARG(str_sub(node->text, 0, SHOWN_MAX)),
                   node->quoted ? "\"" : "");
    else
        (void)yaml_u64(node, what, 1, UINT16_MAX, 0, reader->diag); /* which says what it found */
    return 0;
}

bool k8s_is_sctp(const struct k8s_reader *reader, const struct yaml *node, const char *what)
{
    if (!node || node->kind != YAML_TEXT || !str_eq(node->text, STR("SCTP")))
        return false;
    diag_warn(reader->diag, node->place,
              "%s: SCTP is passed over with its port: only TCP and UDP are carried", what);
    return true;
}

bool k8s_is_udp(const struct k8s_reader *reader, const struct yaml *node, const char *what)
{
    struct str text = yaml_text(node, what, STR("TCP"), reader->diag);
    if (str_eq(text, STR("UDP")))
        return true;
    if (!str_eq(text, STR("TCP")))
        diag_error(reader->diag, node->place, "%s: \"%.*s\" is not TCP or UDP", what,
                   STR_ARG(str_sub(text, 0, SHOWN_MAX)));
    return false;
}

bool k8s_ip(const struct k8s_reader *reader, const struct yaml *node, const char *what,
            struct ip *out_ip)
{
    struct str text = yaml_text(node, what, (struct str){0}, reader->diag);
    if (!node || node->kind != YAML_TEXT)
        return false;
    if (ip_parse(text, out_ip) == 0)
        return true;
    diag_error(reader->diag, node->place, "%s: \"%.*s\" is not an IP address", what,
               STR_ARG(str_sub(text, 0, SHOWN_MAX)));
    return false;
}

struct label *k8s_labels(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                         size_t *out_n)
{
    char buf[WHAT_MAX];
    *out_n = 0;
    if (!yaml_is_mapping(node, what, reader->diag))
        return NULL;
    struct label *labels = arena_new_array(reader->arena, struct label, node->len);
    for (size_t i = 0; i < node->len; i++) {
        struct str key = arena_str(reader->arena, node->keys[i]->text);
        (void)what_at(buf, "%s.%.*s", what, STR_ARG(str_sub(key, 0, SHOWN_MAX)));
        labels[i] = (struct label){key, k8s_text(reader, node->items[i], buf)};
    }
    *out_n = node->len;
    return labels;
}

size_t k8s_length(const struct k8s_reader *reader, const struct yaml *list, const char *what,
                  size_t max)
{
    if (!yaml_is_sequence(list, what, reader->diag))
        return 0;
    if (list->len <= max)
        return list->len;
    diag_error(reader->diag, list->place, "%s: has %zu entries, %zu at most", what, list->len, max);
    return 0;
}

bool k8s_item(const struct k8s_reader *reader, const struct yaml *item, const char *what)
{
    if (item->kind == YAML_NULL)
        diag_error(reader->diag, item->place, "%s: is empty, expected a mapping", what);
    return yaml_is_mapping(item, what, reader->diag);
}

/* Days from 1970-01-01 in the Gregorian calendar, years counted from March so that leap days come
 * last. */
static int64_t days_since_epoch(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

/* A number of exactly len digits in [min, max], taken off the front. */
static bool take_number(struct str *text, size_t len, uint64_t min, uint64_t max, int64_t *out)
{
    uint64_t value;
    if (text->len < len || !str_to_u64(str_sub(*text, 0, len), max, &value) || value < min)
        return false;
    *text = str_sub(*text, len, text->len);
    *out = (int64_t)value;
    return true;
}

static bool take_char(struct str *text, char c)
{
    if (text->len == 0 || text->ptr[0] != c)
        return false;
    *text = str_sub(*text, 1, text->len);
    return true;
}

/* ".123456" behind the seconds: up to nine digits, as nanoseconds. */
static bool take_fraction(struct str *text, int64_t *out_ns)
{
    int64_t unit = (int64_t)NS_PER_SEC;
    size_t digits = 0;
    *out_ns = 0;
    if (!take_char(text, '.'))
        return true;
    while (text->len > 0 && text->ptr[0] >= '0' && text->ptr[0] <= '9' && digits < 9) {
        unit /= 10;
        *out_ns += (text->ptr[0] - '0') * unit;
        *text = str_sub(*text, 1, text->len);
        digits++;
    }
    return digits > 0;
}

static bool take_offset(struct str *text, int64_t *out_sec)
{
    int64_t hours, minutes;
    *out_sec = 0;
    if (take_char(text, 'Z') || take_char(text, 'z'))
        return true;
    bool behind = take_char(text, '-');
    if ((!behind && !take_char(text, '+')) || !take_number(text, 2, 0, 23, &hours) ||
        !take_char(text, ':') || !take_number(text, 2, 0, 59, &minutes))
        return false;
    *out_sec = (behind ? -1 : 1) * (hours * 3600 + minutes * 60);
    return true;
}

bool k8s_parse_time(struct str text, int64_t *out_ns)
{
    int64_t year, month, day, hour, minute, second, fraction_ns, offset_sec;
    if (!take_number(&text, 4, 1970, 2200, &year) || !take_char(&text, '-') ||
        !take_number(&text, 2, 1, 12, &month) || !take_char(&text, '-') ||
        !take_number(&text, 2, 1, (uint64_t)days_in_month(year, month), &day) ||
        (!take_char(&text, 'T') && !take_char(&text, 't') && !take_char(&text, ' ')))
        return false;
    if (!take_number(&text, 2, 0, 23, &hour) || !take_char(&text, ':') ||
        !take_number(&text, 2, 0, 59, &minute) || !take_char(&text, ':') ||
        !take_number(&text, 2, 0, 60, &second) || !take_fraction(&text, &fraction_ns) ||
        !take_offset(&text, &offset_sec) || text.len > 0)
        return false;
    int64_t seconds =
        days_since_epoch(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *out_ns = (seconds - offset_sec) * (int64_t)NS_PER_SEC + fraction_ns;
    return true;
}
