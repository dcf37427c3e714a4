# conformance.sh ROOT - every test that docs/conformance-*.md or the threat model names is in the sources, in the suite that it
# says, and every file; and every test of the balancing that is named after a source of vectors is on such a page.
. "$(dirname "$0")/common.sh"
ROOT=$1

cat "$ROOT"/docs/conformance-*.md "$ROOT"/docs/threat-model.md 2>/dev/null | grep -oE '`[^`]+`' | tr -d '`' | sort -u >"$SCRATCH/words" || true
# What the tests are called: suite/name of Test(suite, name, which may go on in the next line, and name of MACRO(name, and of
# def name( in Python.
(cd "$ROOT" && find tests -name '*.[ch]' -o -name '*.py' 2>/dev/null) | (cd "$ROOT" && xargs -r cat) |
    sed -E '/^Test\([a-z0-9_]+,$/{N; s/\n */ /;}' |
    grep -oE '(Test|[A-Z][A-Z_]+)\(([a-z0-9_]+, *)?[A-Za-z0-9_]+|def [a-z0-9_]+' |
    sed -E 's/^Test\(([a-z0-9_]+), */\1\//; s/.*[(, ]//' | sort -u >"$SCRATCH/tests"

while read -r word; do
    case $word in
    tests/*) [ -e "$ROOT/$word" ] || echo "there is no $word" ;;
    *…* | test_*.py) ;; # a family of names, a file
    test_* | *[a-z]/[A-Za-z]*_*)
        grep -qxF -e "$word" -e "${word##*/}" "$SCRATCH/tests" || echo "no test is called $word"
        ;;
    esac
done <"$SCRATCH/words" >>"$SCRATCH/faults"

(cd "$ROOT" && cat tests/unit/proxy_balance/*.c tests/unit/proxy_pick/*.c tests/unit/bench_sim/*.c 2>/dev/null) |
    sed -nE 's/^Test\(([a-z_]+), ([A-Za-z0-9_]*envoys_[A-Za-z0-9_]*).*/\1\/\2/p' | while read -r test; do
    grep -qxF -- "$test" "$SCRATCH/words" || echo "$test is on no page docs/conformance-*.md"
done >>"$SCRATCH/faults"
finish
