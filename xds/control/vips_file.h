/*
 * vips_file.h - the ClusterSetIPs as JSON: {"version": 1, "addresses": [{"service": "ns/name",
 * "address": "10.201.0.7", "goneSince": 0}, ...]}, sorted by service, goneSince in ns since 1970
 * (0: the service exists).
 *
 * Thread: one. Errors: -ERR_INVALID with a sentence appended to *why.
 */
#ifndef ISTHMUS_XDS_CONTROL_VIPS_FILE_H
#define ISTHMUS_XDS_CONTROL_VIPS_FILE_H

#include "proxy/base/addr.h"
#include "proxy/base/map.h"
#include "proxy/base/text.h"

#define VIPS_FILE_MAX_BYTES ((size_t)512 << 20)

struct vip { /* one address of one service; freed with mem_free() */
    size_t range_idx;
    struct ip ip;
    int64_t gone_since_ns; /* 0: the service exists */
    uint64_t turn;         /* the last one in which it did */
    bool is_saved;         /* the address stands in the file */
    struct str name;
    struct str key; /* the digit of the range, then the name; both behind the struct */
};

struct vip *vip_new(size_t range_idx, struct str name, struct ip ip);

void vips_file_write(const struct map *by_name, struct text *out);
/* Calls each() for every entry; false from it says that the entry contradicts one before. */
MUST_USE int vips_file_read(struct str content,
                            bool (*each)(void *owner, struct str name, const struct ip *ip,
                                         int64_t gone_since_ns),
                            void *owner, struct text *why);

#endif
