#include "proxy/dns/wire.h"

#include <libknot/dname.h>
#include <string.h>

#include "proxy/dns/answer.h"

#define OPCODE_QUERY        0
#define QDCOUNT_AT          4
#define QUESTION_TAIL_BYTES ((size_t)4) /* type and class */

static uint8_t byte_at(struct str packet, size_t idx)
{
    return (uint8_t)packet.ptr[idx];
}

static uint16_t u16_at(struct str packet, size_t idx)
{
    return (uint16_t)(byte_at(packet, idx) << 8 | byte_at(packet, idx + 1));
}

uint16_t dns_id(struct str packet)
{
    return u16_at(packet, 0);
}

bool dns_is_response(struct str packet)
{
    return byte_at(packet, 2) & 0x80;
}

unsigned dns_opcode(struct str packet)
{
    return (byte_at(packet, 2) >> 3) & 0x0f;
}

unsigned dns_rcode(struct str packet)
{
    return byte_at(packet, 3) & 0x0f;
}

void dns_set_id(uint8_t *packet, uint16_t id)
{
    packet[0] = (uint8_t)(id >> 8);
    packet[1] = (uint8_t)id;
}

bool dns_question_read(struct str packet, struct dns_question *out_question)
{
    if (packet.len <= DNS_HEADER_BYTES || u16_at(packet, QDCOUNT_AT) != 1)
        return false;
    const uint8_t *name = (const uint8_t *)packet.ptr + DNS_HEADER_BYTES;
    const uint8_t *end = (const uint8_t *)packet.ptr + packet.len;
    /* Without the packet's start, a compression pointer is an error: a question has nothing to
     * point back to. */
    int name_len = knot_dname_wire_check(name, end, NULL);
    if (name_len <= 0 || (size_t)(end - name) < (size_t)name_len + QUESTION_TAIL_BYTES)
        return false;
    size_t tail = DNS_HEADER_BYTES + (size_t)name_len;
    out_question->name_len = (size_t)name_len;
    memcpy(out_question->name, name, (size_t)name_len);
    knot_dname_to_lower(out_question->name);
    out_question->type = u16_at(packet, tail);
    out_question->class_ = u16_at(packet, tail + 2);
    out_question->end = tail + QUESTION_TAIL_BYTES;
    return true;
}

bool dns_name_to_text(const uint8_t *name, char *text, struct str *out_text)
{
    size_t len = 0;
    for (const uint8_t *label = name; *label != 0; label += *label + 1) {
        if (memchr(label + 1, '.', *label) || memchr(label + 1, '\0', *label))
            return false;
        if (len > 0)
            text[len++] = '.';
        memcpy(text + len, label + 1, *label);
        len += *label;
    }
    *out_text = (struct str){text, len};
    return true;
}

size_t dns_name_from_text(struct str text, uint8_t *name)
{
    if (text.len == 0 || text.len > DNS_NAME_TEXT_MAX)
        return 0;
    size_t label = 0; /* where the length of the current label stands */
    for (size_t i = 0; i <= text.len; i++) {
        if (i < text.len && text.ptr[i] != '.') {
            name[i + 1] = (uint8_t)text.ptr[i];
            continue;
        }
        size_t label_len = i - label;
        if (label_len == 0 || label_len > KNOT_DNAME_MAXLABELLEN)
            return 0;
        name[label] = (uint8_t)label_len;
        label = i + 1;
    }
    name[text.len + 1] = 0;
    return text.len + 2;
}

/* Servers that refuse a message before they read it may send back its header alone; an UPDATE's
 * answer may always. */
static bool may_lack_question(struct str packet, struct str query)
{
    enum { FORMERR = 1, SERVFAIL = 2, NOTIMP = 4, REFUSED = 5 };

    unsigned rcode = dns_rcode(packet);
    if (u16_at(packet, QDCOUNT_AT) != 0)
        return false;
    return dns_opcode(query) != OPCODE_QUERY || rcode == FORMERR || rcode == SERVFAIL ||
           rcode == NOTIMP || rcode == REFUSED;
}

bool dns_is_answer_to(struct str packet, struct str query)
{
    struct dns_question asked, answered;
    if (packet.len < DNS_HEADER_BYTES || !dns_question_read(query, &asked))
        return false;
    if (!dns_is_response(packet) || dns_id(packet) != dns_id(query) ||
        dns_opcode(packet) != dns_opcode(query))
        return false;
    if (may_lack_question(packet, query))
        return true;
    return dns_question_read(packet, &answered) && answered.type == asked.type &&
           answered.class_ == asked.class_ && answered.name_len == asked.name_len &&
           memcmp(answered.name, asked.name, asked.name_len) == 0;
}
