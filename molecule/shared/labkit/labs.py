"""A lab: an internal network, its hosts, and the way to reach them.

Names: network `sedai-LAB`, containers `sedai-LAB-HOST`. Hosts find each other by HOST, and
the mail provider also as mail.example.com. What the control node needs to log in lies in
`.lab/LAB/`: ssh_config, id_ed25519, known_hosts, ca.crt.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from labkit import images, mail
from labkit.system import CHECKOUT, STATE, LabError, exclusively, podman, run

ADMIN = "admin"
MAIL_HOST = "mail"
_LAB_LABEL = "sedai.lab"
_CHECKOUT_LABEL = "sedai.checkout"
# The first addresses of a network are the bridge's own.
_FIRST_ADDRESS = 10


@dataclass(frozen=True)
class Host:
    """One machine: its name in the lab, its image, and the ordinary user with sudo."""

    name: str
    image: str
    user: str = ADMIN


@dataclass(frozen=True)
class Lab:
    """A lab by name, whether it is up or not."""

    name: str

    @property
    def network(self) -> str:
        return f"sedai-{self.name}"

    @property
    def directory(self) -> Path:
        return STATE / self.name

    @property
    def ssh_config(self) -> Path:
        return self.directory / "ssh_config"

    def container(self, host: str) -> str:
        return f"sedai-{self.name}-{host}"


def parse_host(text: str) -> Host:
    """`NAME=IMAGE[:USER]` as the command line has it."""
    name, separator, image = text.partition("=")
    image, _, user = image.partition(":")
    if not (name and separator and image):
        raise LabError(f"--host {text!r} is not of the form NAME=IMAGE[:USER]")
    images.recipe(image)
    return Host(name, image, user or ADMIN)


def up(lab: Lab, hosts: Sequence[Host]) -> None:
    """Start the lab afresh; what an earlier run of the same checkout left is removed first.

    Raises LabError when another checkout has a lab of that name.
    """
    if not hosts:
        raise LabError("a lab without hosts; give --host NAME=IMAGE or --mail")
    images.build_missing(sorted({host.image for host in hosts}))
    with exclusively(f"lab-{lab.name}"):
        down(lab)
        lab.directory.mkdir(parents=True, mode=0o700)
        try:
            _start(lab, hosts)
        except LabError:
            down(lab)
            raise


def _start(lab: Lab, hosts: Sequence[Host]) -> None:
    addresses = _make_network(lab, hosts)
    _make_keys(lab)
    with ThreadPoolExecutor(len(hosts)) as pool:
        host_keys = list(pool.map(lambda host: _make_host(lab, host, addresses), hosts))
    _write_ssh_files(lab, hosts, addresses, host_keys)


def down(lab: Lab) -> bool:
    """Remove the lab and its state. Returns False when there was none.

    Raises LabError when it is another checkout's: whoever works there may be using it.
    """
    owner = _owner(lab)
    if owner is not None and owner != str(CHECKOUT) and Path(owner).is_dir():
        raise LabError(
            f"the lab {lab.name!r} belongs to the checkout {owner}; remove it there first: "
            + (f"make -C {shlex.quote(owner)} demo-down" if lab.name == "demo" else "make clean")
        )
    containers = _names("container", "ps", "--all", lab=lab)
    if containers:
        podman("rm", "--force", "--volumes", "--time", "0", *containers)
    if owner is not None:
        podman("network", "rm", "--force", lab.network)
    shutil.rmtree(lab.directory, ignore_errors=True)
    return owner is not None


def own_labs() -> list[Lab]:
    """The labs of this checkout that are up, whole or in part."""
    listed = podman(
        *("network", "ls", "--format", "{{.Name}}"),
        *("--filter", f"label={_CHECKOUT_LABEL}={CHECKOUT}"),
    )
    return [Lab(name.removeprefix("sedai-")) for name in listed.stdout.decode().split()]


def _owner(lab: Lab) -> str | None:
    """The checkout that made the lab, or None when there is no such lab."""
    found = podman("network", "inspect", lab.network, check=False)
    if found.returncode != 0:
        return None
    labels = json.loads(found.stdout)[0].get("labels") or {}
    return str(labels.get(_CHECKOUT_LABEL, "(unknown)"))


def _names(kind: str, *command: str, lab: Lab) -> list[str]:
    listed = podman(kind, *command, "--format", "{{.Names}}", "--filter", f"label={_LAB_LABEL}={lab.name}")
    return listed.stdout.decode().split()


def _labels(lab: Lab) -> tuple[str, ...]:
    return (
        *("--label", f"{_LAB_LABEL}={lab.name}"),
        *("--label", f"{_CHECKOUT_LABEL}={CHECKOUT}"),
    )


def _make_network(lab: Lab, hosts: Sequence[Host]) -> dict[str, str]:
    """An internal network in a subnet that podman finds free; the address of each host.

    Addresses are given out beforehand, so that /etc/hosts of each container can name all
    the others: no name server that could be late or answer for somebody else.
    """
    create = ("network", "create", "--internal", "--disable-dns", *_labels(lab))
    with exclusively("network"):
        podman(*create, lab.network)
        details = json.loads(podman("network", "inspect", lab.network).stdout)[0]
        subnet = ipaddress.ip_network(details["subnets"][0]["subnet"])
        # An internal network gives its bridge no address unless told to, and without one
        # this machine could not log in to the hosts.
        podman("network", "rm", lab.network)
        podman(*create, "--subnet", str(subnet), "--gateway", str(subnet[1]), lab.network)
    return {host.name: str(subnet[number]) for number, host in enumerate(hosts, start=_FIRST_ADDRESS)}


def _make_keys(lab: Lab) -> None:
    run(
        [
            *("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"sedai lab {lab.name}"),
            *("-f", str(lab.directory / "id_ed25519")),
        ]
    )
    mail.make_certificates(lab.directory, [mail.MAIL_DOMAIN_NAME, MAIL_HOST, lab.container(MAIL_HOST)])


def _make_host(lab: Lab, host: Host, addresses: dict[str, str]) -> str:
    """Start one container and make it reachable. Returns its public SSH host keys."""
    names = [
        f"--add-host={name}:{address}" for short, address in addresses.items() for name in (short, lab.container(short))
    ]
    if MAIL_HOST in addresses:
        names.append(f"--add-host={mail.MAIL_DOMAIN_NAME}:{addresses[MAIL_HOST]}")
    podman(
        *("run", "--detach", "--name", lab.container(host.name), "--hostname", host.name),
        *_labels(lab),
        *("--network", lab.network, "--ip", addresses[host.name], "--dns=none", *names),
        "--systemd=always",
        # An ordinary user's bubblewrap mounts its own /proc, as on a real machine.
        *("--security-opt", "unmask=ALL"),
        # Device nodes are among what is backed up; sudo and cron write audit records.
        *("--cap-add", "MKNOD,AUDIT_WRITE"),
        images.recipe(host.image).reference,
    )
    if host.image == "mail":
        mail.start_provider(lab.container(host.name), lab.directory)
        return ""
    public_key = (lab.directory / "id_ed25519.pub").read_text().strip()
    authority = (lab.directory / "ca.crt").read_text()
    script = _FIRST_BOOT.format(
        user=shlex.quote(host.user),
        public_key=shlex.quote(public_key),
        authority=shlex.quote(authority),
    )
    answer = podman("exec", "--interactive", lab.container(host.name), "sh", "-s", stdin=script.encode())
    return answer.stdout.decode()


# What a VPS provider does before handing a machine over: an account with the customer's
# key and sudo. And the lab's authority, as if it were one of those that everybody trusts.
_FIRST_BOOT = """set -eu
# Until the machine is up, systemd is still tidying /tmp under our feet.
tries=300
until systemctl is-active --quiet ssh 2>/dev/null && systemctl is-active --quiet cron 2>/dev/null; do
    tries=$((tries - 1))
    if [ $tries -eq 0 ]; then
        echo "ssh or cron does not come up: $(systemctl --failed --no-legend)" >&2
        exit 1
    fi
    sleep 0.1
done
useradd --create-home --shell /bin/bash {user}
echo {user} 'ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/lab
chmod 0440 /etc/sudoers.d/lab
install -d -o {user} -g {user} -m 0700 /home/{user}/.ssh
echo {public_key} >/home/{user}/.ssh/authorized_keys
chown {user}: /home/{user}/.ssh/authorized_keys
chmod 0600 /home/{user}/.ssh/authorized_keys
echo {authority} >/usr/local/share/ca-certificates/sedai-lab.crt
update-ca-certificates >/dev/null 2>&1
cat /etc/ssh/ssh_host_*_key.pub
"""


def _write_ssh_files(lab: Lab, hosts: Sequence[Host], addresses: dict[str, str], host_keys: Sequence[str]) -> None:
    known = lab.directory / "known_hosts"
    config = []
    with known.open("w") as file:
        for host, keys in zip(hosts, host_keys, strict=True):
            for kind, key, *_ in (line.split() for line in keys.splitlines()):
                file.write(f"{host.name},{addresses[host.name]} {kind} {key}\n")
            if keys:
                config.append(
                    # The container's name too: it is unique, and Ansible shares a connection by name.
                    f"Host {lab.container(host.name)} {host.name}\n"
                    f"  HostName {addresses[host.name]}\n"
                    f"  User {host.user}\n"
                    f"  IdentityFile {lab.directory / 'id_ed25519'}\n"
                    "  IdentitiesOnly yes\n"
                    f"  UserKnownHostsFile {known}\n"
                    "  StrictHostKeyChecking yes\n"
                )
    lab.ssh_config.write_text("".join(config))
