#!/bin/sh
# run.sh BENCH_MICRO: the instructions of one operation of every case, by callgrind.
set -eu
program=$1
few=1000
many=11000

instructions()
{
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

printf '%-12s %14s  %s\n' case instructions what
"$program" | while IFS="$(printf '\t')" read -r name what; do
    base=$(instructions "$name" $few)
    full=$(instructions "$name" $many)
    printf '%-12s %14s  %s\n' "$name" $(((full - base) / (many - few))) "$what"
done
