#include "tests/unit/proxy_http/http1_corpus.h"

#include <stdio.h>

#include "proxy/base/mem.h"

static unsigned hex(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static void unescape(struct text *out, struct str line);

/* "*N{text}": the text N times; the rest of the line after it. */
static struct str repeat(struct text *out, struct str rest)
{
    struct str count, text;
    uint64_t n;

    ensure(str_split(str_sub(rest, 1, rest.len), '{', &count, &rest));
    ensure(str_to_u64(count, 100000, &n));
    ensure(str_split(rest, '}', &text, &rest));
    for (uint64_t i = 0; i < n; i++)
        unescape(out, text);
    return rest;
}

static void unescape(struct text *out, struct str line)
{
    while (line.len > 0) {
        if (line.ptr[0] != '\\') {
            text_addc(out, line.ptr[0]);
            line = str_sub(line, 1, line.len);
            continue;
        }
        ensure(line.len >= 2);
        switch (line.ptr[1]) {
        case 'x':
            ensure(line.len >= 4);
            text_addc(out, (char)(hex(line.ptr[2]) * 16 + hex(line.ptr[3])));
            line = str_sub(line, 4, line.len);
            continue;
        case '*': line = repeat(out, str_sub(line, 1, line.len)); continue;
        case 'r': text_addc(out, '\r'); break;
        case 'n': text_addc(out, '\n'); break;
        case 't': text_addc(out, '\t'); break;
        default:
            ensure(line.ptr[1] == '\\');
            text_addc(out, '\\');
            break;
        }
        line = str_sub(line, 2, line.len);
    }
}

static struct str word(struct str *line)
{
    struct str head = *line, tail = {0};

    (void)str_split(*line, ' ', &head, &tail);
    *line = tail;
    return head;
}

static void read_verdict(struct corpus_row *row, struct str line)
{
    struct str what = word(&line);
    uint64_t number;

    if (str_eq(what, STR("serve"))) {
        ensure(str_to_u64(word(&line), 100, &number));
        row->n_served = (unsigned)number;
        what = word(&line);
    }
    row->is_refused = str_eq(what, STR("refuse"));
    row->is_cut = str_eq(what, STR("cut"));
    ensure(row->is_refused || row->is_cut || what.len == 0);
    if (what.len > 0) {
        ensure(str_to_u64(word(&line), 599, &number));
        row->status = (unsigned)number;
        row->why = line;
    }
}

static void read_file(struct text *file, const char *path)
{
    FILE *stream = fopen(path, "rb");
    char room[4096];
    size_t len;

    ensure(stream);
    while ((len = fread(room, 1, sizeof(room), stream)) > 0)
        text_add(file, str_of(room, len));
    fclose(stream);
}

static bool next_line(struct str *rest, struct str *out_line)
{
    return str_split(*rest, '\n', out_line, rest);
}

void corpus_load(struct corpus *corpus, const char *path)
{
    enum { ROWS_MAX = 1000 };
    struct str rest, line;

    *corpus = (struct corpus){.rows = mem_new_array(struct corpus_row, ROWS_MAX)};
    read_file(&corpus->file, path);
    rest = text_str(&corpus->file);
    while (next_line(&rest, &line)) {
        struct corpus_row *row = &corpus->rows[corpus->n_rows];
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        ensure(corpus->n_rows++ < ROWS_MAX);
        row->name = line;
        ensure(next_line(&rest, &line));
        unescape(&row->bytes, line);
        ensure(next_line(&rest, &line));
        read_verdict(row, line);
    }
}

void corpus_free(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->n_rows; i++)
        text_fini(&corpus->rows[i].bytes);
    mem_free(corpus->rows);
    text_fini(&corpus->file);
}
