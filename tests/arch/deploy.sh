# deploy.sh ROOT ISTHMUS - config/deploy says what the sources say: the capabilities that the proxy asks for, its ports and times,
# a configuration that passes `isthmus check`, and an image that has the libraries of the program; what the role of control may read is what it asks for.
. "$(dirname "$0")/common.sh"
ROOT=$1
ISTHMUS=$2
DAEMONSET=$ROOT/config/deploy/proxy.yaml

fault()
{
    echo "config/deploy/$*" >>"$SCRATCH/faults"
}

# default KEY: its value in the example of a proxy's configuration.
default()
{
    sed -n "s/^ *$1: *\([0-9]*\).*/\1/p" "$ROOT/config/examples/proxy.yaml" | head -n 1
}

wanted=$(sed -n '/names\[\]/s/.*{\(.*\)}.*/\1/p' "$ROOT/proxy/run/privileges.c" | sed 's/CAP_//g; s/"//g')
given=$(sed -n 's/^ *add: \[\(.*\)\]$/\1/p' "$DAEMONSET")
[ -n "$wanted" ] && [ "$wanted" = "$given" ] || fault "proxy.yaml: it adds $given, and the proxy wants $wanted"
grep -qF "| $wanted and no others" "$ROOT/config/deploy/README.md" || fault "README.md: the proxy wants $wanted"

grep -q "containerPort: $(default metrics)}.*containerPort: $(default ready)}" "$DAEMONSET" &&
    grep -q "path: /healthz/ready, port: $(default ready)}" "$DAEMONSET" || fault "proxy.yaml: its ports are not the proxy's"
grace=$(sed -n 's/^ *terminationGracePeriodSeconds: \([0-9]*\).*/\1/p' "$DAEMONSET")
[ "${grace:-0}" -gt "$(default drain)" ] || fault "proxy.yaml: it is killed before timeouts.drain is over"

sed -n '/^  proxy.yaml: |$/,/^---$/{s/^    //p}' "$DAEMONSET" | sed 's/NODE_NAME/west-1/' >"$SCRATCH/proxy.yaml"
"$ISTHMUS" check "$SCRATCH/proxy.yaml" >"$SCRATCH/said" 2>&1 && grep -q '^1 object' "$SCRATCH/said" ||
    sed 's|^.*/proxy.yaml|config/deploy/proxy.yaml (its ConfigMap)|' "$SCRATCH/said" >>"$SCRATCH/faults"
limit=$(sed -n 's/.*limits: {memory: \([0-9]*\)Mi}.*/\1/p' "$DAEMONSET")
bound=$(sed -n 's/^ *memoryBytes: //p' "$SCRATCH/proxy.yaml")
[ "$bound" = $((limit * 1024 * 1024 * 8 / 10)) ] || fault "proxy.yaml: memoryBytes is not 80 % of the container's limit"

# Of control: it may list and watch what it asks for, and nothing else.
CONTROL=$ROOT/config/deploy/control.yaml
grep -o '"/api[^"]*[a-z]"' "$ROOT/xds/kubernetes/kinds.c" | tr -d '"' |
    sed 's|^/api/v1/| |; s|^/apis/\([^/]*\)/[^/]*/|\1 |' | sort -u >"$SCRATCH/asked"
sed -n 's/^- {apiGroups: \[\(.*\)\], resources: \[\(.*\)\], verbs: \[list, watch\]}$/\1|\2/p' "$CONTROL" | tr -d ' "' |
    awk -F'|' '{ n = split($1, groups, ","); m = split($2, kinds, ",")
                 for (i = 1; i <= (n ? n : 1); i++) for (j = 1; j <= m; j++) print groups[i] " " kinds[j] }' |
    sort -u >"$SCRATCH/granted"
[ -s "$SCRATCH/asked" ] && cmp -s "$SCRATCH/asked" "$SCRATCH/granted" ||
    fault "control.yaml: its role is not what control asks for:" $(diff "$SCRATCH/asked" "$SCRATCH/granted" | grep '^[<>]')
[ "$(grep -c 'verbs:' "$CONTROL")" = "$(grep -c 'verbs: \[list, watch\]' "$CONTROL")" ] || fault "control.yaml: its role may do more than read"
sed -n '/^  control.yaml: |$/,/^---$/{s/^    //p}' "$CONTROL" >"$SCRATCH/control.yaml"
"$ISTHMUS" check "$SCRATCH/control.yaml" >"$SCRATCH/said" 2>&1 && grep -q '^1 object' "$SCRATCH/said" ||
    sed 's|^.*/control.yaml|config/deploy/control.yaml (its ConfigMap)|' "$SCRATCH/said" >>"$SCRATCH/faults"

# Packages are Debian's: where there are none, what is in the image cannot be looked up.
if command -v dpkg-query >/dev/null; then
    libraries=$(readelf -d "$ISTHMUS" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    # shellcheck disable=SC2046
    dpkg-query -S $(printf ' */%s' $libraries) >"$SCRATCH/owners" 2>/dev/null || true
    for library in $libraries; do
        packages=$(sed -n "s|^\([^:]*\):.*/$library\$|\1|p" "$SCRATCH/owners" | sort -u)
        case $packages in
        '' | libc6* | libgcc-s1* | libasan* | libubsan* | libclang*) continue ;;
        esac
        echo "$packages" | grep -qwFf - "$ROOT/config/deploy/Containerfile" ||
            fault "Containerfile: has none of the packages that hold $library:" $packages
    done
fi
finish
