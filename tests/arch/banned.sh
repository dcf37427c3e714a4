# banned.sh OBJECTS BUILD - what our objects need of the C library is nothing of banned.txt, but for the files named there.
. "$(dirname "$0")/common.sh"
OBJECTS=$1
BUILD=$2

all_built "$OBJECTS"
xargs -r nm -A -P -u <"$OBJECTS" | short_names "$BUILD" |
    awk -v banned="$HERE/banned.txt" '
        BEGIN {
            while ((getline line < banned) > 0) {
                if (line ~ /^#/ || split(line, part, " ") == 0)
                    continue
                is_banned[part[1]] = 1
                allowed[part[1]] = line " "
            }
        }
        {
            name = $2
            sub(/@.*/, "", name)
            if (!(name in is_banned) && name ~ /^__.*_chk$/)
                name = substr(name, 3, length(name) - 6)
            if (!(name in is_banned))
                next
            n = split(allowed[name], part, " ")
            for (i = 2; i <= n; i++)
                if ($1 == part[i])
                    next
            print $1 ": " name "() is banned"
        }' >>"$SCRATCH/faults"
finish
