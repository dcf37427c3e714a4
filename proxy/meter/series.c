#include "proxy/meter/series.h"

#include <string.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"

const double series_bounds[SERIES_BUCKETS - 1] = {
    0.5,  1,    5,     10,    25,    50,     100,    250,     500,     1000,
    2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
};

void series_key(const struct traffic_labels *labels, struct text *key)
{
    char packed[REQUEST_LABELS * (sizeof(uint16_t) + TRAFFIC_LABEL_BYTES_MAX)];
    char *to = packed;
    for (unsigned i = 0; i < REQUEST_LABELS; i++) {
        const struct str *value = &labels->value[i];
        const bool fits = value->len <= TRAFFIC_LABEL_BYTES_MAX;
        const uint16_t len = fits ? (uint16_t)value->len : TRAFFIC_LABEL_BYTES_MAX;
        memcpy(to, &len, sizeof(len));
        to += sizeof(len);
        if (len > 0)
            memcpy(to, value->ptr, len);
        to += len;
    }
    text_clear(key);
    text_add(key, str_of(packed, (size_t)(to - packed)));
}

struct series_labels *series_labels_new(struct str key)
{
    struct series_labels *labels = mem_zalloc(sizeof(*labels) + key.len);
    size_t at = 0;

    atomic_init(&labels->refs, 1);
    memcpy(labels->bytes, key.ptr, key.len);
    labels->key = str_of(labels->bytes, key.len);
    for (unsigned i = 0; i < REQUEST_LABELS; i++) {
        uint16_t len;
        memcpy(&len, labels->bytes + at, sizeof(len));
        labels->value[i] = str_of(labels->bytes + at + sizeof(len), len);
        at += sizeof(len) + len;
    }
    ensure(at == key.len);
    return labels;
}

void series_labels_ref(struct series_labels *labels)
{
    atomic_fetch_add_explicit(&labels->refs, 1, memory_order_relaxed);
}

void series_labels_unref(struct series_labels *labels)
{
    /* Acquire and release: the last holder frees what the others may just have read. */
    if (atomic_fetch_sub_explicit(&labels->refs, 1, memory_order_acq_rel) == 1)
        mem_free(labels);
}

static const char *const flag_texts[FLAGS] = {
    [FLAG_NONE] = "-",
    [FLAG_CONNECT] = "CONNECT",
    [FLAG_NETWORK_POLICY] = "NETWORK_POLICY",
    [FLAG_TLS_FAILURE] = "TLS_FAILURE",
    [FLAG_IDENTITY_ERROR] = "IDENTITY_ERROR",
    [FLAG_H2_HANDSHAKE_FAILURE] = "H2_HANDSHAKE_FAILURE",
    [FLAG_DENY] = "DENY",
    [FLAG_CERT_REVOKED] = "CERT_REVOKED",
};

const char *series_flag_text(unsigned flag)
{
    ensure(flag < FLAGS);
    return flag_texts[flag];
}

unsigned series_flag_of(int err)
{
    const char *text = err_info(err)->flag;

    for (unsigned i = 0; i < FLAGS; i++)
        if (strcmp(flag_texts[i], text) == 0)
            return i;
    return FLAG_NONE;
}
