#include "tests/unit/proxy_audit/log_kit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/file.h"
#include "proxy/base/mem.h"

struct str kit_entry(unsigned number)
{
    static struct audit_entry entry;
    char name[32];
    (void)snprintf(name, sizeof name, "0123456789abcdef-0-%u", number);
    entry_begin(&entry, AUDIT_END, INT64_C(1700000000000000000) + number);
    entry_cstr(&entry, AUDIT_CONNECTION, name);
    entry_cstr(&entry, AUDIT_DECISION, "allow");
    entry_u64(&entry, AUDIT_BYTES_SENT, number);
    return entry_end(&entry);
}

void kit_log(unsigned n, struct text *out)
{
    struct audit_chain chain;
    chain_init(&chain);
    for (unsigned i = 1; i <= n; i++)
        chain_seal(&chain, kit_entry(i), STR(",\"node\":\"n1\""), out);
}

static enum verify_fault finish(struct verify *verify, struct text *sentence,
                                struct verify_totals *totals)
{
    const int err = verify_end(verify);
    const enum verify_fault fault = verify->fault;
    ensure((err == 0) == (fault == VERIFY_WHOLE));
    if (sentence)
        text_add(sentence, text_str(&verify->sentence));
    if (totals)
        *totals = verify->totals;
    verify_fini(verify);
    mem_free(verify);
    return fault;
}

enum verify_fault kit_verify(struct str bytes, struct text *sentence, struct verify_totals *totals)
{
    struct verify *verify = mem_new(struct verify);
    verify_file(verify, STR("log"));
    for (size_t at = 0; at < bytes.len; at += 97)
        verify_feed(verify, str_sub(bytes, at, 97));
    return finish(verify, sentence, totals);
}

enum verify_fault kit_verify_file(const char *path, struct text *sentence,
                                  struct verify_totals *totals)
{
    struct text text = {0};
    kit_read(path, &text);
    const enum verify_fault fault = kit_verify(text_str(&text), sentence, totals);
    text_fini(&text);
    return fault;
}

struct str kit_line(struct str bytes, unsigned idx)
{
    size_t start = 0;
    for (;;) {
        const char *end = memchr(bytes.ptr + start, '\n', bytes.len - start);
        ensure(end);
        const size_t stop = (size_t)(end + 1 - bytes.ptr);
        if (idx-- == 0)
            return str_sub(bytes, start, stop - start);
        start = stop;
    }
}

const char *kit_path(const struct temp_dir *dir, const char *name, char *buf)
{
    (void)snprintf(buf, 256, "%s/%s", dir->path, name);
    return buf;
}

void kit_read(const char *path, struct text *out)
{
    ensure(file_read_all(str_from(path), (size_t)1 << 26, out) == 0);
}

void kit_append(const char *path, struct str bytes)
{
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    ensure(fd >= 0 && write(fd, bytes.ptr, bytes.len) == (ssize_t)bytes.len);
    (void)close(fd);
}
