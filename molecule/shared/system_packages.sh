#!/bin/sh
# Install the Debian packages that the control node needs, and those named; `lab` names all that the lab and the tests need.
# Quick, silent and without root when all are there; otherwise it says what is missing and stops when that
# can't be had.
set -eu

wanted="python3-venv openssh-client ca-certificates"
for name; do
    # netavark wants iptables or nft by release; runc serves hosts that crun refuses; apt-utils
    # indexes the packages inside the images; shellcheck is a linter without a Python package; man
    # and zsh read what files/ has for them.
    [ "$name" != lab ] || name="podman runc netavark iptables nftables
        mmdebstrap apt-utils debian-archive-keyring openssl rsync bubblewrap shellcheck git
        man-db zsh"
    wanted="$wanted $name"
done

die() {
    echo "setup: $*" >&2
    exit 3
}

missing=""
for package in $wanted; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=none
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

command -v apt-get >/dev/null || die "this is no Debian; install what these packages have:$missing"
if [ "$(id -u)" -eq 0 ]; then
    as_root=""
else
    command -v sudo >/dev/null || die "neither root nor sudo; as root: apt-get install$missing"
    as_root=sudo
fi

echo "setup: installing$missing"
$as_root apt-get update --quiet=2 || die "apt-get update failed (its words are above)"
for package in $missing; do
    apt-cache show "$package" >/dev/null 2>&1 || die "no package $package in the configured Debian archives"
done
# shellcheck disable=SC2086 # a list of names
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends $missing >/dev/null ||
    die "apt-get could not install:$missing"
