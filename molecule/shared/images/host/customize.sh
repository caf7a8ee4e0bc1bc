#!/bin/sh
# mmdebstrap customize hook of the machines that the roles are tried on.
# $1: the root directory of the image. Network is there now and never again: what the roles
# install later comes from a small apt repository inside the image.
set -eu
root=$1
packages=/usr/local/share/lab-packages

in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"; }

# Recommended packages too: a role that forgets `install_recommends: false` must really
# drag them in, or no test could see it.
download() { in_root apt-get install --yes --quiet --download-only --install-recommends "$@"; }

download msmtp msmtp-mta mailutils bubblewrap rsync libdeflate0 python3-xxhash python3-croniter python3-jinja2 python3-prometheus-client python3-pathspec python3-rich \
    ca-certificates logrotate cron sudo acl attr openssh-client openssh-server
# Another MTA, for the hosts that have one before we come. It conflicts with msmtp-mta.
download postfix
# Database servers, for the hosts that have some before we come. No role installs them, so the
# recommended packages (mailx, sysstat, perl modules of CGI) would only be weight.
download --no-install-recommends postgresql mariadb-server sqlite3
# What the fault suites break things with: wrong clocks, bad networks, and other file systems.
download --no-install-recommends libfaketime nftables xfsprogs btrfs-progs

mkdir -p "$root$packages"
mv "$root"/var/cache/apt/archives/*.deb "$root$packages"
(cd "$root$packages" && apt-ftparchive packages . >Packages)
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
echo "deb [trusted=yes] file:$packages ./" >"$root/etc/apt/sources.list.d/lab.list"
in_root apt-get update --quiet
# The builder's name server is no use inside a lab; hosts know each other from /etc/hosts.
: >"$root/etc/resolv.conf"

# Not for a machine that is thrown away: waiting for the disk, and apt's own timers, which
# would hold the package lock at the wrong moment.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/lab"
ln -sf /dev/null "$root/etc/systemd/system/apt-daily.timer"
ln -sf /dev/null "$root/etc/systemd/system/apt-daily-upgrade.timer"

# Each container makes its own host keys; an image must not share them.
rm -f "$root"/etc/ssh/ssh_host_*
mkdir -p "$root/etc/systemd/system/ssh.service.d"
cat >"$root/etc/systemd/system/ssh.service.d/lab.conf" <<'UNIT'
[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
UNIT
