/*
 * bench_micro            lists the cases
 * bench_micro CASE N     does it N times
 */
#include <stdio.h>
#include <string.h>

#include "bench/micro/cases.h"
#include "proxy/base/str.h"

static int list_cases(void)
{
    for (size_t i = 0; i < bench_n_cases; i++)
        (void)printf("%s\t%s\n", bench_cases[i].name, bench_cases[i].what);
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t count;
    if (argc == 1)
        return list_cases();
    for (size_t i = 0; argc == 3 && i < bench_n_cases; i++) {
        const struct bench_case *one = &bench_cases[i];
        if (strcmp(one->name, argv[1]) != 0 || !str_to_u64(str_from(argv[2]), 100000000, &count))
            continue;
        one->prepare(one->size);
        for (size_t n = 0; n < count; n++)
            one->once(n);
        return 0;
    }
    (void)fputs("usage: bench_micro [CASE COUNT]\n", stderr);
    return 2;
}
