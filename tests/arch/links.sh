# links.sh ROOT - every link of a page to a place in this tree leads there, headings included; and every metric that a page or
# an example names exists.
. "$(dirname "$0")/common.sh"
ROOT=$1

(cd "$ROOT" && find . -name '*.md' -not -path './build/*' -not -path './.git/*') | sed 's|^\./||' | sort >"$SCRATCH/pages"

# The anchors of a page, as GitHub makes them of its headings.
anchors()
{
    sed -n 's/^##* //p' "$1" | tr 'A-Z' 'a-z' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

while read -r page; do
    grep -oE '\]\([^) ]+\)' "$ROOT/$page" | sed 's/^](//; s/)$//' | sort -u | while read -r link; do
        case $link in
        http://* | https://*) continue ;;
        '#'*) target=$page ;;
        *) target=$(dirname "$page")/${link%%#*} ;;
        esac
        if [ ! -e "$ROOT/$target" ]; then
            echo "$page: $link leads nowhere"
        elif [ "$link" != "${link#*#}" ]; then
            anchors "$ROOT/$target" | grep -qxF -- "${link#*#}" || echo "$page: $link leads to no heading"
        fi
    done
done <"$SCRATCH/pages" >>"$SCRATCH/faults"

# docs/metrics.md is held to the sources by pages.sh, all else here to it.
{ grep -oE '(istio|isthmus|process)_[a-z0-9_]+' "$ROOT/docs/metrics.md" || true; } | sort -u >"$SCRATCH/metrics"
(cd "$ROOT" && find docs config README.md -type f \( -name '*.md' -o -name '*.yaml' \) -not -name metrics.md) |
    sort | while read -r file; do
    { grep -ohE '(istio|isthmus)_[a-z0-9_]+_(total|open|connected|shedding|bytes|seconds|milliseconds|domains|blocked)' "$ROOT/$file" || true; } |
        sort -u | while read -r name; do
        grep -qx -- "$name" "$SCRATCH/metrics" || echo "$file: there is no metric $name"
    done
done >>"$SCRATCH/faults"
finish
