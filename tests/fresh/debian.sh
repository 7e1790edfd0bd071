#!/usr/bin/env bash
# What someone sees on a bare Debian: clone, then `make demo` and `make test` (or the targets named), with times.
#
#   tests/fresh/debian.sh [TARGET ...]
#
# SUITE is bookworm by default; testing has a newer Python. WORK is a folder to keep the system in for the next time.
#
# It needs root and debootstrap. Of this machine it takes the mirror of apt, the certificates and what pip is told.
# All mounts are made in a namespace of their own: they end with the script, however it ends.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
suite=${SUITE:-bookworm}
packages=ca-certificates,python3,python3-venv,make,git
targets=("$@")
[ $# -gt 0 ] || targets=(demo test)

if [ -z "${QREFINE_FRESH_ROOT:-}" ]; then
    folder=${WORK:-$(mktemp -d)}
    [ -n "${WORK:-}" ] || trap 'rm -rf --one-file-system "$folder"' EXIT
    export QREFINE_FRESH_ROOT=$folder/$suite
    if [ ! -e "$QREFINE_FRESH_ROOT/.ready" ]; then
        mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
        script=/usr/share/debootstrap/scripts/$suite
        [ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid # a suite newer than this debootstrap
        debootstrap --variant=minbase --include="$packages" "$suite" "$QREFINE_FRESH_ROOT" \
            "${mirror:-http://deb.debian.org/debian}" "$script"
        touch "$QREFINE_FRESH_ROOT/.ready"
    fi
    unshare --mount --pid --fork --kill-child "$0" "${targets[@]}"
    exit
fi

root=$QREFINE_FRESH_ROOT
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

# pip.conf: what pip goes by here; the indexes, wheels and constraints it names on this machine are shown inside
{
    echo '[global]'
    python3 -m pip config list | sed -nE "s/^[^.]*\.([a-z-]+)='(.*)'\$/\1 = \2/p" | sed 's/\\n/ /g' | awk '!seen[$1]++'
} > "$root/etc/pip.conf"
grep -oE '(file://)?/[^ ]+' "$root/etc/pip.conf" | grep -v '^//' | while read -r path; do
    case $path in
    file://*) path=$(dirname "${path#file://}") ;; # an index refers to files beside it
    esac
    if [ -d "$path" ]; then
        mkdir -p "$root$path"
        mount --bind "$path" "$root$path"
    elif [ -f "$path" ]; then
        install -D -m 644 "$path" "$root$path"
    fi
done

rm -rf "$root/root/qrefine"
git clone --quiet "$repository" "$root/root/qrefine"
for target in "${targets[@]}"; do
    started=$SECONDS
    status=0
    env -i HOME=/root PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        chroot "$root" sh -c 'cd ~/qrefine && exec make "$1"' sh "$target" || status=$?
    echo "make $target: exit status $status after $((SECONDS - started)) s"
    [ "$status" = 0 ] || exit "$status"
done
