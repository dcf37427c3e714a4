/*
 * vips.h - the ClusterSetIPs: which address a clusterset service has in this cluster, for as long
 * as there is room.
 *
 * One address a service and range. The first choice is a hash of "<namespace>/<name>", then the
 * next free one, so that clusters with the same range mostly agree and a lost file mostly gives the
 * same addresses again. The network's own address, the first behind it and, with IPv4, the last are
 * never handed out; of a large range the first VIPS_RANGE_MAX addresses are used.
 *
 * An address is published only after it is safely on the disk (<stateDir>/vips.json). One whose
 * service is gone stays reserved for it until the range is full; then the one that has been gone
 * for longest is given to somebody else, so that a client with an old DNS answer reaches nobody
 * rather than a stranger. At most VIPS_GONE_MAX are kept that way. Addresses outside of the
 * configured ranges are dropped when the file is read, and their services get new ones.
 *
 * Owner: vips_free(). Thread: one; writes block on the disk. Units: wall clock in ns.
 */
#ifndef ISTHMUS_XDS_CONTROL_VIPS_H
#define ISTHMUS_XDS_CONTROL_VIPS_H

#include "config/bootstrap.h"
#include "proxy/base/text.h"

#define VIPS_RANGE_MAX ((uint32_t)1 << 20)
#define VIPS_GONE_MAX  ((size_t)20000)

struct vips;

struct vip_request {
    struct str name; /* "<namespace>/<name>", unique in the call */
    struct ip
        wanted[CLUSTERSET_RANGES_MAX]; /* asked for by a ServiceImport manifest; not persisted */
    size_t n_wanted;
    struct ip got[CLUSTERSET_RANGES_MAX]; /* out */
    size_t n_got;
    struct text problem; /* out: what is missing and why; the caller text_fini()s it */
};

/* Reads the file if there is one. 0, or -ERR_INVALID / -ERR_SYSTEM with the file and the reason in
 * *why: addresses that cannot be read must not be handed out twice. */
MUST_USE int vips_open(struct str state_dir, const struct cidr *ranges, size_t n_ranges,
                       struct vips **out_vips, struct text *why);
void vips_free(struct vips *vips);

/* The services that exist now, sorted by name; all others are gone. 0, or the error of the disk:
 * then new services have no address yet and the caller asks again later. */
MUST_USE int vips_assign(struct vips *vips, struct vip_request *requests, size_t n_requests,
                         int64_t now_ns);

#endif
