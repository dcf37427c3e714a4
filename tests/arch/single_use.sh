# single_use.sh OBJECTS BUILD - functions that are not static although only their own file uses them. A note for a reviewer, never
# a failure: a contract may offer more than the present callers need, and tests call what they test.
. "$(dirname "$0")/common.sh"
OBJECTS=$1
BUILD=$2

all_built "$OBJECTS"
xargs -r nm -A -P -g <"$OBJECTS" | short_names "$BUILD" |
    awk '$3 == "T" && $1 !~ /pb-c\.c$/ { at[$2] = $1 }
         $3 == "U" { used[$2] = 1 }
         END { for (name in at) if (!(name in used) && name != "main") print at[name] ": " name "()" }' |
    sort >"$SCRATCH/notes"
cat "$SCRATCH/notes"
echo "single_use: $(wc -l <"$SCRATCH/notes") functions have no caller in another file"
