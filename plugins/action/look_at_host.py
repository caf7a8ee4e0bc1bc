"""Action: log in to a host, become root and read its facts; what stands in the way is a result and no failure.

Ansible's own setup ends the run for a host that can't be reached, or where sudo wants a password, and what else is wrong with
it would be told only by the next run.

Returns:
  problems: a sentence with its remedy, or nothing.
  ansible_facts: those of ansible.builtin.setup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase

# The first that fits, in the words of ssh, sudo and Ansible.
REMEDIES = {
    r"Missing sudo password": "The account {user} needs its password for sudo: add --ask-become-pass, or set "
    "ansible_become_password in the vault.",
    r"Incorrect sudo password": "That is not the password of {user} there; --ask-become-pass asks for it.",
    r"not in the sudoers|may not run sudo|not allowed to execute": "{user} may not become root: as root, "
    "`adduser {user} sudo`, or name another ansible_user.",
    r"sudo: (command )?not found": "There is no sudo: as root, `apt install sudo`, or set ansible_user: root.",
    r"Permission denied": "The host does not let {user} in: `ssh-copy-id {address}` takes your key there; ansible_user names "
    "the account.",
    r"Host key verification failed|IDENTIFICATION HAS CHANGED": "Log in once by hand (`ssh {address}`) and compare its key with "
    "the provider's panel.",
    r"Could not resolve|Name or service not known": "The name is not known: look at ansible_host in the inventory's hosts.yml.",
    r"": "Try it by hand: `ssh {address}`; ansible_host, ansible_port and ansible_user stand in the inventory's hosts.yml.",
}


def told(text: str, address: str, user: str) -> str:
    """What stands in the way, in one line, and what to do."""
    words = " ".join(re.sub(r"(?s)^.*(Task failed|can be reached over ssh):", "", text).split()).rstrip(".")
    remedy = next(remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, text))
    return f"Ansible can't work on this host: {words}. {remedy.format(address=address, user=user)}"


def address_of(variables: Mapping[str, Any]) -> tuple[str, str]:
    """How a person would call the host for ssh, and the account there."""
    user = str(variables.get("ansible_user") or "your account")
    host = str(variables.get("ansible_host") or variables["inventory_hostname"])
    port = variables.get("ansible_port")
    return f"{f'-p {port} ' if port else ''}{f'{user}@' if ' ' not in user else ''}{host}", user


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible has no types
    """One look at one host."""

    _VALID_ARGS = frozenset[str]()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run ansible.builtin.setup, whatever becomes of it."""
        super().run(tmp, task_vars)
        given = task_vars or {}
        try:
            result = self._execute_module(module_name="ansible.builtin.setup", module_args={}, task_vars=given)
        except AnsibleError as error:
            result = {"failed": True, "msg": str(error)}
        if result.get("ansible_facts"):
            return {"changed": False, "problems": [], "ansible_facts": result["ansible_facts"]}
        module = " ".join(str(result.get(key) or "") for key in ("module_stderr", "module_stdout"))
        said = module.strip() or str(result.get("msg"))
        names = ("ansible_user", "ansible_host", "ansible_port", "inventory_hostname")
        variables = {name: self._templar.template(given[name]) for name in names if name in given}
        return {"changed": False, "problems": [told(said, *address_of(variables))]}
