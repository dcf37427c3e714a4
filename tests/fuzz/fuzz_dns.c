/*
 * Any bytes as a DNS message to a node that knows the mesh of tests/unit/proxy_dns/zone.h: what is
 * answered can be read again, fits and has the id that was sent. The first byte says whether it
 * came over TCP and where a rotation stands.
 */
#include <string.h>

#include "tests/unit/proxy_dns/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct str query, const uint8_t *packet, size_t len, size_t room)
{
    ensure(len >= 12 && len <= room);
    ensure(memcmp(packet, query.ptr, 2) == 0);
    ensure(packet[2] & 0x80);
    ensure(strcmp(message_text(str_of(packet, len)), "unreadable") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct snapshot *snapshot;
    static uint8_t packet[DNS_TCP_MAX];
    size_t len;
    if (!snapshot)
        snapshot = zone_snapshot(7, true);
    if (size == 0 || size > DNS_TCP_MAX)
        return 0;
    struct str query = str_of(data + 1, size - 1);
    bool tcp = data[0] & 1;
    switch (dns_answer(snapshot, query, tcp, data[0] >> 1, packet, &len)) {
    case DNS_ANSWERED: check(query, packet, len, tcp ? DNS_TCP_MAX : DNS_UDP_MAX); break;
    case DNS_RELAY:
        ensure(dns_servfail(query, packet, &len));
        check(query, packet, len, DNS_TCP_MAX);
        ensure(dns_is_answer_to(str_of(packet, len), query));
        break;
    case DNS_DROP: break;
    }
    (void)dns_is_answer_to(query, str_of(data, size));
    return 0;
}
