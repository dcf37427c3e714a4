# pages.sh ROOT - docs/metrics.md, docs/errors.md and docs/audit.md say what the tables in the sources say, no less and no more.
. "$(dirname "$0")/common.sh"
ROOT=$1

# same PAGE WANTED SHOWN: both sorted lists are one.
same()
{
    comm -23 "$2" "$3" | sed "s|^|$1: this is missing: |" >>"$SCRATCH/faults"
    comm -13 "$2" "$3" | sed "s|^|$1: this is not in the sources: |" >>"$SCRATCH/faults"
}

# ---- metrics: name and type of the plain ones, the names of the others, every label of traffic ----

{
    sed -n 's/^METRIC([A-Z0-9_]*, \([A-Z]*\), "\([a-z0-9_]*\)", "\(.*\)")$/| `\2` | \1 | \3 |/p' \
        "$ROOT/proxy/meter/metrics.def" | sed 's/ (unstable) |$/ |/' |
        awk -F '|' 'BEGIN { OFS = "|" } { $3 = tolower($3); print }'
} | sort >"$SCRATCH/wanted"
sed -n '/^## One number a process/,/^## [^O]/p' "$ROOT/docs/metrics.md" | grep '^| `' | sort >"$SCRATCH/shown"
same docs/metrics.md "$SCRATCH/wanted" "$SCRATCH/shown"

sed -n 's/^REASON([A-Z0-9_]*, "\([a-z0-9_]*\)", "\([a-z0-9_]*\)", "\(.*\)")$/| `\1` | `\2` | \3 |/p' \
    "$ROOT/proxy/meter/metrics.def" | sort >"$SCRATCH/wanted"
[ "$(wc -l <"$SCRATCH/wanted")" = "$(grep -c '^REASON(' "$ROOT/proxy/meter/metrics.def")" ] ||
    echo "proxy/meter/metrics.def: a row is not written on one line as the others are" >>"$SCRATCH/faults"
sed -n '/^## Counters by reason/,/^## T/p' "$ROOT/docs/metrics.md" | grep '^| `' | grep '_total' | sort >"$SCRATCH/shown"
same docs/metrics.md "$SCRATCH/wanted" "$SCRATCH/shown"

# ---- attributes of a span ----

sed -n 's/^ATTRIBUTE([A-Z_]*, "\(.*\)", "\(.*\)")$/| `\1` | \2 |/p' "$ROOT/proxy/trace/attributes.def" | sort >"$SCRATCH/wanted"
sed -n '/^## What a span says/,/^## [^W]/p' "$ROOT/docs/tracing.md" | grep '^| `' | sort >"$SCRATCH/shown"
same docs/tracing.md "$SCRATCH/wanted" "$SCRATCH/shown"

# ---- metrics again: every name ----

{
    grep -ohE '"(istio|isthmus|process)_[a-z_]+' "$ROOT"/proxy/meter/*.c "$ROOT"/proxy/meter/metrics.def | tr -d '"'
} | sort -u >"$SCRATCH/wanted"
grep -oE '`(istio|isthmus|process)_[a-z_]+`' "$ROOT/docs/metrics.md" | tr -d '`' | sort -u >"$SCRATCH/shown"
same docs/metrics.md "$SCRATCH/wanted" "$SCRATCH/shown"

sed -n 's/^ *\(LABEL_[A-Z_]*\)\( = [A-Z_]*\)\{0,1\},.*/\1/p' "$ROOT/proxy/meter/traffic.h" | sed 's/^LABEL_//' | tr 'A-Z' 'a-z' | sort -u \
    >"$SCRATCH/wanted"
sed -n '/^### Labels/,/^## /p' "$ROOT/docs/metrics.md" | grep -oE '^\| `[a-z_]+`' | tr -d '|` ' |
    sort -u >"$SCRATCH/shown"
same docs/metrics.md "$SCRATCH/wanted" "$SCRATCH/shown"

# ---- errors ----

sed -n 's/^ERR([A-Z0-9_]*, "\(.*\)", BLAME_\([A-Z]*\), "\([a-z0-9_]*\)", "\(.*\)")$/\3|\2|\4|\1/p' "$ROOT/proxy/base/errors.def" |
    awk -F '|' 'BEGIN { who["NONE"] = "-"; who["CLIENT"] = "caller"; who["UPSTREAM"] = "called"; who["CONFIG"] = "configuration"
                       who["POLICY"] = "policy"; who["LOCAL"] = "this node" }
                { print "| `" $1 "` | " $4 " | " who[$2] " | " ($3 == "-" ? "-" : "`" $3 "`") " |" }' | sort >"$SCRATCH/wanted"
[ "$(wc -l <"$SCRATCH/wanted")" = "$(grep -c '^ERR(' "$ROOT/proxy/base/errors.def")" ] ||
    echo "proxy/base/errors.def: a row is not written on one line as the others are" >>"$SCRATCH/faults"
sed '/^## /,$d' "$ROOT/docs/errors.md" | grep '^| `' | sort >"$SCRATCH/shown"
same docs/errors.md "$SCRATCH/wanted" "$SCRATCH/shown"

# ---- members of an audit line, in their order ----

sed -n 's/^AUDIT_FIELD(\([A-Z0-9_]*\), \([A-Z0-9]*\), "\([a-z0-9_.]*\)", "\(.*\)")$/| `\3` | \2 | \4 |/p' "$ROOT/proxy/audit/fields.def" |
    awk -F ' [|] ' 'BEGIN { OFS = " | "; of["STR"] = "text"; of["LONG"] = "text"; of["U64"] = "number"; of["ADDR"] = "ip:port"; of["FLAG"] = "flag"
                            of["TIME"] = "time" } { $2 = of[$2]; print }' >"$SCRATCH/wanted"
[ "$(wc -l <"$SCRATCH/wanted")" = "$(grep -c '^AUDIT_FIELD(' "$ROOT/proxy/audit/fields.def")" ] ||
    echo "proxy/audit/fields.def: a row is not written on one line as the others are" >>"$SCRATCH/faults"
sed -n '/^## The members of a line/,/^## What/p' "$ROOT/docs/audit.md" | grep '^| `' >"$SCRATCH/shown"
cmp -s "$SCRATCH/wanted" "$SCRATCH/shown" || {
    sort "$SCRATCH/wanted" >"$SCRATCH/wanted.sorted"
    sort "$SCRATCH/shown" >"$SCRATCH/shown.sorted"
    same docs/audit.md "$SCRATCH/wanted.sorted" "$SCRATCH/shown.sorted"
    echo "docs/audit.md: its table of members is not the one of proxy/audit/fields.def, or is in another order" >>"$SCRATCH/faults"
}
finish
