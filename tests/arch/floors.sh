# floors.sh ROOT - a room includes only rooms of lower floors, by paths from the root, that its CMakeLists.txt names; a .c
# begins with its own header, so that every header is known to stand alone.
. "$(dirname "$0")/common.sh"
ROOT=$1

floors "$ROOT" >"$SCRATCH/floors"
[ "$(wc -l <"$SCRATCH/floors")" -ge 2 ] || echo "CMakeLists.txt: the list of floors cannot be read" >>"$SCRATCH/faults"

# room<TAB>used room, out of the room() calls
while read -r room; do
    [ -f "$ROOT/$room/CMakeLists.txt" ] || continue
    tr -s ' \n()' '\n' <"$ROOT/$room/CMakeLists.txt" |
        awk -v room="$room" '$0 == "room" { in_room = 1 }
             /^(SOURCES|USES|THIRD)$/ { uses = $0 == "USES" && in_room; next }
             /^[a-z_]+$/ && $0 ~ /^(target_|add_|set|foreach|endforeach)/ { uses = 0 }
             uses && $0 != "" { print room "\t" $0 }'
done <"$SCRATCH/floors" >"$SCRATCH/uses"

# What a room says that it uses lies on lower floors.
awk -F '\t' 'FNR == NR { rank[$1] = NR; next }
     !($2 in rank) { print $1 "/CMakeLists.txt: " $2 " is no room" }
     ($2 in rank) && rank[$2] >= rank[$1] { print $1 "/CMakeLists.txt: uses " $2 ", which is no lower floor" }' \
    "$SCRATCH/floors" "$SCRATCH/uses" >>"$SCRATCH/faults"

sources "$ROOT" >"$SCRATCH/sources"
(
    cd "$ROOT"
    xargs -r grep -nH '^[ 	]*#[ 	]*include[ 	]*"' <"$SCRATCH/sources" || true
) | sed 's|^\([^:]*\):\([0-9]*\):[^"]*"\([^"]*\)".*|\1	\2	\3|' >"$SCRATCH/includes"
grep -v '\.def$' "$SCRATCH/includes" |
    awk -v root="$ROOT" -v floors="$SCRATCH/floors" -v uses="$SCRATCH/uses" -f "$HERE/floors.awk" >>"$SCRATCH/faults"
# X-macro tables are included like headers, from lower floors too.
sed -n '/\.def$/p' "$SCRATCH/includes" |
    awk -v root="$ROOT" -v floors="$SCRATCH/floors" -v uses="$SCRATCH/uses" -f "$HERE/floors.awk" >>"$SCRATCH/faults"

while read -r source; do
    own=${source%.c}.h
    [ "$own" != "$source" ] && [ -f "$ROOT/$own" ] || continue
    first=$(sed -n 's/^[ 	]*#[ 	]*include[ 	]*["<]\([^">]*\)[">].*/\1/p' "$ROOT/$source" | head -n 1)
    [ "$first" = "$own" ] || echo "$source: its first include is $first, not its own header" >>"$SCRATCH/faults"
done <"$SCRATCH/sources"
finish
