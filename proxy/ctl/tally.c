#include "proxy/ctl/tally.h"

#include <string.h>

#define OPENED   "istio_tcp_connections_opened_total{"
#define FAILED   "istio_tcp_connections_failed_total{"
#define REQUESTS "istio_requests_total{"

static struct tally_cluster *cluster_of(struct tally *tally, struct str name)
{
    const struct str cut = str_sub(name, 0, TALLY_NAME_MAX - 1);
    for (size_t i = 0; i < tally->len; i++)
        if (str_eq(str_from(tally->clusters[i].name), cut))
            return &tally->clusters[i];
    if (tally->len == TALLY_CLUSTERS_MAX)
        return &tally->clusters[tally->len - 1];
    struct tally_cluster *cluster = &tally->clusters[tally->len++];
    *cluster = (struct tally_cluster){0};
    if (cut.len > 0)
        memcpy(cluster->name, cut.ptr, cut.len);
    return cluster;
}

/* The value of a label in `a="x",b="y"`. Names of services and clusters hold nothing that is
 * escaped; in the values before them a quote is, so that the comma behind a quote ends a label. */
static struct str label(struct str labels, const char *name)
{
    struct str rest = labels;
    while (!str_is_empty(rest)) {
        struct str key, value;
        if (!str_split(rest, '=', &key, &rest) || !str_starts_with(rest, STR("\"")))
            break;
        size_t end = 1;
        while (end < rest.len && rest.ptr[end] != '"')
            end += rest.ptr[end] == '\\' ? 2 : 1;
        value = str_sub(rest, 1, end - 1);
        if (str_eq(key, str_from(name)))
            return value;
        rest = str_sub(rest, end + 2, rest.len); /* the quote and the comma */
    }
    return (struct str){0};
}

/* It ended for another reason than its answer's end, or its answer is that of a server in need. */
static bool is_failed_request(struct str labels)
{
    const struct str flags = label(labels, "response_flags");
    return !str_eq(flags, STR("-")) && !str_eq(flags, STR("DC"));
}

static void read_line(struct tally *tally, struct str line, struct str host)
{
    const bool is_request = str_starts_with(line, STR(REQUESTS));
    const bool is_opened = is_request || str_starts_with(line, STR(OPENED));
    struct str labels, number, name;
    uint64_t n;
    if ((!is_opened && !str_starts_with(line, STR(FAILED))) ||
        !str_rsplit(line, '}', &labels, &number) ||
        !str_to_u64(str_sub(number, 1, number.len), UINT64_MAX, &n))
        return;
    (void)str_split(labels, '{', &name, &labels);
    if (!str_eq(label(labels, "reporter"), STR("source")) ||
        !str_eq(label(labels, "destination_service"), host))
        return;
    if (is_opened)
        cluster_of(tally, label(labels, "destination_cluster"))->n_opened += n;
    if (is_request ? is_failed_request(labels) : !is_opened)
        tally->n_failed += n;
}

void tally_read(struct tally *tally, struct str page, struct str host)
{
    struct str line, rest = page;
    while (str_split(rest, '\n', &line, &rest))
        read_line(tally, line, host);
    read_line(tally, rest, host);
}

static uint64_t grown(uint64_t now, uint64_t before)
{
    return now >= before ? now - before : now;
}

void tally_add_difference(struct tally *to, const struct tally *now, const struct tally *before)
{
    for (size_t i = 0; i < now->len; i++) {
        const struct str name = str_from(now->clusters[i].name);
        const uint64_t n = grown(now->clusters[i].n_opened, tally_of(before, name));
        if (n > 0)
            cluster_of(to, name)->n_opened += n;
    }
    to->n_failed += grown(now->n_failed, before->n_failed);
}

uint64_t tally_of(const struct tally *tally, struct str cluster)
{
    for (size_t i = 0; i < tally->len; i++)
        if (str_eq(str_from(tally->clusters[i].name), cluster))
            return tally->clusters[i].n_opened;
    return 0;
}

uint64_t tally_sum(const struct tally *tally)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < tally->len; i++)
        sum += tally->clusters[i].n_opened;
    return sum;
}
