#!/bin/sh
# fresh_debian.sh - runs a command in a clone of this repository on a Debian 12 that has git and the base system only.
#
# It proves what the README says about a fresh machine. The tree is a debootstrap minbase with git, kept in the folder
# given by --base so that the next run starts from it; each run works on a copy that is removed at the end. The command
# runs as root in its own mount and PID namespaces with the tree as its root (pivot_root, not chroot, so that user
# namespaces work there too); when it ends, or is killed, whatever it started dies with it.
#
# What is cloned is the last commit: changes that are not committed are not in it.
set -eu

usage()
{
    cat <<USAGE
usage: tests/lab/fresh_debian.sh --base DIR [--mirror URL] [--work DIR] [-- COMMAND...]

  --base DIR     where the base tree is kept between runs; made when it is not there
  --mirror URL   Debian mirror (default: the one this machine's apt uses)
  --work DIR     where the copy is made (default: a new folder in the temporary directory)
  COMMAND        run in the clone (default: ./dev demo --check)

Needs root, debootstrap and git.
USAGE
}

fail()
{
    echo "fresh_debian.sh: $*" >&2
    exit 1
}

base='' mirror='' work=''
while [ $# -gt 0 ]; do
    case $1 in
    --base | --mirror | --work)
        [ $# -ge 2 ] || fail "$1 needs a value"
        case $1 in --base) base=$2 ;; --mirror) mirror=$2 ;; *) work=$2 ;; esac
        shift 2
        ;;
    -h | --help) usage; exit 0 ;;
    --) shift; break ;;
    *) usage >&2; exit 2 ;;
    esac
done
[ $# -gt 0 ] || set -- ./dev demo --check
[ -n "$base" ] || { usage >&2; exit 2; }
[ "$(id -u)" = 0 ] || fail "only root can make the tree and enter it"
for tool in debootstrap git unshare pivot_root; do
    command -v "$tool" >/dev/null || fail "$tool is not installed"
done

suite=bookworm
repository=$(cd "$(dirname "$0")/../.." && pwd)

# Prints the address from which this machine's apt takes a suite; nothing when it has none.
mirror_of()
{
    apt-get indextargets --format '$(CODENAME) $(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$1" '$1 == suite && $3 == "main" { print $2; exit }'
}

[ -n "$mirror" ] || mirror=$(mirror_of $suite)
[ -n "$mirror" ] || fail "this machine's apt has no mirror for $suite; name one with --mirror"

if [ ! -e "$base/.complete" ]; then
    rm -rf "$base.new"
    mkdir -p "$base.new"
    debootstrap --variant=minbase --include=git,ca-certificates $suite "$base.new" "$mirror"
    echo "deb $mirror $suite main" >"$base.new/etc/apt/sources.list"
    for more in $suite-updates $suite-security; do
        from=$(mirror_of "$more")
        [ -z "$from" ] || echo "deb $from $more main" >>"$base.new/etc/apt/sources.list"
    done
    apt-config dump | grep -E '^Acquire::https?::Proxy ' >"$base.new/etc/apt/apt.conf.d/90proxy" || true
    rm -rf "$base.new/var/cache/apt/archives/"*.deb
    touch "$base.new/.complete"
    rm -rf "$base"
    mv "$base.new" "$base"
fi

[ -n "$work" ] || work=$(mktemp -d "${TMPDIR:-/tmp}/fresh-debian.XXXXXX")
mkdir -p "$work/root"
# The mounts live in the namespace of the command and are gone by then; --one-file-system is the belt to that brace.
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cp -a --reflink=auto "$base/." "$work/root/"
cp -L /etc/resolv.conf "$work/root/etc/resolv.conf"
# The installer writes this file, debootstrap does not.
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$work/root/etc/hosts"
git -c safe.directory='*' clone -q --no-hardlinks "$repository" "$work/root/root/isthmus"

unshare --mount --pid --fork --kill-child=SIGKILL --propagation private sh -eu -c '
    root=$1
    shift
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mount -t tmpfs tmpfs run
    mount -t tmpfs tmpfs tmp
    mkdir -p .old
    pivot_root . .old
    umount -l /.old
    cd /root/isthmus
    exec env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 CI="${CI:-}" \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
' sh "$work/root" "$@"
