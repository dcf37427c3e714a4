#include "proxy/ctl/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proxy/audit/verify.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/ctl/table.h"

#define EXIT_USAGE  2
#define PIECE_BYTES ((size_t)65536)

static const char usage[] =
    "Usage: isthmus ctl audit verify [--anchor SEQ:HASH]... [FILE...]\n"
    "\n"
    "Proves an audit log whole, or names the first line that is not, and what is wrong with it.\n"
    "Several files are one log, in the order given, oldest first; - or no file is standard input.\n"
    "\n"
    "  --anchor SEQ:HASH       this line must be in the log as it is: a number and a hash from a\n"
    "                          message \"audit checkpoint\" of the proxy's event log. Only "
    "anchors\n"
    "                          prove that the log was not written anew, and its end not cut off\n"
    "\n"
    "Examples:\n"
    "  isthmus ctl audit verify /var/lib/isthmus/audit/audit.log.* "
    "/var/lib/isthmus/audit/audit.log\n"
    "  zcat audit.log.00000000000000000001.gz | isthmus ctl audit verify\n"
    "\n"
    "Exit status: 0 when it is whole; 1 when it is not or cannot be read; 2 for wrong usage.\n";

struct wish {
    struct verify *verify;
    char **files;
    int n_files;
    bool is_help;
};

/* ---- the command line ---- */

static bool refuse(const char *what, const char *word)
{
    struct text line = {0};
    text_addf(&line, "isthmus ctl audit: %s \"", what);
    plain_add(&line, str_from(word));
    text_addf(&line, "\"; see isthmus ctl audit --help\n");
    (void)fwrite(line.ptr, 1, line.len, stderr);
    text_fini(&line);
    return false;
}

static bool take_anchor(struct wish *wish, const char *word)
{
    return verify_add_anchor(wish->verify, str_from(word)) ||
           refuse("an anchor is SEQ:HASH, a number and 64 hex digits, at most 64 of them, not",
                  word);
}

static bool read_options(int argc, char **argv, struct wish *wish)
{
    static const char anchor[] = "--anchor=";
    for (int i = 0; i < argc; i++) {
        bool is_fine = true;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            wish->is_help = true;
        else if (strncmp(argv[i], anchor, sizeof anchor - 1) == 0)
            is_fine = take_anchor(wish, argv[i] + sizeof anchor - 1);
        else if (strcmp(argv[i], "--anchor") == 0)
            is_fine = i + 1 < argc ? take_anchor(wish, argv[++i])
                                   : refuse("SEQ:HASH is missing behind", argv[i]);
        else if (argv[i][0] == '-' && argv[i][1] != '\0')
            is_fine = refuse("there is no option", argv[i]);
        else
            wish->files[wish->n_files++] = argv[i];
        if (!is_fine)
            return false;
    }
    return true;
}

/* ---- reading ---- */

static int read_all(struct verify *verify, int fd)
{
    static char piece[PIECE_BYTES];
    for (;;) {
        const ssize_t n = read(fd, piece, sizeof piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -ERR_SYSTEM;
        if (n == 0)
            return 0;
        verify_feed(verify, str_of(piece, (size_t)n));
    }
}

static int read_file(struct verify *verify, const char *name)
{
    const bool is_stdin = strcmp(name, "-") == 0;
    struct text why = {0};
    verify_file(verify, is_stdin ? STR("(standard input)") : str_from(name));
    const int fd = is_stdin ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC);
    int err = fd < 0 ? -ERR_SYSTEM : read_all(verify, fd);
    if (err < 0) {
        text_addf(&why, "%s cannot be read: %s\n", name, strerrordesc_np(errno));
        (void)fputs("isthmus ctl audit: ", stderr);
        (void)fwrite(why.ptr, 1, why.len, stderr);
        text_fini(&why);
    }
    if (fd >= 0 && !is_stdin)
        (void)close(fd);
    return err;
}

/* ---- the answer ---- */

static void add_count(struct text *out, const char *name, uint64_t n)
{
    if (n > 0)
        text_addf(out, "%-12s %llu\n", name, (unsigned long long)n);
}

static void add_notes(struct text *out, const struct verify_totals *totals)
{
    if (totals->first_seq > 1)
        text_addf(out, "note: the log begins with record %llu; what was before it was not given\n",
                  (unsigned long long)totals->first_seq);
    if (totals->n_requests > 0)
        text_addf(out, "note: the lines \"requests\" tell of %llu requests together\n",
                  (unsigned long long)totals->n_requests);
    if (totals->n_crashes > 0)
        text_addf(out,
                  "note: %llu starts after a crash, %llu of them with a torn line: what was in "
                  "memory then is not in the log\n",
                  (unsigned long long)totals->n_crashes, (unsigned long long)totals->n_torn);
    if (totals->ends_with_rotate)
        text_addf(out, "note: the log goes on in a file that was not given\n");
    else if (!totals->ends_with_stop)
        text_addf(out, "note: the log does not end with a stop: it is still written, or its writer "
                       "was killed\n");
}

static void add_totals(struct text *out, const struct verify *verify)
{
    const struct verify_totals *totals = &verify->totals;
    add_count(out, "records", totals->n_lines);
    for (enum audit_event i = 0; i < AUDIT_EVENTS; i++)
        add_count(out, audit_event_name(i), totals->by_event[i]);
    add_count(out, "other", totals->n_other_events);
    text_addf(out, "%-12s %llu\n", "lost", (unsigned long long)totals->n_lost);
    text_addf(out, "%-12s ", "first");
    plain_add(out, str_from(totals->first_time));
    text_addf(out, "\n%-12s ", "last");
    plain_add(out, str_from(totals->last_time));
    text_addf(out, "\n%-12s %llu:%s\n", "anchor", (unsigned long long)verify->chain.seq,
              verify->chain.hash);
    add_notes(out, totals);
}

static int answer(struct verify *verify)
{
    struct text out = {0};
    const int err = verify_end(verify);
    const bool is_empty = err == 0 && verify->totals.n_lines == 0;
    if (err < 0) {
        text_addf(&out, "broken: ");
        plain_add(&out, text_str(&verify->sentence));
        text_addc(&out, '\n');
    } else {
        text_addf(&out, is_empty ? "empty: there is no line\n" : "whole\n");
    }
    if (verify->totals.n_lines > 0)
        add_totals(&out, verify);
    const bool is_written = fwrite(out.ptr, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    text_fini(&out);
    return err < 0 || is_empty || !is_written ? 1 : 0;
}

static int verify_files(struct wish *wish)
{
    static char standard_input[] = "-";
    if (wish->n_files == 0)
        wish->files[wish->n_files++] = standard_input;
    for (int i = 0; i < wish->n_files; i++) {
        if (read_file(wish->verify, wish->files[i]) < 0)
            return 1;
    }
    return answer(wish->verify);
}

int ctl_audit(int argc, char **argv)
{
    const bool is_verify = argc > 0 && strcmp(argv[0], "verify") == 0;
    struct verify *verify = mem_new(struct verify);
    struct wish wish = {.verify = verify, .files = mem_new_array(char *, (size_t)argc + 1)};
    int status = EXIT_USAGE;
    const int skip = is_verify ? 1 : 0;
    if (!read_options(argc - skip, argv + skip, &wish))
        status = EXIT_USAGE;
    else if (wish.is_help)
        status = fputs(usage, stdout) < 0 ? 1 : 0;
    else if (!is_verify)
        (void)fputs(usage, stderr);
    else
        status = verify_files(&wish);
    verify_fini(verify);
    mem_free(verify);
    mem_free(wish.files);
    return status;
}
