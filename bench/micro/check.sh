#!/bin/sh
# check.sh BENCH_MICRO: fails when a decision costs over 2 % more instructions than bench/micro/baseline.txt says (and over
# 15 more: hash maps are seeded anew in every process, so a lookup varies by a probe or two), or when a case is missing on
# either side. `check.sh BENCH_MICRO --update` writes the baseline of the cases that changed by over 2 % (and over 15), came or
# went, and leaves the others: a change of it is reviewed like code.
set -eu
here=$(dirname "$0")
baseline=$here/baseline.txt
now=$(mktemp)
trap 'rm -f "$now" "$now".*' EXIT
"$here/run.sh" "$1" | awk 'NR > 1 { print $1, $2 }' >"$now"
if [ "${2:-}" = --update ]; then
    awk 'NR == FNR { was[$1] = $2; next }
         { change = $2 - was[$1]; if (change < 0) change = -change }
         $1 in was && (change <= 15 || change * 50 <= was[$1]) { $2 = was[$1] }
         { print $1, $2 }' "$baseline" "$now" >"$now.kept"
    mv "$now.kept" "$baseline"
    exit 0
fi
# What grew is counted twice more, and the least counts: the seed of a map may have been an unlucky one.
grown()
{
    awk 'NR == FNR { was[$1] = $2; next } $1 in was && $2 - was[$1] > 15 && ($2 - was[$1]) * 50 > was[$1] { print $1 }' \
        "$baseline" "$now"
}

for again in 1 2; do
    names=$(grown)
    [ -n "$names" ] || break
    # shellcheck disable=SC2086
    "$here/run.sh" "$1" $names | awk 'NR > 1 { print $1, $2 }' >"$now.again"
    awk 'NR == FNR { again[$1] = $2; next } $1 in again && again[$1] < $2 { $2 = again[$1] } { print $1, $2 }' \
        "$now.again" "$now" >"$now.least"
    mv "$now.least" "$now"
    rm -f "$now.again"
done

awk '
    NR == FNR { was[$1] = $2; next }
    !($1 in was) { printf "%s: no baseline (now %d); run bench/micro/check.sh --update\n", $1, $2; bad = 1; next }
    {
        change = ($2 - was[$1]) * 100 / was[$1]
        grew = change > 2 && $2 - was[$1] > 15
        note = grew ? "  GREW" : change < -2 ? "  shrank: update the baseline" : ""
        printf "%-16s %10d, was %10d  %+.1f %%%s\n", $1, $2, was[$1], change, note
        bad = bad || grew
        delete was[$1]
    }
    END {
        for (name in was) {
            printf "%s: the baseline has it, the benchmark does not\n", name
            bad = 1
        }
        exit bad
    }' "$baseline" "$now"
