#include "xds/control/vips.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/ensure.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "xds/control/vips_file.h"

struct range {
    struct cidr cidr;
    uint32_t first, last; /* the offsets that are handed out; last < first: none */
    size_t n_taken;
    size_t n_gone;
};

struct vips {
    struct text path, written; /* written: what is in the file */
    struct range ranges[CLUSTERSET_RANGES_MAX];
    size_t n_ranges;
    struct map by_name; /* "<range><name>" -> struct vip */
    struct map by_ip;   /* -> struct vip, or &asked_for for one that a manifest claims */
    struct map told;    /* names that were told to have no address -> their heap copies */
    uint64_t turn;
};

static char asked_for;

static bool range_contains(const struct range *range, const struct ip *ip, uint32_t *out_offset)
{
    uint32_t offset = 0;
    const size_t low = ip->len > 4 ? (size_t)ip->len - 4 : 0;
    if (!cidr_contains(&range->cidr, ip))
        return false;
    for (size_t i = 0; i < low; i++)
        if (ip->bytes[i] != range->cidr.ip.bytes[i])
            return false; /* beyond what of a large range is used */
    for (size_t i = low; i < ip->len; i++)
        offset = offset << 8 | (uint32_t)(ip->bytes[i] ^ range->cidr.ip.bytes[i]);
    if (offset < range->first || offset > range->last)
        return false;
    *out_offset = offset;
    return true;
}

static struct ip range_ip(const struct range *range, uint32_t offset)
{
    struct ip ip = range->cidr.ip;
    for (size_t i = 0; i < 4; i++)
        ip.bytes[ip.len - 1 - i] |= (uint8_t)(offset >> (8 * i));
    return ip;
}

static void range_init(struct range *range, const struct cidr *cidr)
{
    const unsigned host_bits = cidr->ip.len * 8U - cidr->prefix_len;
    const uint64_t size = host_bits >= 32 ? UINT64_C(1) << 32 : UINT64_C(1) << host_bits;
    const uint64_t unused_end = cidr->ip.len == 4 ? 2 : 1; /* IPv4: the broadcast address */
    range->cidr = *cidr;
    range->first = 2; /* behind the network's address and the first, where routers like to be */
    range->last = size > range->first + unused_end - 1 ? (uint32_t)(size - unused_end) : 1;
    if (range->last >= range->first + VIPS_RANGE_MAX)
        range->last = range->first + VIPS_RANGE_MAX - 1;
}

static size_t range_size(const struct range *range)
{
    return range->last < range->first ? 0 : (size_t)(range->last - range->first) + 1;
}

/* ---- allocations ---- */

static struct vip *find(const struct vips *vips, size_t range_idx, struct str name)
{
    struct text key = {0};
    text_addf(&key, "%c%.*s", (char)('0' + range_idx), STR_ARG(name));
    struct vip *vip = map_find(&vips->by_name, text_str(&key));
    text_fini(&key);
    return vip;
}

static struct vip *put(struct vips *vips, size_t range_idx, struct str name, struct ip ip)
{
    struct vip *vip = vip_new(range_idx, name, ip);
    map_put(&vips->by_name, vip->key, vip);
    map_put(&vips->by_ip, ip_key(&vip->ip), vip);
    vips->ranges[range_idx].n_taken++;
    return vip;
}

static void drop(struct vips *vips, struct vip *vip)
{
    map_remove(&vips->by_name, vip->key);
    map_remove(&vips->by_ip, ip_key(&vip->ip));
    vips->ranges[vip->range_idx].n_taken--;
    mem_free(vip);
}

/* Those that are gone, the longest first. */
struct gone {
    struct vip **vips;
    size_t len, next;
};

static int compare_gone(const void *a, const void *b)
{
    const struct vip *x = *(struct vip *const *)a, *y = *(struct vip *const *)b;
    if (x->gone_since_ns != y->gone_since_ns)
        return x->gone_since_ns < y->gone_since_ns ? -1 : 1;
    return str_cmp(x->key, y->key);
}

static void gone_collect(const struct vips *vips, size_t range_idx, struct gone *out_gone)
{
    size_t idx = 0;
    struct str key;
    void *value;
    *out_gone = (struct gone){.vips = mem_new_array(struct vip *, vips->by_name.len + 1)};
    while (map_next(&vips->by_name, &idx, &key, &value)) {
        struct vip *vip = value;
        if (vip->range_idx == range_idx && vip->gone_since_ns != 0)
            out_gone->vips[out_gone->len++] = vip;
    }
    if (out_gone->len > 1)
        qsort(out_gone->vips, out_gone->len, sizeof(struct vip *), compare_gone);
}

/* The hash's choice, else the next that is free. Called only when one is. */
static struct ip free_ip(const struct vips *vips, const struct range *range, struct str name)
{
    const size_t size = range_size(range);
    ensure(size > 0);
    const size_t start = (size_t)(str_hash(name, 0) % size);
    for (size_t i = 0; i < size; i++) {
        struct ip ip = range_ip(range, range->first + (uint32_t)((start + i) % size));
        if (!map_find(&vips->by_ip, ip_key(&ip)))
            return ip;
    }
    ensure_failed("a free ClusterSetIP", __FILE__, __LINE__);
}

/* NULL when the range is full and nobody in it is gone. */
static struct vip *allocate(struct vips *vips, size_t range_idx, struct str name, struct gone *gone)
{
    struct range *range = &vips->ranges[range_idx];
    if (range->n_taken < range_size(range))
        return put(vips, range_idx, name, free_ip(vips, range, name));
    if (gone->next == gone->len)
        return NULL;
    struct vip *oldest = gone->vips[gone->next++];
    struct ip ip = oldest->ip;
    drop(vips, oldest);
    return put(vips, range_idx, name, ip);
}

/* ---- addresses that manifests ask for ---- */

/* In the way: another service that has the address now, in this turn. One that is gone makes room.
 */
static bool is_in_the_way(struct vips *vips, const struct vip_request *request, const struct ip *ip)
{
    void *holder = map_find(&vips->by_ip, ip_key(ip));
    struct vip *vip = holder;
    if (!holder)
        return false;
    if (holder == &asked_for)
        return true;
    if (str_eq(vip->name, request->name))
        return false;
    if (vip->turn == vips->turn)
        return true;
    drop(vips, vip);
    return false;
}

static size_t range_of(const struct vips *vips, const struct ip *ip)
{
    uint32_t offset;
    for (size_t i = 0; i < vips->n_ranges; i++)
        if (range_contains(&vips->ranges[i], ip, &offset))
            return i;
    return vips->n_ranges;
}

static void take_wanted(struct vips *vips, struct vip_request *request)
{
    char buf[IP_TEXT_MAX];
    for (size_t i = 0; i < request->n_wanted; i++) {
        const struct ip *ip = &request->wanted[i];
        if (is_in_the_way(vips, request, ip)) {
            text_addf(&request->problem,
                      "%s that its ServiceImport asks for belongs to another service",
                      ip_text(ip, buf));
            continue;
        }
        if (!map_find(&vips->by_ip, ip_key(ip))) {
            const size_t range_idx = range_of(vips, ip);
            map_put(&vips->by_ip, ip_key(ip), &asked_for);
            if (range_idx < vips->n_ranges)
                vips->ranges[range_idx].n_taken++;
        }
        request->got[request->n_got++] = *ip;
    }
}

/* The keys of these entries are the requests', so they go before the call returns. */
static void give_back_wanted(struct vips *vips, const struct vip_request *requests,
                             size_t n_requests)
{
    for (size_t i = 0; i < n_requests; i++) {
        for (size_t j = 0; j < requests[i].n_wanted; j++) {
            const struct ip *ip = &requests[i].wanted[j];
            const size_t range_idx = range_of(vips, ip);
            if (map_find(&vips->by_ip, ip_key(ip)) != &asked_for)
                continue;
            map_remove(&vips->by_ip, ip_key(ip));
            if (range_idx < vips->n_ranges)
                vips->ranges[range_idx].n_taken--;
        }
    }
}

static bool has_family(const struct vip_request *request, uint8_t ip_len)
{
    for (size_t i = 0; i < request->n_got; i++)
        if (request->got[i].len == ip_len)
            return true;
    return false;
}

/* ---- a turn ---- */

static void mark_present(struct vips *vips, const struct vip_request *requests, size_t n_requests)
{
    vips->turn++;
    for (size_t i = 0; i < n_requests; i++) {
        for (size_t j = 0; j < vips->n_ranges; j++) {
            struct vip *vip = find(vips, j, requests[i].name);
            if (!vip)
                continue;
            vip->turn = vips->turn;
            vip->gone_since_ns = 0;
        }
    }
}

static void mark_gone(struct vips *vips, int64_t now_ns)
{
    size_t idx = 0;
    struct str key;
    void *value;
    while (map_next(&vips->by_name, &idx, &key, &value)) {
        struct vip *vip = value;
        if (vip->turn != vips->turn && vip->gone_since_ns == 0)
            vip->gone_since_ns = now_ns > 0 ? now_ns : 1;
    }
}

static void bound_gone(struct vips *vips, struct gone *gone)
{
    while (gone->len - gone->next > VIPS_GONE_MAX)
        drop(vips, gone->vips[gone->next++]);
}

static void tell_full(const struct range *range, struct vip_request *request)
{
    char buf[IP_TEXT_MAX];
    text_addf(&request->problem, "%sthe ClusterSetIP range %s/%u is full: %.*s gets no address",
              request->problem.len ? "; " : "", ip_text(&range->cidr.ip, buf),
              range->cidr.prefix_len, STR_ARG(request->name));
}

static void assign_range(struct vips *vips, size_t range_idx, struct vip_request *requests,
                         size_t n_requests)
{
    struct range *range = &vips->ranges[range_idx];
    struct gone gone;
    gone_collect(vips, range_idx, &gone);
    bound_gone(vips, &gone);
    for (size_t i = 0; i < n_requests; i++) {
        if (has_family(&requests[i], range->cidr.ip.len))
            continue;
        struct vip *vip = find(vips, range_idx, requests[i].name);
        if (!vip)
            vip = allocate(vips, range_idx, requests[i].name, &gone);
        if (vip)
            vip->turn = vips->turn;
        else
            tell_full(range, &requests[i]);
    }
    mem_free(gone.vips);
}

/* One line a service when it begins to have a problem, not one a turn. */
static void tell_new_problems(struct vips *vips, const struct vip_request *requests,
                              size_t n_requests)
{
    struct map told = {0};
    size_t idx = 0;
    struct str key;
    void *value;
    for (size_t i = 0; i < n_requests; i++) {
        struct str problem = text_str(&requests[i].problem);
        if (str_is_empty(problem))
            continue;
        if (!map_find(&vips->told, requests[i].name))
            log_warn("a clusterset service lacks an address", log_str("service", requests[i].name),
                     log_str("why", problem));
        char *copy = mem_alloc(requests[i].name.len + 1);
        memcpy(copy, requests[i].name.ptr, requests[i].name.len);
        map_put(&told, str_of(copy, requests[i].name.len), copy);
    }
    while (map_next(&vips->told, &idx, &key, &value))
        mem_free(value);
    map_fini(&vips->told);
    vips->told = told;
}

static int save(struct vips *vips)
{
    struct text content = {0};
    int err = 0;
    vips_file_write(&vips->by_name, &content);
    if (!str_eq(text_str(&content), text_str(&vips->written))) {
        err = file_write_atomic(text_str(&vips->path), text_str(&content), 0600);
        if (err == 0) {
            text_clear(&vips->written);
            text_add(&vips->written, text_str(&content));
        }
    }
    text_fini(&content);
    return err;
}

/* What is written may be published; what is not waits for the next turn. */
static void hand_out(struct vips *vips, struct vip_request *request, bool is_saved)
{
    for (size_t i = 0; i < vips->n_ranges; i++) {
        struct vip *vip = find(vips, i, request->name);
        if (!vip || has_family(request, vip->ip.len))
            continue;
        vip->is_saved = vip->is_saved || is_saved;
        if (vip->is_saved)
            request->got[request->n_got++] = vip->ip;
        else
            text_addf(&request->problem, "%sits address could not be written to the disk yet",
                      request->problem.len ? "; " : "");
    }
}

int vips_assign(struct vips *vips, struct vip_request *requests, size_t n_requests, int64_t now_ns)
{
    mark_present(vips, requests, n_requests);
    mark_gone(vips, now_ns);
    for (size_t i = 0; i < n_requests; i++)
        take_wanted(vips, &requests[i]);
    for (size_t i = 0; i < vips->n_ranges; i++)
        assign_range(vips, i, requests, n_requests);
    give_back_wanted(vips, requests, n_requests);
    int err = save(vips);
    if (err < 0)
        log_error("the ClusterSetIPs could not be written", log_str("path", text_str(&vips->path)),
                  log_cstr("error", file_why(err)));
    for (size_t i = 0; i < n_requests; i++)
        hand_out(vips, &requests[i], err == 0);
    tell_new_problems(vips, requests, n_requests);
    return err;
}

/* ---- life ---- */

static bool load_one(void *owner, struct str name, const struct ip *ip, int64_t gone_since_ns)
{
    struct vips *vips = owner;
    const size_t range_idx = range_of(vips, ip);
    if (range_idx == vips->n_ranges)
        return true; /* the ranges were changed: it gets another one */
    if (map_find(&vips->by_ip, ip_key(ip)) || find(vips, range_idx, name))
        return false;
    struct vip *vip = put(vips, range_idx, name, *ip);
    vip->gone_since_ns = gone_since_ns;
    vip->is_saved = true;
    return true;
}

int vips_open(struct str state_dir, const struct cidr *ranges, size_t n_ranges,
              struct vips **out_vips, struct text *why)
{
    struct vips *vips = mem_new(struct vips);
    struct text content = {0};
    ensure(n_ranges <= CLUSTERSET_RANGES_MAX);
    vips->n_ranges = n_ranges;
    for (size_t i = 0; i < n_ranges; i++)
        range_init(&vips->ranges[i], &ranges[i]);
    text_addf(&vips->path, "%.*s/vips.json", STR_ARG(state_dir));
    int err = file_read_all(text_str(&vips->path), VIPS_FILE_MAX_BYTES, &content);
    if (err == 0)
        err = vips_file_read(text_str(&content), load_one, vips, why);
    else if (err == -ERR_NOT_FOUND)
        err = 0;
    else
        text_add(why, str_from(err_text(err)));
    text_fini(&content);
    if (err == 0) {
        *out_vips = vips;
        return 0;
    }
    text_addf(why, " (%.*s; without the file, services get their addresses anew)",
              STR_ARG(text_str(&vips->path)));
    vips_free(vips);
    return err;
}

void vips_free(struct vips *vips)
{
    size_t idx = 0;
    struct str key;
    void *value;
    if (!vips)
        return;
    while (map_next(&vips->by_name, &idx, &key, &value))
        mem_free(value);
    for (idx = 0; map_next(&vips->told, &idx, &key, &value);)
        mem_free(value);
    map_fini(&vips->by_name);
    map_fini(&vips->by_ip);
    map_fini(&vips->told);
    text_fini(&vips->path);
    text_fini(&vips->written);
    mem_free(vips);
}
