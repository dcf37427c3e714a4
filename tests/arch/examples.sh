# examples.sh ROOT ISTHMUS - what a reader copies works: every piece of YAML in docs/, and every file of config/examples, passes
# `isthmus check`, and the examples have every key. A piece without apiVersion is put to where it belongs first: into a route, a rule for tokens, or one of the
# two configuration files.
. "$(dirname "$0")/common.sh"
ROOT=$1
ISTHMUS=$2

# Pieces are fenced as yaml, or set in by four blanks and begin with a key. One file each, named after page and line.
for page in "$ROOT"/docs/*.md; do
    awk -v out="$SCRATCH/$(basename "$page")" '
        function begin() { file = out ":" FNR ".yaml"; n = 0 }
        function add(text) { print text >file; n++ }
        /^```yaml$/ { fenced = 1; FNR++; begin(); FNR--; next }
        /^```/ && fenced { fenced = 0; close(file); next }
        fenced { add($0); next }
        set_in && (/^    / || /^$/) { add(substr($0, 5)); next }
        set_in { set_in = 0; close(file) }
        was_blank && /^    (apiVersion|[a-z][A-Za-z]*):( |$)/ { set_in = 1; begin(); add(substr($0, 5)) }
        { was_blank = /^$/ }' "$page"
done

# The example without the keys that the piece has, and then the piece.
merged()
{
    keys=$(sed -n 's/^\([a-zA-Z]*\):.*/\1/p' "$2" | tr '\n' ' ')
    awk -v keys=" $keys" '/^[a-zA-Z]+:/ { off = index(keys, " " substr($0, 1, index($0, ":") - 1) " ") } !off' "$1"
    cat "$2"
}

put_in_place()
{
    case $(head -n 1 "$1") in
    backendRefs:*)
        printf 'apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: x, namespace: x}\n'
        printf 'spec:\n  parentRefs: [{kind: Service, group: "", name: web}]\n  rules:\n  - name: x\n'
        sed 's/^/    /' "$1"
        ;;
    jwks:*)
        printf 'apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: x, namespace: x}\n'
        printf 'spec:\n  jwtRules:\n  - issuer: https://id.example\n'
        sed 's/^/    /; s/"\.\.\."/"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"/' "$1" # of RFC 8037
        ;;
    *) merged "$ROOT/config/examples/$2.yaml" "$1" ;;
    esac
}

check()
{
    "$ISTHMUS" check "$1" >"$SCRATCH/said" 2>&1
}

pieces=0
for piece in "$SCRATCH"/*.md:*.yaml; do
    [ -f "$piece" ] || continue
    pieces=$((pieces + 1))
    if grep -q '^apiVersion:' "$piece"; then
        check "$piece" || sed "s|^$SCRATCH/|docs/|" "$SCRATCH/said" >>"$SCRATCH/faults"
        continue
    fi
    : >"$SCRATCH/all_said"
    for kind in proxy control; do
        put_in_place "$piece" $kind >"$SCRATCH/whole.yaml"
        check "$SCRATCH/whole.yaml" && continue 2
        sed "s|^$SCRATCH/whole.yaml|docs/$(basename "$piece") (put in place)|" "$SCRATCH/said" >>"$SCRATCH/all_said"
    done
    cat "$SCRATCH/all_said" >>"$SCRATCH/faults"
done
# Every key that the configuration files may have stands in an example.
awk '/\*const [a-z_]*keys\[\] = \{/ { on = 1 } on { print } /};/ { on = 0 }' "$ROOT"/config/bootstrap*.c |
    sed 's/.*= {//' | grep -oE '"[a-zA-Z]+"' | tr -d '"' | sort -u >"$SCRATCH/keys"
[ -s "$SCRATCH/keys" ] || echo "no keys were found in config/bootstrap*.c" >>"$SCRATCH/faults"
while read -r key; do
    grep -qE "(^|[ {-])$key:" "$ROOT/config/examples/proxy.yaml" "$ROOT/config/examples/control.yaml" ||
        echo "config/examples: none has the key $key" >>"$SCRATCH/faults"
done <"$SCRATCH/keys"

[ $pieces -gt 0 ] || echo "no YAML was found in docs/" >>"$SCRATCH/faults"
check "$ROOT/config/examples" || cat "$SCRATCH/said" >>"$SCRATCH/faults"
finish
