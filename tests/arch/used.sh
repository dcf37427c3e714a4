# used.sh ROOT - every metric is counted somewhere, every error can happen.
. "$(dirname "$0")/common.sh"
ROOT=$1

code "$ROOT" | grep -oE '(METRIC|ERR)_[A-Z0-9_]+' | sort -u >"$SCRATCH/words"

unused() # TABLE MACRO WHAT [PREFIX]
{
    sed -n "s/^$2(\([A-Z0-9_]*\),.*/\1/p" "$ROOT/$1" | while read -r id; do
        grep -qx "${4:-$2}_$id" "$SCRATCH/words" || echo "$1: $id $3"
    done
}

unused proxy/meter/metrics.def METRIC "is never counted" >>"$SCRATCH/faults"
unused proxy/meter/metrics.def REASON "is never counted" METRIC >>"$SCRATCH/faults"
unused proxy/base/errors.def ERR "is never given" >>"$SCRATCH/faults"
finish
