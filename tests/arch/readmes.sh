# readmes.sh ROOT - every room has a README.md that names each of its files, and no file that is not there; and a .c that has no
# header of its own to say what it is for begins with a comment that does.
. "$(dirname "$0")/common.sh"
ROOT=$1

# The names in a page: `a.c`, `a.{h,c}` taken apart.
names()
{
    tr -s ' |,;()' '\n' <"$1" | sed -n 's/^`\(.*\)`[.:]*$/\1/p' |
        awk '/\{h,c\}$|\{c,h\}$/ { stem = $0; sub(/\{.*/, "", stem); print stem "h"; print stem "c"; next } { print }'
    # a.{h,c} was cut at its comma above
    tr -s ' |' '\n' <"$1" | sed -n 's/^`\([a-z0-9_]*\.\){[hc],[hc]}`[,;.:]*$/\1h\n\1c/p'
}

floors "$ROOT" | while read -r room; do
    [ -f "$ROOT/$room/CMakeLists.txt" ] || continue
    if [ ! -f "$ROOT/$room/README.md" ]; then
        echo "$room: has no README.md"
        continue
    fi
    names "$ROOT/$room/README.md" >"$SCRATCH/names"
    for file in "$ROOT/$room"/*.c "$ROOT/$room"/*.h "$ROOT/$room"/*.def "$ROOT/$room"/*.in; do
        [ -f "$file" ] || continue
        name=${file##*/}
        grep -qx "$name" "$SCRATCH/names" || echo "$room/README.md: does not name $name"
    done
    for file in "$ROOT/$room"/*.c; do
        [ ! -f "$file" ] || [ -f "${file%.c}.h" ] || [ "$(head -c 2 "$file")" = '/*' ] ||
            echo "$room/${file##*/}: has no header, and does not begin with what it is for"
    done
    grep -E '^[a-z0-9_]+\.(c|h|def)$' "$SCRATCH/names" | sort -u | while read -r name; do
        [ -f "$ROOT/$room/$name" ] || echo "$room/README.md: names $name, which is not there"
    done
done >>"$SCRATCH/faults"
finish
