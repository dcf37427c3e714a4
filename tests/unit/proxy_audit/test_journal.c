/* A log goes on over files, restarts, crashes and full disks, and its chain with it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/mem.h"
#include "tests/unit/proxy_audit/log_kit.h"

TestSuite(audit_journal, .timeout = 20);

static struct temp_dir dir;
static char path[256];
static struct journal journal;
static struct journal_found found;
static struct text why, sentence;

static void setup(void)
{
    dir = temp_dir_new();
    (void)kit_path(&dir, "audit.log", path);
}

static void teardown(void)
{
    temp_dir_remove(&dir);
    text_fini(&why);
    text_fini(&sentence);
}

static int try_open(uint64_t max_bytes, unsigned keep,
                    ssize_t (*writer)(int fd, const void *bytes, size_t len))
{
    const struct journal_options options = {
        .path = str_from(path), .max_bytes = max_bytes, .keep = keep, .write = writer};
    text_clear(&why);
    return journal_open(&options, &journal, &found, &why);
}

static void open_journal(void)
{
    cr_assert(eq(int, try_open(UINT64_MAX, 9, NULL), 0), "%s", why.ptr);
}

static struct str special(enum audit_event event)
{
    static struct audit_entry entry;
    entry_begin(&entry, event, 0);
    if (event == AUDIT_START) {
        entry_cstr(&entry, AUDIT_AFTER, found.after);
        entry_u64(&entry, AUDIT_TORN_BYTES, found.torn_bytes);
        entry_cstr(&entry, AUDIT_TORN_SHA256, found.torn_sha256);
    }
    return entry_end(&entry);
}

static void write_lines(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        journal_append(&journal, kit_entry(i));
        cr_assert(eq(int, journal_flush(&journal), 0));
    }
}

static void write_special(enum audit_event event)
{
    journal_append(&journal, special(event));
    cr_assert(eq(int, journal_flush(&journal), 0));
}

static void expect_whole(uint64_t n_lines)
{
    struct verify_totals totals;
    text_clear(&sentence);
    cr_assert(eq(int, (int)kit_verify_file(path, &sentence, &totals), VERIFY_WHOLE), "%s",
              sentence.ptr);
    cr_assert(eq(u64, totals.n_lines, n_lines));
}

Test(audit_journal, a_file_is_private_and_a_link_is_refused, .init = setup, .fini = teardown)
{
    struct stat about;
    char other[256];
    open_journal();
    cr_assert(eq(int, stat(path, &about), 0));
    cr_assert(eq(int, (int)(about.st_mode & 0777), 0600));
    (void)journal_close(&journal);

    cr_assert(eq(int, rename(path, kit_path(&dir, "other", other)), 0));
    cr_assert(eq(int, symlink(other, path), 0));
    cr_assert(lt(int, try_open(1000, 1, NULL), 0));
    cr_assert(str_contains(text_str(&why), STR("cannot be opened")), "%s", why.ptr);
    cr_assert(eq(int, unlink(path), 0));
    cr_assert(eq(int, mkfifo(path, 0600), 0));
    cr_assert(lt(int, try_open(1000, 1, NULL), 0));
}

Test(audit_journal, goes_on_after_a_stop_and_says_so, .init = setup, .fini = teardown)
{
    open_journal();
    cr_assert(eq(str, (char *)found.after, "nothing"));
    write_special(AUDIT_START);
    write_lines(3);
    write_special(AUDIT_STOP);
    (void)journal_close(&journal);
    open_journal();
    cr_assert(eq(str, (char *)found.after, "stop"));
    write_special(AUDIT_START);
    write_lines(3);
    (void)journal_close(&journal);
    expect_whole(9);
}

Test(audit_journal, goes_on_after_a_crash_at_any_byte, .init = setup, .fini = teardown)
{
    struct text whole = {0};
    open_journal();
    write_special(AUDIT_START);
    write_lines(2);
    (void)journal_close(&journal);
    kit_read(path, &whole);
    const size_t last = kit_line(text_str(&whole), 2).len;
    for (size_t cut = 0; cut <= last; cut += 7) {
        cr_assert(eq(int, unlink(path), 0));
        kit_append(path, str_sub(text_str(&whole), 0, whole.len - cut));
        open_journal();
        cr_assert(eq(str, (char *)found.after, "crash"), "%zu", cut);
        write_special(AUDIT_START);
        write_lines(2);
        (void)journal_close(&journal);
        /* Cut by nothing, or by the line break alone, the last line is whole. */
        expect_whole(cut <= 1 ? 6 : 5);
    }
    text_fini(&whole);
}

Test(audit_journal, goes_on_behind_what_a_power_failure_left, .init = setup, .fini = teardown)
{
    static const char zeros[5000];

    static const struct {
        const char *name;
        struct str bytes;
    } rows[] = {
        {"zeros", {zeros, sizeof zeros}},
        {"zeros with a line break", {"\0\0\0\0\n", 5}},
        {"lines of something else", {"one\ntwo\nthree", 13}},
        {"an empty line", {"\n", 1}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        (void)unlink(path);
        open_journal();
        write_lines(2);
        (void)journal_close(&journal);
        kit_append(path, rows[i].bytes);
        open_journal();
        cr_assert(eq(u64, found.torn_bytes, rows[i].bytes.len), "%s", rows[i].name);
        write_special(AUDIT_START);
        write_lines(2);
        (void)journal_close(&journal);
        expect_whole(5);
    }
}

Test(audit_journal, a_torn_piece_that_was_changed_later_is_found, .init = setup, .fini = teardown)
{
    struct text text = {0};
    open_journal();
    write_lines(2);
    (void)journal_close(&journal);
    kit_append(path, STR("{\"seq\":3,\"pre"));
    open_journal();
    write_special(AUDIT_START);
    (void)journal_close(&journal);
    expect_whole(3);
    kit_read(path, &text);
    char *torn = memmem(text.ptr, text.len, "\"pre\n", 5);
    torn[1] = 'q';
    cr_assert(eq(int, (int)kit_verify(text_str(&text), NULL, NULL), VERIFY_NOT_A_LINE));
    text_fini(&text);
}

Test(audit_journal, a_file_that_is_no_log_is_left_and_followed_and_said_to_be_unreadable,
     .init = setup, .fini = teardown)
{
    struct text junk = {0};
    for (size_t i = 0; i < JOURNAL_TAIL_MAX / 4; i++)
        text_add(&junk, STR("junk\n"));
    kit_append(path, text_str(&junk));
    open_journal();
    cr_assert(eq(str, (char *)found.after, "unreadable"));
    write_special(AUDIT_START);
    (void)journal_close(&journal);
    cr_assert(ne(int, (int)kit_verify_file(path, NULL, NULL), VERIFY_WHOLE));
    text_fini(&junk);
}

static unsigned n_names;
static char names[64][64];

static void note_name(void *owner, struct str name)
{
    (void)owner;
    (void)snprintf(names[n_names++], 64, "%.*s", STR_ARG(name));
}

static int by_name(const void *a, const void *b)
{
    /* audit.log is the newest and sorts first: last of all, please. */
    const size_t la = strlen(a), lb = strlen(b);
    return la != lb ? (la < lb) - (la > lb) : strcmp(a, b);
}

/* All files as one log, as a shell would name them: audit.log.* audit.log */
static enum verify_fault verify_all(struct verify_totals *totals)
{
    struct verify *verify = mem_new(struct verify);
    n_names = 0;
    cr_assert(eq(int, file_each_name(temp_dir_path(&dir), 64, note_name, NULL), 0));
    qsort(names, n_names, sizeof names[0], by_name);
    for (unsigned i = 0; i < n_names; i++) {
        char name[256];
        struct text text = {0};
        kit_read(kit_path(&dir, names[i], name), &text);
        verify_file(verify, str_from(name));
        verify_feed(verify, text_str(&text));
        text_fini(&text);
    }
    (void)!verify_end(verify);
    const enum verify_fault fault = verify->fault;
    text_clear(&sentence);
    text_add(&sentence, text_str(&verify->sentence));
    *totals = verify->totals;
    verify_fini(verify);
    mem_free(verify);
    return fault;
}

static void write_and_rotate(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        write_lines(1);
        if (journal_wants_rotation(&journal))
            cr_assert(eq(int, journal_rotate(&journal, special(AUDIT_ROTATE)), 0));
    }
}

Test(audit_journal, rotates_by_size_and_the_chain_crosses_files_and_restarts, .init = setup,
     .fini = teardown)
{
    struct verify_totals totals;
    for (int process = 0; process < 3; process++) {
        cr_assert(eq(int, try_open(1500, 40, NULL), 0));
        write_special(AUDIT_START);
        write_and_rotate(15);
        (void)journal_close(&journal);
    }
    cr_assert(eq(int, (int)verify_all(&totals), VERIFY_WHOLE), "%s", sentence.ptr);
    cr_assert(gt(u64, totals.n_files, 5));
    cr_assert(eq(u64, totals.by_event[AUDIT_END], 45));
    cr_assert(eq(u64, totals.by_event[AUDIT_START], 3));
    cr_assert(eq(u64, totals.first_seq, 1));
}

Test(audit_journal, a_file_that_is_removed_between_others_is_missed, .init = setup,
     .fini = teardown)
{
    struct verify_totals totals;
    char name[256];
    cr_assert(eq(int, try_open(1500, 40, NULL), 0));
    write_and_rotate(40);
    (void)journal_close(&journal);
    cr_assert(eq(int, (int)verify_all(&totals), VERIFY_WHOLE));
    cr_assert(eq(int, unlink(kit_path(&dir, names[2], name)), 0));
    cr_assert(eq(int, (int)verify_all(&totals), VERIFY_REMOVED));
}

Test(audit_journal, keeps_the_newest_files, .init = setup, .fini = teardown)
{
    struct verify_totals totals;
    cr_assert(eq(int, try_open(1500, 3, NULL), 0));
    write_and_rotate(60);
    (void)journal_close(&journal);
    cr_assert(eq(int, (int)verify_all(&totals), VERIFY_WHOLE), "%s", sentence.ptr);
    cr_assert(eq(u64, totals.n_files, 4));
    cr_assert(gt(u64, totals.first_seq, 1));
}

Test(audit_journal, follows_who_renames_its_file, .init = setup, .fini = teardown)
{
    struct verify_totals totals;
    char moved[256];
    open_journal();
    write_lines(3);
    cr_assert(not(journal_was_moved(&journal)));
    cr_assert(eq(int, rename(path, kit_path(&dir, "audit.log.moved", moved)), 0));
    cr_assert(journal_was_moved(&journal));
    write_lines(1); /* still into the one that was moved */
    cr_assert(eq(int, journal_reopen(&journal, special(AUDIT_ROTATE)), 0));
    cr_assert(not(journal_was_moved(&journal)));
    write_lines(3);
    (void)journal_close(&journal);
    cr_assert(eq(int, (int)verify_all(&totals), VERIFY_WHOLE), "%s", sentence.ptr);
    cr_assert(eq(u64, totals.n_lines, 8));
}

static size_t disk_bytes;

static ssize_t write_to_full_disk(int fd, const void *bytes, size_t len)
{
    if (disk_bytes == 0) {
        errno = ENOSPC;
        return -1;
    }
    const size_t n = len < disk_bytes ? len : disk_bytes;
    disk_bytes -= n;
    return write(fd, bytes, n);
}

Test(audit_journal, a_full_disk_holds_lines_back_and_loses_none, .init = setup, .fini = teardown)
{
    disk_bytes = 1000;
    cr_assert(eq(int, try_open(UINT64_MAX, 1, write_to_full_disk), 0));
    unsigned n = 0;
    for (; journal_has_room(&journal); n++) {
        journal_append(&journal, kit_entry(n));
        cr_assert(eq(int, journal_flush(&journal), disk_bytes > 0 ? 0 : -ERR_SYSTEM));
    }
    cr_assert(gt(uint, n, 100));
    disk_bytes = SIZE_MAX;
    cr_assert(eq(int, journal_flush(&journal), 0));
    cr_assert(journal_has_room(&journal));
    cr_assert(eq(sz, journal_close(&journal), 0));
    expect_whole(n);
}

Test(audit_journal, room_of_what_waited_goes_back_only_when_nothing_waits, .init = setup,
     .fini = teardown)
{
    open_journal();
    journal_append(&journal, kit_entry(1));
    journal_rest(&journal);
    cr_expect_gt(journal.pending.len, 0, "it is not written yet");
    cr_assert(eq(int, journal_flush(&journal), 0));
    cr_expect_gt(journal.pending.cap, 0, "kept for the next");
    journal_rest(&journal);
    cr_expect(eq(sz, journal.pending.cap, 0));
    journal_append(&journal, kit_entry(2));
    cr_assert(eq(int, journal_flush(&journal), 0));
    journal_close(&journal);
    struct verify_totals totals;
    cr_expect(eq(int, (int)verify_all(&totals), VERIFY_WHOLE), "%s", sentence.ptr);
    cr_expect(eq(u64, totals.n_lines, 2));
}
