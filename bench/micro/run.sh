#!/bin/sh
# run.sh BENCH_MICRO [CASE...]: the instructions of one operation of every case, or of those, by callgrind.
set -eu
program=$1
shift
few=500 # are done before it is counted

instructions()
{
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

printf '%-14s %12s  %s\n' case instructions what
"$program" | while IFS="$(printf '\t')" read -r name counted what; do
    case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
    base=$(instructions "$name" $few)
    full=$(instructions "$name" $((few + counted)))
    printf '%-14s %12s  %s\n' "$name" $(((full - base) / counted)) "$what"
done
