/*
 * Threads log while another drains into a pipe that a third reads slowly. Every line must arrive
 * whole, in the order of its thread, and lines that arrived plus lines that were dropped must be
 * the lines that were sent.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define WRITERS 4
#define LINES   20000

static _Atomic int writers_left = WRITERS;

static void *write_lines(void *arg)
{
    unsigned writer = (unsigned)(size_t)arg;
    char line[64];

    log_attach("writer");
    for (unsigned i = 0; i < LINES; i++) {
        (void)snprintf(line, sizeof(line), "<%u %u %0*d>", writer, i, (int)(i % 40) + 1, 7);
        log_access(str_from(line));
        if (i % 1000 == 0)
            log_info("a thousand more", log_u64("line", i));
    }
    atomic_fetch_sub(&writers_left, 1);
    return NULL;
}

static void *read_lines(void *arg)
{
    int fd = *(int *)arg;
    struct text *all = mem_new(struct text);
    char bytes[3000];
    ssize_t got;

    while ((got = read(fd, bytes, sizeof(bytes))) > 0)
        text_add(all, str_of(bytes, (size_t)got));
    return all;
}

static unsigned long check(const struct text *all)
{
    long last[WRITERS] = {-1, -1, -1, -1};
    unsigned long n = 0;
    struct str rest = text_str(all), line;

    while (str_split(rest, '\n', &line, &rest)) {
        unsigned writer, number;
        if (line.len < 5 || line.ptr[0] != '<' || line.ptr[line.len - 1] != '>' ||
            sscanf(line.ptr, "<%u %u ", &writer, &number) != 2 || writer >= WRITERS ||
            (long)number <= last[writer]) {
            (void)fprintf(stderr, "a torn or misplaced line: %.*s\n", STR_ARG(line));
            exit(1);
        }
        last[writer] = number;
        n++;
    }
    return n;
}

int main(void)
{
    pthread_t writers[WRITERS], reader;
    struct text *all;
    void *result;
    int fds[2];

    if (pipe(fds) != 0)
        return 1;
    FILE *sink = fopen("/dev/null", "w");
    if (!sink)
        return 1;
    log_start(fileno(sink), fds[1]);
    (void)pthread_create(&reader, NULL, read_lines, &fds[0]);
    for (size_t i = 0; i < WRITERS; i++)
        (void)pthread_create(&writers[i], NULL, write_lines, (void *)i);
    while (atomic_load(&writers_left) > 0)
        (void)log_drain();
    for (size_t i = 0; i < WRITERS; i++)
        (void)pthread_join(writers[i], NULL);
    log_stop();
    (void)close(fds[1]);
    (void)pthread_join(reader, &result);
    all = result;

    unsigned long arrived = check(all), dropped = (unsigned long)log_dropped();
    (void)printf("%lu lines arrived, %lu were dropped\n", arrived, dropped);
    text_fini(all);
    mem_free(all);
    (void)fclose(sink);
    (void)close(fds[0]);
    return arrived > 0 && arrived + dropped == (unsigned long)WRITERS * LINES ? 0 : 1;
}
