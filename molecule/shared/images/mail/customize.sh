#!/bin/sh
# mmdebstrap customize hook of the mail provider. $1: the root directory of the image.
set -eu
root=$1
here=$(cd "$(dirname "$0")" && pwd)

chroot "$root" groupadd --gid 5000 vmail
chroot "$root" useradd --uid 5000 --gid 5000 --home-dir /var/mail/example.com --no-create-home \
    --shell /usr/sbin/nologin vmail
install -d -o 5000 -g 5000 -m 0700 "$root/var/mail/example.com"
install -d -m 0755 "$root/etc/lab"
install -m 0644 "$here/main.cf" "$here/master.cf" "$here/mailboxes" "$root/etc/postfix/"
rm -rf "$root"/etc/dovecot/*
install -m 0644 "$here/dovecot.conf" "$root/etc/dovecot/dovecot.conf"
rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
: >"$root/etc/resolv.conf"

# Certificate and password come when a lab starts; until then there is nothing to serve.
for unit in postfix@- dovecot; do
    mkdir -p "$root/etc/systemd/system/$unit.service.d"
    printf '[Unit]\nConditionPathExists=/etc/lab/mail.crt\n' \
        >"$root/etc/systemd/system/$unit.service.d/lab.conf"
done
