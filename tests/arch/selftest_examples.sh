# selftest_examples.sh ROOT ISTHMUS - examples.sh and deploy.sh find what they are for, in a copy of what they look at.
set -eu
. "$(dirname "$0")/selftest_common.sh"
ROOT=$1
ISTHMUS=$2

good_tree()
{
    rm -rf "$TREE/r"
    mkdir -p "$TREE/r/docs" "$TREE/r/proxy/run" "$TREE/r/xds/kubernetes"
    cp -r "$ROOT/config" "$TREE/r/config"
    cp "$ROOT/proxy/run/privileges.c" "$TREE/r/proxy/run"
    cp "$ROOT/xds/kubernetes/kinds.c" "$TREE/r/xds/kubernetes"
    file r/docs/page.md <<'END'
A piece of a configuration, fenced:

```yaml
tracing:
  otlp: http://collector.example/v1/traces
```

An object, set in, and what is none:

    apiVersion: v1
    kind: Namespace

    metadata: {name: shop}

Then

    $ isthmus check
END
}

good_tree
for check in examples deploy; do
    passes "$check of a good tree" "$HERE/$check.sh" "$TREE/r" "$ISTHMUS"
done

sed -i 's/otlp: .*/otlp: nowhere/; s/metadata: {name: shop}/metadata: {name: Shop}/' "$TREE/r/docs/page.md"
sed -i 's/^workers: 0/workers: many/; /spliceAfterBytes:/d' "$TREE/r/config/examples/proxy.yaml"
fails "$HERE/examples.sh" "$TREE/r" "$ISTHMUS"
says 'docs/page.md:4.yaml (put in place):' 'tracing.otlp' 'docs/page.md:10.yaml:4:18: error: ' 'workers: "many"' \
    'none has the key spliceAfterBytes'

good_tree
: >"$TREE/r/docs/page.md"
fails "$HERE/examples.sh" "$TREE/r" "$ISTHMUS"
says 'no YAML was found in docs/'

good_tree
sed -i 's/add: \[.*\]/add: [SYS_ADMIN]/; s/terminationGracePeriodSeconds: 30/terminationGracePeriodSeconds: 20/; s/cluster: west/clutser: west/
    s/containerPort: 15020/containerPort: 15000/; s/memory: 512Mi/memory: 256Mi/' "$TREE/r/config/deploy/proxy.yaml"
sed -i 's/libssl3//' "$TREE/r/config/deploy/Containerfile"
sed -i 's/, grpcroutes//; s/kubernetes: {}/kubernetes: {servr: x}/' "$TREE/r/config/deploy/control.yaml"
fails "$HERE/deploy.sh" "$TREE/r" "$ISTHMUS"
says 'proxy.yaml: it adds SYS_ADMIN' 'its ports are not' 'it is killed before' 'clutser' 'is not 80 %' \
    'its role is not what control asks for: < gateway.networking.k8s.io grpcroutes' 'kubernetes.servr'

good_tree
sed -i '0,/verbs: \[list, watch\]/s//verbs: [list, watch, delete]/' "$TREE/r/config/deploy/control.yaml"
fails "$HERE/deploy.sh" "$TREE/r" "$ISTHMUS"
says 'its role may do more than read'

good_tree
sed -i 's/libssl3//' "$TREE/r/config/deploy/Containerfile"
fails "$HERE/deploy.sh" "$TREE/r" "$ISTHMUS"
if command -v dpkg-query >/dev/null; then
    says 'Containerfile: has none of the packages that hold libssl.so.3: libssl3'
fi

exit $FAILED
