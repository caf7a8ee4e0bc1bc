"""Action: find everything that is wrong with the settings of a role, and change nothing.

An action and not tasks, since a template that can't be filled in ends a task: here it is one problem among others, and
whatever else is wrong is found in the same run. It works on the control node alone, so that it finds the same for a host
that nobody can log in to.

It belongs into a role, whose meta/argument_specs.yml and defaults/main.yml it reads. Arguments:
  settings, machine: names of variables, each a list of Jinja expressions whose values are lists of sentences. One of the
    settings that can't be evaluated is passed over where a type is wrong or the host's facts are missing; those about the
    machine are left out where the facts are.
  offered: names of facts that begin with the role's name and are no settings.

Returns:
  problems: a sentence each, with its remedy. A value that somebody set is never part of one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.module_utils.common.validation import check_type_bool, check_type_int
from ansible.plugins.action import ActionBase

Option = Mapping[str, Any]
MISSING = "is missing"


def _insist(*kinds: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError
        return value

    return check


# Stricter than Ansible's own check: that one takes "a,b" for a list, but hands it to the role as the text it is.
TYPES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "str": ("text", _insist(str, int, float)),
    "path": ("a path", _insist(str)),
    "int": ("a whole number", check_type_int),
    "bool": ("true or false", check_type_bool),
    "list": ("a list", _insist(list, tuple)),
    "dict": ("a set of keys with values", _insist(Mapping)),
}


def nearest(name: str, valid: Iterable[str]) -> str:
    """A question about the valid name that was probably meant, or nothing."""
    found = difflib.get_close_matches(name, sorted(valid), n=1, cutoff=0.65)
    return f" Is it {found[0]}?" if found else ""


def wrong(name: str, value: Any, option: Option) -> Iterator[str]:
    """What is wrong with the type of a value, and of those in it."""
    words, check = TYPES[option.get("type", "str")]
    try:
        checked = check(value)
    except TypeError:
        yield f"{name} must be {words}."
        return
    if "choices" in option and checked not in option["choices"]:
        yield f"{name} must be one of: {', '.join(map(str, option['choices']))}."
    if option.get("type") == "list" and "elements" in option:
        for number, element in enumerate(checked, start=1):
            yield from wrong(
                f"{name}, entry {number}", element, {**option, "type": option["elements"], "elements": None}
            )
    elif option.get("type") == "dict" and "options" in option:
        yield from wrong_keys(name, checked, option["options"])


def wrong_keys(name: str, given: Mapping[str, Any], options: Mapping[str, Option]) -> Iterator[str]:
    """What is wrong with the keys of a value."""
    for key in given:
        if key not in options:
            yield f"{name} has {key}, which is unknown.{nearest(key, options) or ' There is: ' + ', '.join(options) + '.'}"
    for key, option in options.items():
        if given.get(key) is not None:
            yield from wrong(f"{name}: {key}", given[key], option)
        elif option.get("required"):
            yield f"{name} has no {key}."


def unknown(role: str, names: set[str], valid: set[str]) -> Iterator[tuple[str, str]]:
    """Variables that look like the role's, and are none: most often a slip of the fingers, and without any effect."""
    prefix = f"{role}_"
    meant = {name.removeprefix(prefix) for name in valid}
    for name in sorted(names - valid):
        if name.startswith(prefix):
            question = nearest(name.removeprefix(prefix), meant).replace(" Is it ", f" Is it {prefix}")
            yield name, f"{name} is no setting of sedai.{question or f' roles/{role}/README.md lists them all.'}"


def merge(by_variable: Mapping[str, list[str]], sentences: list[str], options: Mapping[str, Option]) -> list[str]:
    """All problems, each said once.

    The role's own sentence has the remedy, so that it goes before "must be a whole number"; but of a list that is none, or of a
    set of keys, it speaks nonsense.
    """
    found = []
    for name, problems in by_variable.items():
        whole = [problem for problem in problems if problem.startswith(f"{name} ")]
        own = [sentence for sentence in sentences if re.search(rf"\b{name}\b", sentence)]
        if own and whole and options.get(name, {}).get("type") in ("list", "dict") and MISSING not in whole[0]:
            sentences = [sentence for sentence in sentences if sentence not in own]
            own = []
        found += [problem for problem in problems if not (own and problem in whole)]
    return list(dict.fromkeys([*found, *sentences]))


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible has no types
    """One look at one role's settings for one host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset(("settings", "machine", "offered"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look at all settings, then ask the role's own expressions."""
        super().run(tmp, task_vars)
        given = task_vars or {}
        if self._task._role is None:
            raise AnsibleActionFail("find_problems belongs into a role")
        role, place = self._task._role.get_name(), Path(given["role_path"])
        options = self._load(place / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
        defaults = self._load(place / "defaults/main.yml")
        by_variable = {
            name: found
            for name, option in options.items()
            if (found := self._of_variable(name, option, given, defaults))
        }
        valid = set(options) | set(self._task.args.get("offered", []))
        for name, problem in unknown(role, set(map(str, given)), valid):
            by_variable[name] = [problem]
        facts = bool(given.get("ansible_facts"))
        sentences = self._sentences(given[self._task.args["settings"]], tolerant=bool(by_variable) or not facts)
        if facts and "machine" in self._task.args:
            sentences += self._sentences(given[self._task.args["machine"]], tolerant=bool(by_variable))
        return {"changed": False, "problems": merge(by_variable, sentences, options)}

    def _load(self, path: Path) -> Any:
        return self._loader.load_from_file(str(path)) or {}

    def _of_variable(
        self, name: str, option: Option, given: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> list[str]:
        is_default = name in defaults and given.get(name) == defaults[name]
        if is_default and "{{" not in str(defaults[name]):
            return []
        try:
            value = self._templar.template(given.get(name))
        except AnsibleError as error:
            if is_default:  # it is made of a host's facts, of which there may be none
                return []
            return [f"{name} can't be filled in: {str(error).splitlines()[0]}"]
        if value is None:
            return [f"{name} {MISSING}; set it in group_vars."] if option.get("required") else []
        return list(wrong(name, value, option))

    def _sentences(self, expressions: list[Any], *, tolerant: bool) -> list[str]:
        said: list[str] = []
        for expression in expressions:
            try:
                said += map(str, self._templar.template(expression))
            except (AnsibleError, TypeError):
                if not tolerant:
                    raise
        return said
