# floors.awk - one pass over every source. Given as variables: root; floors, rooms with their USES (from rooms.txt).
# Input: "path<TAB>line number<TAB>included path" for every #include "...".
BEGIN {
    FS = "\t"
    while ((getline line < floors) > 0)
        rank[line] = ++n_floors
    while ((getline line < uses) > 0) {
        split(line, part, "\t")
        used[part[1], part[2]] = 1
    }
}
# The room that a path lies in: its longest folder that is a floor.
function room_of(path)
{
    while (sub(/\/[^\/]*$/, "", path))
        if (path in rank)
            return path
    return ""
}
{
    at = $1 ":" $2 ": "
    room = room_of($1)
    target = room_of($3)
    if (room == "") {
        if (!($1 in told))
            print $1 ": this folder is on no floor: name it in CMakeLists.txt"
        told[$1] = 1
    } else if ($3 !~ /\// || $3 ~ /(^|\/)\.\.?\// || target == "") {
        print at "\"" $3 "\" is not a path from the root into a room"
    } else if (rank[target] > rank[room]) {
        print at room " includes " $3 ", which is a floor above it"
    } else if (target != room && !((room, target) in used)) {
        print at room " includes " $3 ", but its CMakeLists.txt does not name " target " in USES"
    } else if (getline line < (root "/" $3) < 0 && getline line < (root "/" $3 ".in") < 0) {
        print at "there is no " $3
    } else {
        close(root "/" $3)
        close(root "/" $3 ".in")
    }
}
