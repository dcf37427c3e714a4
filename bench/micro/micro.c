/*
 * bench_micro            lists the cases: name, operations to be counted, what
 * bench_micro CASE N     does it N times
 */
#include <stdio.h>
#include <string.h>

#include "bench/micro/cases.h"
#include "proxy/base/str.h"

#define COUNTED        10000
#define COUNTED_MOVING 1000

static void list_cases(const struct bench_case *cases, size_t n_cases, unsigned n_counted)
{
    for (size_t i = 0; i < n_cases; i++)
        (void)printf("%s\t%u\t%s\n", cases[i].name, n_counted, cases[i].what);
}

static const struct bench_case *find(const struct bench_case *cases, size_t n_cases,
                                     const char *name)
{
    for (size_t i = 0; i < n_cases; i++) {
        if (strcmp(cases[i].name, name) == 0)
            return &cases[i];
    }
    return NULL;
}

static void run(const struct bench_case *one, uint64_t count)
{
    one->prepare(one->size);
    for (size_t n = 0; n < count; n++)
        one->once(n);
}

int main(int argc, char **argv)
{
    uint64_t count;
    if (argc == 1) {
        list_cases(bench_cases, bench_n_cases, COUNTED);
        list_cases(bench_moving_cases, bench_n_moving_cases, COUNTED_MOVING);
        return 0;
    }
    const struct bench_case *one = find(bench_cases, bench_n_cases, argv[1]);
    if (!one)
        one = find(bench_moving_cases, bench_n_moving_cases, argv[1]);
    if (!one || argc != 3 || !str_to_u64(str_from(argv[2]), 100000000, &count)) {
        (void)fputs("usage: bench_micro [CASE COUNT]\n", stderr);
        return 2;
    }
    run(one, count);
    return 0;
}
