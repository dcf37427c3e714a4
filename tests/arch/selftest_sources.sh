# selftest_sources.sh - the checks of sources find what they are for, in trees of two rooms.
set -eu
. "$(dirname "$0")/selftest_common.sh"

good_tree()
{
    rm -rf "$TREE/r"
    file r/CMakeLists.txt <<'END'
foreach(floor IN ITEMS
        proxy/base certs
        proxy/run)
endforeach()
END
    file r/proxy/base/CMakeLists.txt <<'END'
room(proxy/base SOURCES low.c)
END
    file r/proxy/base/README.md <<'END'
| `low.{h,c}` | low |
| `errors.def` | errors |
END
    file r/certs/CMakeLists.txt <<'END'
room(certs SOURCES key.c USES proxy/base THIRD openssl)
END
    file r/certs/README.md <<'END'
| `key.c` | keys |
END
    file r/proxy/run/CMakeLists.txt <<'END'
room(proxy/run
    SOURCES high.c
    USES proxy/base
         certs)
END
    file r/proxy/run/README.md <<'END'
| `high.c` `high.h` | high |
END
    echo 'int low(void);' | file r/proxy/base/low.h
    printf '#include "proxy/base/low.h"\n\nint low(void)\n{\n    return -ERR_A;\n}\n' | file r/proxy/base/low.c
    printf 'ERR(A, "a thing failed", BLAME_LOCAL, "a", "-")\n' | file r/proxy/base/errors.def
    printf '/* Keys. */\n#include <openssl/evp.h>\n#include "proxy/base/low.h"\n' | file r/certs/key.c
    echo 'int high(void);' | file r/proxy/run/high.h
    printf '#include "proxy/run/high.h"\n\n#include "proxy/base/low.h"\n' | file r/proxy/run/high.c
    printf 'METRIC(M, COUNTER, "isthmus_m_total", "How many (unstable)")\n' | file r/proxy/meter/metrics.def
    printf '/* Counts. */\nMETRIC_M\n' | file r/proxy/base/count.c
    printf '`count.c`\n' >>"$TREE/r/proxy/base/README.md"
    printf 'enum traffic_label {\n    LABEL_REPORTER, /* x */\n};\n' | file r/proxy/meter/traffic.h
    printf '"istio_tcp_sent_bytes_total"\n' | file r/proxy/meter/report.c
    sed -i 's|proxy/base certs|proxy/base proxy/meter certs|' "$TREE/r/CMakeLists.txt"
    file r/docs/metrics.md <<'END'
## One number a process
| `isthmus_m_total` | counter | How many |
## Traffic
`istio_tcp_sent_bytes_total`
### Labels
| `reporter` | who |
END
    printf 'AUDIT_FIELD(SRC, STR, "src.addr", "who")\nAUDIT_FIELD(SIZE, U64, "size", "how much")\n' | file r/proxy/audit/fields.def
    file r/docs/audit.md <<'END'
## The members of a line
| `src.addr` | text | who |
| `size` | number | how much |
## What else
END
    file r/docs/errors.md <<'END'
| `a` | a thing failed | this node | - |
END
}

# bad CHECK SENTENCE...: the tree as it is now has these faults, all of which one run finds; then it is good again.
bad()
{
    check=$1
    shift
    fails "$HERE/$check.sh" "$TREE/r"
    says "$@"
    good_tree
}

good_tree
for check in floors fences readmes used pages links conformance; do
    passes "$check of a good tree" "$HERE/$check.sh" "$TREE/r"
done

# ---- floors ----
printf '#include "proxy/base/low.h"\n#include "proxy/run/high.h"\n' | file r/proxy/base/low.c
printf '#include "low.h"\n' | file r/proxy/base/more.c
printf '#include "proxy/base/../base/low.h"\n' | file r/proxy/run/up.c
printf '  #  include "proxy/base/gone.h"\n' | file r/proxy/base/lost.c
printf '#include "proxy/base/low.h"\n' | file r/proxy/new/x.c
printf 'room(proxy/run SOURCES high.c USES certs)\n' | file r/proxy/run/CMakeLists.txt
printf 'room(certs SOURCES key.c USES proxy/run)\n' | file r/certs/CMakeLists.txt
printf '#include "proxy/base/low.h"\n#include "proxy/run/high.h"\n' | file r/proxy/run/high.c
bad floors \
    "proxy/base/low.c:2: proxy/base includes proxy/run/high.h, which is a floor above it" \
    'proxy/base/more.c:1: "low.h" is not a path from the root into a room' \
    'proxy/run/up.c:1: "proxy/base/../base/low.h" is not a path from the root' \
    "proxy/base/lost.c:1: there is no proxy/base/gone.h" \
    "proxy/new/x.c: this folder is on no floor" \
    "proxy/run/high.c:1: proxy/run includes proxy/base/low.h, but its CMakeLists.txt does not name proxy/base in USES" \
    "certs/CMakeLists.txt: uses proxy/run, which is no lower floor" \
    "proxy/run/high.c: its first include is proxy/base/low.h, not its own header"

# ---- fences ----
printf '#include <uv.h>\n' | file r/proxy/run/loop.c
printf 'room(certs SOURCES key.c USES proxy/base)\n' | file r/certs/CMakeLists.txt
printf 'static _Atomic int x;\n' | file r/proxy/run/atomic.c
printf 'int f(void)\n{\n    extern int x;\n    return x;\n}\n' | file r/proxy/run/extern.c
printf '/* x */ int *p = alloca(3);\n' | file r/proxy/run/stack.c
bad fences \
    "proxy/run/loop.c:1: #include <uv.h> belongs behind the fence of proxy/io" \
    "certs/CMakeLists.txt does not declare openssl under THIRD" \
    "proxy/run/atomic.c:1: atomics or threads" \
    "proxy/run/extern.c:3: extern in a .c" \
    "proxy/run/stack.c:1: banned"
printf '/* extern _Atomic\n * assert(x) */\nconst char *s = "pthread_create /* ";\n' | file r/proxy/run/more.c
passes "words in comments and strings" "$HERE/fences.sh" "$TREE/r"
good_tree

# ---- words ----
rm "$TREE/r/certs/README.md"
echo 'int x;' | file r/proxy/run/more.c
echo '`gone.c`' >>"$TREE/r/proxy/run/README.md"
bad readmes \
    "certs: has no README.md" \
    "proxy/run/README.md: does not name more.c" \
    "proxy/run/more.c: has no header, and does not begin with what it is for" \
    "proxy/run/README.md: names gone.c, which is not there"
rm "$TREE/r/proxy/base/count.c"
printf '#include "proxy/base/low.h"\n/* ERR_A */\n' | file r/proxy/base/low.c
bad used "proxy/meter/metrics.def: M is never counted" "proxy/base/errors.def: A is never given"

# ---- conformance ----
printf 'Test(low, holds_one_thing)\nTest(low,\n     holds_a_long_name)\n' | file r/tests/test_low.c
printf '`low/holds_one_thing` `low/holds_a_long_name` `high/holds_one_thing` `low/holds_another_thing` `tests/gone.py`\n' | file r/docs/conformance-x.md
printf 'Test(low, adds_as_envoys_low_test)\n' | file r/tests/unit/proxy_pick/test_low.c
bad conformance \
    'no test is called high/holds_one_thing' \
    'no test is called low/holds_another_thing' \
    'there is no tests/gone.py' \
    'low/adds_as_envoys_low_test is on no page docs/conformance-*.md'

# ---- pages ----
sed -i 's/How many/How few/' "$TREE/r/docs/metrics.md"
printf '"istio_build"\n' | file r/proxy/meter/meter.c
echo '`isthmus_gone`' >>"$TREE/r/docs/metrics.md"
echo '| `b` | gone | this node | - |' >>"$TREE/r/docs/errors.md"
sed -i 's/how much/how many/' "$TREE/r/docs/audit.md"
bad pages \
    'docs/metrics.md: this is missing: | `isthmus_m_total` | counter | How many |' \
    'docs/metrics.md: this is missing: istio_build' \
    'docs/metrics.md: this is not in the sources: isthmus_gone' \
    'docs/errors.md: this is not in the sources: | `b` | gone' \
    'docs/audit.md: this is missing: | `size` | number | how much |'

# ---- links ----
printf '[a](errors.md) [b](gone.md) [c](metrics.md#labels) [d](metrics.md#gone) [e](#what-else) `isthmus_gone_total`\n' >>"$TREE/r/docs/audit.md"
printf 'See [a](../docs/gone.md) and isthmus_m_total.\n' >>"$TREE/r/proxy/base/README.md"
bad links \
    'docs/audit.md: gone.md leads nowhere' \
    'docs/audit.md: metrics.md#gone leads to no heading' \
    'docs/audit.md: there is no metric isthmus_gone_total' \
    'proxy/base/README.md: ../docs/gone.md leads nowhere'
: >"$TREE/r/docs/errors.md"
printf '## The members of a line\n| `size` | number | how much |\n| `src.addr` | text | who |\n## What\n' >"$TREE/r/docs/audit.md"
bad pages \
    'docs/errors.md: this is missing: | `a` | a thing failed | this node | - |' \
    'docs/audit.md: its table of members is not the one of proxy/audit/fields.def, or is in another order'

exit $FAILED
