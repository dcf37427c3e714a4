#include "xds/held_file.h"

#include "proxy/base/err.h"
#include "proxy/base/pace.h"

#define MAGIC       "ISTHXDS1"
#define END         "END"
#define MAGIC_BYTES (sizeof(MAGIC) - 1)
#define END_BYTES   (sizeof(END) - 1)
#define TAIL_BYTES  (END_BYTES + 16) /* END, number of records, hash */

static void add_number(struct text *out, uint64_t value, unsigned n_bytes)
{
    char bytes[8];

    for (unsigned i = 0; i < n_bytes; i++)
        bytes[i] = (char)(value >> 8 * i);
    text_add(out, (struct str){bytes, n_bytes});
}

static uint64_t number_at(struct str bytes, size_t at, unsigned n_bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < n_bytes; i++)
        value |= (uint64_t)(uint8_t)bytes.ptr[at + i] << 8 * i;
    return value;
}

void held_file_write(const struct held *held, struct text *out)
{
    size_t start = out->len;

    out->limit = HELD_FILE_MAX_BYTES;
    text_add(out, STR(MAGIC));
    for (size_t i = 0; i < held->len; i++) {
        const struct delta_resource *resource = &held->items[i]->resource;

        (void)pace();
        add_number(out, held->items[i]->type, 1);
        add_number(out, resource->name.len, 4);
        add_number(out, resource->version.len, 4);
        add_number(out, resource->bytes.len, 4);
        text_add(out, resource->name);
        text_add(out, resource->version);
        text_add(out, resource->bytes);
    }
    text_add(out, STR(END));
    add_number(out, held->len, 8);
    add_number(out, str_hash(str_sub(text_str(out), start, out->len - start), 0), 8);
}

static int refuse(struct text *why, const char *sentence)
{
    text_add(why, str_from(sentence));
    return -ERR_INVALID;
}

/* The records alone, when the frame around them holds. */
static int check_frame(struct str bytes, struct str *out_records, uint64_t *out_n, struct text *why)
{
    size_t tail;

    if (!str_starts_with(bytes, STR(MAGIC)))
        return refuse(why, "it does not begin as a state file of this version does");
    if (bytes.len < MAGIC_BYTES + TAIL_BYTES)
        return refuse(why, "it is cut short");
    tail = bytes.len - TAIL_BYTES;
    if (number_at(bytes, bytes.len - 8, 8) != str_hash(str_sub(bytes, 0, bytes.len - 8), 0))
        return refuse(why, "its checksum is wrong: it is damaged or cut short");
    if (!str_eq(str_sub(bytes, tail, END_BYTES), STR(END)))
        return refuse(why, "its end is not where it should be");
    *out_records = str_sub(bytes, MAGIC_BYTES, tail - MAGIC_BYTES);
    *out_n = number_at(bytes, tail + END_BYTES, 8);
    return 0;
}

/* Takes the first record off the front. */
static bool take_record(struct str *records, struct held_source *out_source)
{
    const size_t head_bytes = 13;
    struct str all = *records;
    size_t name_len, version_len, bytes_len, need;
    uint8_t type;

    if (all.len < head_bytes)
        return false;
    type = (uint8_t)all.ptr[0];
    name_len = number_at(all, 1, 4);
    version_len = number_at(all, 5, 4);
    bytes_len = number_at(all, 9, 4);
    need = head_bytes + name_len + version_len + bytes_len;
    if (type >= XDS_TYPES || need > all.len)
        return false;
    *out_source = (struct held_source){
        .type = (enum xds_type)type,
        .name = str_sub(all, head_bytes, name_len),
        .version = str_sub(all, head_bytes + name_len, version_len),
        .bytes = str_sub(all, head_bytes + name_len + version_len, bytes_len),
    };
    *records = str_sub(all, need, all.len - need);
    return true;
}

static int read_record(struct str *records, const bool wanted[XDS_TYPES], struct held *held,
                       struct text *why)
{
    struct held_source source;
    struct held_item *item;

    if (!take_record(records, &source))
        return refuse(why, "a record is malformed");
    if (!wanted[source.type])
        return 0;
    if (held_find(held, source.type, source.name) || held->len >= DELTA_RESOURCES_MAX)
        return refuse(why, "a resource stands there twice, or there are too many");
    text_addf(why, "resource \"%.*s\": ", STR_ARG(str_sub(source.name, 0, 200)));
    item = held_item_new(&source, why);
    if (!item)
        return -ERR_INVALID;
    text_clear(why);
    held_put(held, item);
    return 0;
}

int held_file_read(struct str bytes, const bool wanted[XDS_TYPES], struct held *out_held,
                   struct text *why)
{
    struct held held = {0};
    struct text reason = {0};
    struct str records;
    uint64_t n_records = 0, n_read = 0;
    int err = check_frame(bytes, &records, &n_records, &reason);

    while (!err && records.len > 0) {
        err = read_record(&records, wanted, &held, &reason);
        n_read++;
    }
    if (!err && n_read != n_records)
        err = refuse(&reason, "it does not hold as many records as it says");
    if (err) {
        text_add(why, text_str(&reason));
        held_fini(&held);
    } else {
        *out_held = held;
    }
    text_fini(&reason);
    return err;
}
