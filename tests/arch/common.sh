# common.sh - what the checks share; each is run as `sh check.sh ROOT ...` and prints one line a fault.
set -eu

CHECK=$(basename "$0" .sh)
HERE=$(cd "$(dirname "$0")" && pwd)
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
: >"$SCRATCH/faults"

# The floors of ROOT, lowest first: the list of folders in its CMakeLists.txt.
floors()
{
    awk '/^foreach\(floor IN ITEMS/ { on = 1; sub(/.*ITEMS/, "") }
         on { last = /\)/; gsub(/\)/, " "); for (i = 1; i <= NF; i++) print $i; if (last) exit }' \
        "$1/CMakeLists.txt"
}

# The top folders of the floors.
tops()
{
    floors "$1" | sed 's|/.*||' | sort -u
}

# The sources of ROOT below the floors' top folders, paths from the root. Arguments are names for find.
sources()
{
    (
        cd "$1"
        for top in $(tops .); do
            [ -d "$top" ] && find "$top" -name '*.[ch]'
        done | sort
    )
}

# The code of every source of ROOT as path:line:code, without comments and the insides of strings.
code()
{
    (cd "$1" && sources . | xargs awk -f "$HERE/strip.awk")
}

finish()
{
    if [ -s "$SCRATCH/faults" ]; then
        cat "$SCRATCH/faults"
        echo "$CHECK: $(wc -l <"$SCRATCH/faults") faults"
        exit 1
    fi
    echo "$CHECK: nothing found"
}

# Ends the check when an object of the list is not there: a build that stopped half way proves nothing.
all_built()
{
    missing=$(while read -r object; do
        [ -f "$object" ] || echo "$object"
    done <"$1" | wc -l)
    [ "$missing" = 0 ] || {
        echo "$CHECK: $missing objects are not built; build everything first"
        exit 1
    }
}

# In what nm -A -P writes: proxy/http/h2.c for BUILD/proxy/http/CMakeFiles/proxy_http.dir/h2.c.o.
short_names()
{
    sed "s|^$1/||; s|/\./|/|g; s|^\([^ ]*\)/CMakeFiles/[^/ ]*\.dir/\([^ ]*\)\.o: |\1/\2 |; s|^\([^ ]*\)\.o: |\1 |"
}
