# fences.sh ROOT - third parties behind their fences, threads in few hands, nothing declared behind a header's back.
. "$(dirname "$0")/common.sh"
ROOT=$1
sources "$ROOT" >"$SCRATCH/sources"
floors "$ROOT" >"$SCRATCH/floors"

room_of()
{
    path=$1
    while [ "$path" != "${path%/*}" ]; do
        path=${path%/*}
        grep -qx "$path" "$SCRATCH/floors" && break
    done
    echo "$path"
}

# The name by which a room's CMakeLists.txt asks for the library behind a header.
third_of()
{
    case $1 in
    uv.h) echo uv ;;
    openssl/) echo openssl ;;
    nghttp2/) echo nghttp2 ;;
    llhttp.h) echo llhttp ;;
    protobuf-c/) echo protobuf_c ;;
    libknot/) echo knot ;;
    yaml.h) echo yaml ;;
    libmnl/) echo mnl ;;
    xxhash.h) echo xxhash ;;
    cap-ng.h) echo capng ;;
    jansson.h) echo jansson ;;
    esac
}

# ---- third parties ----

grep -v '^#' "$HERE/fences.txt" | while read -r header rooms; do
    (cd "$ROOT" && xargs -r grep -nH "^[ 	]*#[ 	]*include[ 	]*[<\"]$header" <"$SCRATCH/sources" || true) |
        while IFS=: read -r file line text; do
            room=$(room_of "$file")
            case " $rooms " in
            *" $room "*) ;;
            *) echo "$file:$line: $text belongs behind the fence of $rooms" ;;
            esac
            tr -s ' \n()' '\n' <"$ROOT/$room/CMakeLists.txt" 2>/dev/null | grep -qx "$(third_of "$header")" ||
                echo "$file:$line: $room/CMakeLists.txt does not declare $(third_of "$header") under THIRD"
        done
done >>"$SCRATCH/faults"

# Generated messages stay where the control stream is encoded and decoded, and spans are.
(cd "$ROOT" && xargs -r grep -nH '#include.*\.pb-c\.h' <"$SCRATCH/sources" || true) | while IFS=: read -r file line _; do
    case $(room_of "$file") in
    xds | proxy/trace) ;;
    *) echo "$file:$line: generated messages stay in xds and proxy/trace" ;;
    esac
done >>"$SCRATCH/faults"

# ---- words in the code ----

code "$ROOT" >"$SCRATCH/code"

# word PATTERN WHAT: what is said of every line of code that has it. A line is path:number:code.
word()
{
    grep -E "^[^:]*:[0-9]*:$1" "$SCRATCH/code" | sed "s|^\([^:]*:[0-9]*\):.*|\1: $2|" >>"$SCRATCH/faults" || true
}

grep -E '_Atomic|[^A-Za-z_]pthread_|stdatomic|[^A-Za-z_]atomic_[a-z]|__atomic_|__sync_' "$SCRATCH/code" | cut -d : -f 1,2 |
    sort -t : -k 1,1 -u >"$SCRATCH/threaded_at" || true
cut -d : -f 1 "$SCRATCH/threaded_at" >"$SCRATCH/threaded"
while IFS=: read -r file line; do
    grep -q "^$file " "$HERE/atomics.txt" || echo "$file:$line: atomics or threads outside tests/arch/atomics.txt"
done <"$SCRATCH/threaded_at" >>"$SCRATCH/faults"

sed '/^[^:]*\.h:/d' "$SCRATCH/code" >"$SCRATCH/code_c"
grep -E '^[^:]*:[0-9]*:[ 	]*extern([^A-Za-z_]|$)' "$SCRATCH/code_c" |
    sed 's|^\([^:]*:[0-9]*\):.*|\1: extern in a .c: include the header|' >>"$SCRATCH/faults" || true
word '(.*[^A-Za-z_])?(alloca|setjmp|longjmp|assert) ?\(' 'banned: alloca, setjmp, longjmp and assert are not used here'
word '[ 	]*#[ 	]*include[ 	]*["<](tests|bench)/' 'includes a test'
[ "$ROOT" != "$(cd "$HERE/../.." && pwd)" ] || grep -v '^#' "$HERE/atomics.txt" | while read -r file _; do
    grep -qx "$file" "$SCRATCH/threaded" || echo "tests/arch/atomics.txt: $file needs no entry"
done >>"$SCRATCH/faults"
finish
