# selftest_common.sh - running a check on a tree made for it.
HERE=$(cd "$(dirname "$0")" && pwd)
TREE=$(mktemp -d)
trap 'rm -rf "$TREE"' EXIT
FAILED=0

# file PATH: its content from standard input.
file()
{
    mkdir -p "$TREE/$(dirname "$1")"
    cat >"$TREE/$1"
}

# passes WHAT COMMAND...
passes()
{
    what=$1
    shift
    sh "$@" >"$TREE/output" 2>&1 && return 0
    echo "selftest: $what: should have passed, but:"
    cat "$TREE/output"
    FAILED=1
}

# fails COMMAND...: it does; what it says is for says().
fails()
{
    sh "$@" >"$TREE/output" 2>&1 || return 0
    echo "selftest: should have failed: $*"
    FAILED=1
}

# says SENTENCE...: the last that ran has said each of them.
says()
{
    for sentence; do
        grep -qF "$sentence" "$TREE/output" && continue
        echo "selftest: should have said: $sentence; but:"
        cat "$TREE/output"
        FAILED=1
    done
}

# finds SENTENCE COMMAND...: it fails and says this.
finds()
{
    wanted=$1
    shift
    fails "$@"
    says "$wanted"
}
