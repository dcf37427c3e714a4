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
    printf '#include <openssl/evp.h>\n#include "proxy/base/low.h"\n' | file r/certs/key.c
    echo 'int high(void);' | file r/proxy/run/high.h
    printf '#include "proxy/run/high.h"\n\n#include "proxy/base/low.h"\n' | file r/proxy/run/high.c
    printf 'METRIC(M, COUNTER, "isthmus_m_total", "How many (unstable)")\n' | file r/proxy/meter/metrics.def
    printf 'METRIC_M\n' | file r/proxy/base/count.c
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

# bad CHECK SENTENCE: the tree as it is now has this fault; then it is good again.
bad()
{
    finds "$2" "$HERE/$1.sh" "$TREE/r"
    good_tree
}

good_tree
for check in floors fences readmes used pages conformance; do
    passes "$check of a good tree" "$HERE/$check.sh" "$TREE/r"
done

# ---- floors ----
printf '#include "proxy/base/low.h"\n#include "proxy/run/high.h"\n' | file r/proxy/base/low.c
bad floors "proxy/base/low.c:2: proxy/base includes proxy/run/high.h, which is a floor above it"
printf '#include "low.h"\n' | file r/proxy/base/more.c
bad floors '"low.h" is not a path from the root into a room'
printf '#include "proxy/base/../base/low.h"\n' | file r/proxy/run/more.c
bad floors 'is not a path from the root'
printf '  #  include "proxy/base/gone.h"\n' | file r/proxy/run/more.c
bad floors "there is no proxy/base/gone.h"
echo 'int x;' | file r/proxy/new/x.c
sed -i 's|^|#include "proxy/base/low.h" //|' "$TREE/r/proxy/new/x.c"
bad floors "this folder is on no floor"
printf 'room(proxy/run SOURCES high.c USES certs)\n' | file r/proxy/run/CMakeLists.txt
bad floors "does not name proxy/base in USES"
printf 'room(certs SOURCES key.c USES proxy/run)\n' | file r/certs/CMakeLists.txt
bad floors "certs/CMakeLists.txt: uses proxy/run, which is no lower floor"
printf '#include "proxy/base/low.h"\n#include "proxy/run/high.h"\n' | file r/proxy/run/high.c
bad floors "its first include is proxy/base/low.h, not its own header"

# ---- fences ----
printf '#include <uv.h>\n' | file r/proxy/run/more.c
bad fences "proxy/run/more.c:1: #include <uv.h> belongs behind the fence of proxy/io"
printf 'room(certs SOURCES key.c USES proxy/base)\n' | file r/certs/CMakeLists.txt
bad fences "certs/CMakeLists.txt does not declare openssl under THIRD"
printf 'static _Atomic int x;\n' | file r/proxy/run/more.c
bad fences "proxy/run/more.c:1: atomics or threads"
printf 'int f(void)\n{\n    extern int x;\n    return x;\n}\n' | file r/proxy/run/more.c
bad fences "proxy/run/more.c:3: extern in a .c"
printf '/* x */ int *p = alloca(3);\n' | file r/proxy/run/more.c
bad fences "proxy/run/more.c:1: banned"
printf '/* extern _Atomic\n * assert(x) */\nconst char *s = "pthread_create /* ";\n' | file r/proxy/run/more.c
passes "words in comments and strings" "$HERE/fences.sh" "$TREE/r"
good_tree

# ---- words ----
rm "$TREE/r/certs/README.md"
bad readmes "certs: has no README.md"
echo 'int x;' | file r/certs/more.c
bad readmes "certs/README.md: does not name more.c"
echo '`gone.c`' >>"$TREE/r/certs/README.md"
bad readmes "names gone.c, which is not there"
rm "$TREE/r/proxy/base/count.c"
bad used "proxy/meter/metrics.def: M is never counted"
printf '#include "proxy/base/low.h"\n/* ERR_A */\n' | file r/proxy/base/low.c
bad used "proxy/base/errors.def: A is never given"

# ---- conformance ----
printf 'Test(low, holds_one_thing)\n' | file r/tests/test_low.c
printf '`low/holds_one_thing` `low/holds_another_thing`\n' | file r/docs/conformance-x.md
bad conformance 'no test is called low/holds_another_thing'
printf '`tests/gone.py`\n' | file r/docs/conformance-x.md
bad conformance 'there is no tests/gone.py'
printf 'Test(low, adds_as_envoys_low_test)\n' | file r/tests/unit/proxy_pick/test_low.c
bad conformance 'low/adds_as_envoys_low_test is on no page docs/conformance-*.md'

# ---- pages ----
sed -i 's/How many/How few/' "$TREE/r/docs/metrics.md"
bad pages 'this is missing: | `isthmus_m_total` | counter | How many |'
printf '"istio_build"\n' | file r/proxy/meter/meter.c
bad pages 'docs/metrics.md: this is missing: istio_build'
echo '`isthmus_gone`' >>"$TREE/r/docs/metrics.md"
bad pages 'docs/metrics.md: this is not in the sources: isthmus_gone'
echo '| `b` | gone | this node | - |' >>"$TREE/r/docs/errors.md"
bad pages 'docs/errors.md: this is not in the sources'
: >"$TREE/r/docs/errors.md"
bad pages 'docs/errors.md: this is missing: | `a` | a thing failed | this node | - |'
sed -i 's/how much/how many/' "$TREE/r/docs/audit.md"
bad pages 'docs/audit.md: this is missing: | `size` | number | how much |'
printf '## The members of a line\n| `size` | number | how much |\n| `src.addr` | text | who |\n## What\n' >"$TREE/r/docs/audit.md"
bad pages 'docs/audit.md: its table of members is not the one of proxy/audit/fields.def, or is in another order'

exit $FAILED
