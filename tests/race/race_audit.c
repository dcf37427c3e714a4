/*
 * Workers write into the rings of an audit log while its writer gathers, rotates and reopens, and a
 * control thread asks it to. With what was lost and counted every record is in the log once, in the
 * order of its worker, and the log is whole.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/audit/audit.h"
#include "proxy/audit/verify.h"
#include "proxy/base/mem.h"

#define WORKERS      4
#define RECORDS      20000
#define FILES        1000
#define NAME_MAX_LEN 512

static struct audit *audit;
static _Atomic int workers_left = WORKERS;

static void request(struct audit_pen *pen, unsigned i)
{
    const struct audit_request what = {.bytes_sent = i, .attempts = 1};
    char name[AUDIT_NAME_MAX];
    struct audit_entry *entry = audit_begin_request(pen, true);
    entry_str(entry, AUDIT_CONNECTION, audit_name(pen, 1000000 + i % 10, name));
    audit_commit_request(pen, i % 10, &what, i);
    if (i % 300 == 0)
        audit_tell_connection(pen, i % 7);
    if (i % 2500 == 0)
        audit_tell_all(pen); /* what comes last waits until the log is closed */
}

static void *work(void *arg)
{
    const unsigned worker = (unsigned)(size_t)arg;
    struct audit_pen *pen = audit_pen(audit, worker);
    char name[64];
    for (unsigned i = 0; i < RECORDS; i++) {
        struct audit_entry *entry = audit_begin(pen, AUDIT_END);
        (void)snprintf(name, sizeof name, "%u-%u", worker, i);
        entry_cstr(entry, AUDIT_CONNECTION, name);
        entry_cstr(entry, AUDIT_SENTENCE, "what was said while others spoke");
        audit_commit(pen);
        request(pen, i);
        if (i % 500 == 0)
            (void)usleep(20000);
    }
    atomic_fetch_sub(&workers_left, 1);
    return NULL;
}

struct reading {
    struct verify verify;
    long last[WORKERS];
    unsigned long n;
};

static bool take_line(struct reading *reading, const char *line)
{
    unsigned worker, number;
    const char *at = strstr(line, "\"connection\":\"");
    if (!strstr(line, "\"event\":\"end\""))
        return true;
    if (!at || sscanf(at, "\"connection\":\"%u-%u\"", &worker, &number) != 2 || worker >= WORKERS ||
        (long)number <= reading->last[worker])
        return false;
    reading->last[worker] = number;
    reading->n++;
    return true;
}

static bool read_file(struct reading *reading, const char *path)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t len;
    bool is_good = true;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    verify_file(&reading->verify, str_from(path));
    while (is_good && (len = getline(&line, &cap, file)) > 0) {
        verify_feed(&reading->verify, str_of(line, (size_t)len));
        is_good = take_line(reading, line);
    }
    free(line);
    (void)fclose(file);
    return is_good;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* All files of the folder, the rotated ones by their number first. They are removed. */
static bool read_all(struct reading *reading, const char *dir)
{
    static char names[FILES][NAME_MAX_LEN];
    size_t n = 0;
    struct dirent *entry;
    bool is_good = true;
    DIR *folder = opendir(dir);
    while (folder && n < FILES && (entry = readdir(folder)) != NULL)
        if (strncmp(entry->d_name, "audit.log.", 10) == 0)
            (void)snprintf(names[n++], NAME_MAX_LEN, "%s/%s", dir, entry->d_name);
    if (folder)
        (void)closedir(folder);
    qsort(names, n, NAME_MAX_LEN, compare);
    (void)snprintf(names[n++], NAME_MAX_LEN, "%s/audit.log", dir);
    for (size_t i = 0; i < n; i++) {
        is_good = read_file(reading, names[i]) && is_good;
        (void)unlink(names[i]);
    }
    (void)printf("%zu files\n", n);
    return is_good;
}

static void write_log(const char *path)
{
    pthread_t workers[WORKERS];
    struct text why = {0};
    const struct audit_options options = {
        .path = str_from(path),
        .node = STR("n1"),
        .version = STR("1"),
        .max_bytes = 200000,
        .keep = FILES,
        .wants_ends = true,
        .n_workers = WORKERS,
        .ring_bytes = 65536,
        .checkpoint_ns = 1000000,
    };
    if (audit_open(&options, &audit, &why) < 0)
        exit(1);
    for (size_t i = 0; i < WORKERS; i++)
        (void)pthread_create(&workers[i], NULL, work, (void *)i);
    while (atomic_load(&workers_left) > 0) {
        audit_reopen(audit);
        (void)usleep(5000);
    }
    for (size_t i = 0; i < WORKERS; i++)
        (void)pthread_join(workers[i], NULL);
    audit_close(audit);
    text_fini(&why);
}

int main(void)
{
    char dir[] = "/tmp/isthmus-race-XXXXXX", path[64];
    if (!mkdtemp(dir))
        return 1;
    (void)snprintf(path, sizeof path, "%s/audit.log", dir);
    write_log(path);
    struct reading *reading = mem_new(struct reading);
    for (int i = 0; i < WORKERS; i++)
        reading->last[i] = -1;
    bool is_good = read_all(reading, dir) && verify_end(&reading->verify) == 0;
    const unsigned long lost = (unsigned long)reading->verify.totals.n_lost;
    (void)printf("%lu records arrived, %lu were lost; %.*s\n", reading->n, lost,
                 STR_ARG(text_str(&reading->verify.sentence)));
    is_good = is_good && reading->n > 0 && reading->verify.totals.n_requests > 0 &&
              reading->n + reading->verify.totals.n_requests + lost == 2UL * WORKERS * RECORDS;
    verify_fini(&reading->verify);
    mem_free(reading);
    (void)rmdir(dir);
    return is_good ? 0 : 1;
}
