# cycles.sh OBJECTS BUILD - no ring of calls between files: OBJECTS lists the object files of all rooms, one a line, below
# the folder BUILD. A file points to a file when it needs a symbol that the other defines; tsort finds the rings.
. "$(dirname "$0")/common.sh"
OBJECTS=$1
BUILD=$2

all_built "$OBJECTS"
# needer, definer and one symbol between them
xargs -r nm -A -P -g <"$OBJECTS" | short_names "$BUILD" |
    awk '$3 != "U" && $3 != "w" && $3 != "v" { at[$2] = $1 }
         $3 == "U" { needs[++n] = $1 " " $2 }
         END { for (i = 1; i <= n; i++) { split(needs[i], part, " ")
                   if (part[2] in at && at[part[2]] != part[1] && !seen[part[1], at[part[2]]]++)
                       print part[1], at[part[2]], part[2] } }' >"$SCRATCH/edges"
[ -s "$SCRATCH/edges" ] || echo "no file needs another: that cannot be" >>"$SCRATCH/faults"

# tsort writes a line about a loop, then its members, for each loop that it breaks.
cut -d ' ' -f 1,2 "$SCRATCH/edges" | tsort 2>"$SCRATCH/rings" >/dev/null || true
awk 'FNR == NR { symbol[$1, $2] = $3; next }
     function step(from, to) {
         if ((from, to) in symbol) return from " calls " symbol[from, to] "() of " to
         return to " calls " symbol[to, from] "() of " from
     }
     function ring_ends(   i, line) {
         if (n == 0) return
         line = "a ring:"
         for (i = 1; i <= n; i++) line = line (i > 1 ? "; " : " ") step(member[i], member[i < n ? i + 1 : 1])
         print line
         n = 0
     }
     /loop/ { ring_ends(); next }
     { member[++n] = $NF }
     END { ring_ends() }' "$SCRATCH/edges" "$SCRATCH/rings" >>"$SCRATCH/faults"
finish
