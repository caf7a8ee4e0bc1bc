"""Callback: what a playbook did, short and in words: a line a change, the reasons of what failed, the messages as text.

`-v` brings back Ansible's own output. What `no_log` hides stays hidden: this plugin gets no more to see than Ansible's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible import constants
from ansible.plugins.callback.default import CallbackModule as DefaultCallback

DOCUMENTATION = """
    name: short
    type: stdout
    short_description: a line a change, and the reasons of what failed
    description:
      - For people who run the project's playbooks. With C(-v) it is Ansible's own output.
    extends_documentation_fragment:
      - default_callback
      - result_format_callback
    requirements:
      - set as stdout in configuration
"""

# The words of a failed command that are shown, from its end.
LINES_OF_OUTPUT = 20
HIDDEN = "What it says is hidden, because it may hold a secret (no_log)."
DEBUG = ("debug", "ansible.builtin.debug")


def lines(value: Any) -> Iterator[str]:
    """A message as lines: a list is one message a line."""
    for part in value if isinstance(value, list | tuple) else [value]:
        yield from str(part).rstrip().splitlines()


def causes(exception: Any) -> Iterator[str]:
    """What caused an error, and what caused that; the error itself is the result's message."""
    event = getattr(exception, "event", None)
    while chain := getattr(event, "chain", None):
        event = chain.event
        if event.msg not in ("Action failed.", "Module failed."):
            yield event.msg


def reasons(result: Mapping[str, Any], exception: Any) -> list[str]:
    """Why something failed, in lines: its message with the causes, and the last words of a command."""
    if "censored" in result:
        return [HIDDEN]
    told = list(lines(result.get("msg", "")))
    for cause in causes(exception):
        if cause not in "\n".join(told) and cause != str(result.get("msg")):
            told += lines(cause)
    for key in ("module_stderr", "module_stdout", "stderr", "stdout"):
        words = [line for line in lines(result.get(key, "")) if line not in told]
        told += words[-LINES_OF_OUTPUT:]
    return told or ["It does not say why; run it again with -v."]


def counts(summary: Mapping[str, int]) -> str:
    """A host's line of the recap: what changed and failed always, the rest where it happened."""
    shown = {"changed": summary["changed"], "failed": summary["failures"]}
    shown |= {name: summary[name] for name in ("unreachable", "rescued", "ignored") if summary[name]}
    return "  ".join(f"{name}={count}" for name, count in shown.items())


class CallbackModule(DefaultCallback):  # type: ignore[misc]  # ansible has no types
    """Ansible's own output where it is asked for, else the short one."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "short"

    def __init__(self) -> None:
        super().__init__()
        self._differences: list[str] = []
        self._waiting: set[tuple[str, str]] = set()

    @property
    def _usual(self) -> bool:
        return bool(self._display.verbosity)

    def _say(self, text: str, color: str | None = None, indent: int = 0) -> None:
        self._display.display(f"{' ' * indent}{text}".rstrip(), color=color)

    def _line(self, word: str, result: Any, color: str, label: str = "") -> None:
        self._say(
            f"{word} {self.host_label(result)}: {result.task.get_name()}{f' ({label})' if label else ''}", color, 2
        )

    def _failed(self, word: str, result: Any, color: str, label: str = "") -> None:
        self._line(word, result, color, label)
        for line in reasons(result.result, result.exception):
            self._say(line, color, 6)

    def _handle_warnings(self, res: Any) -> None:
        """But for the one about a directory of root's own, which nobody can act on and everybody would see once."""
        if not self._usual and all("Module remote_tmp" in str(one) for one in res.get("warnings") or ()):
            res.pop("warnings", None)
        super()._handle_warnings(res)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        if self._usual:
            super().v2_playbook_on_play_start(play)
            return
        self._play = play
        self._say(f"{play.get_name().strip()}{' (only a look, nothing is changed)' if play.check_mode else ''}")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        if self._usual:
            super().v2_playbook_on_task_start(task, is_conditional)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        if self._usual:
            super().v2_playbook_on_handler_task_start(task)

    def v2_playbook_on_include(self, included_file: Any) -> None:
        if self._usual:
            super().v2_playbook_on_include(included_file)

    def v2_runner_on_skipped(self, result: Any) -> None:
        if self._usual:
            super().v2_runner_on_skipped(result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        if self._usual:
            super().v2_runner_item_on_skipped(result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        if self._usual:
            super().v2_runner_item_on_ok(result)
        else:
            self._handle_warnings(result.result)

    def v2_on_file_diff(self, result: Any) -> None:
        """Keep the differences for the line that says what they belong to."""
        if self._usual:
            super().v2_on_file_diff(result)
            return
        for one in result.result.get("results", [result.result]):
            if one.get("changed") and (difference := self._get_diff(one["diff"]) if one.get("diff") else ""):
                self._differences.append(difference)

    def v2_runner_on_ok(self, result: Any) -> None:
        if self._usual:
            super().v2_runner_on_ok(result)
            return
        self._handle_warnings(result.result)
        if result.task.action in DEBUG:
            for line in lines(result.result.get("msg", "")):
                self._say(line, None, 2)
        elif result.result.get("changed"):
            items = [one for one in result.result.get("results", []) if one.get("changed") and "censored" not in one]
            label = ", ".join(str(self._get_item_label(one)) for one in items)
            word = "would change" if result.task.check_mode else "changed"
            self._line(word, result, constants.COLOR_CHANGED, label)
            for difference in self._differences:
                self._display.display(difference.rstrip("\n"))
        self._differences = []

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if self._usual:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        self._handle_warnings(result.result)
        if "results" not in result.result:  # else each item that failed has been told
            self._failed("FAILED", result, constants.COLOR_ERROR)
        self._differences = []

    def v2_runner_item_on_failed(self, result: Any) -> None:
        if self._usual:
            super().v2_runner_item_on_failed(result)
            return
        self._handle_warnings(result.result)
        self._failed("FAILED", result, constants.COLOR_ERROR, str(self._get_item_label(result.result)))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        if self._usual:
            super().v2_runner_on_unreachable(result)
        elif not result.task.ignore_unreachable:
            self._failed("UNREACHABLE", result, constants.COLOR_UNREACHABLE)

    def v2_runner_retry(self, result: Any) -> None:
        """Say once what is waited for."""
        if self._usual:
            super().v2_runner_retry(result)
            return
        waiting = (self.host_label(result), result.task._uuid)
        if waiting not in self._waiting:
            self._waiting.add(waiting)
            self._line("waiting", result, constants.COLOR_VERBOSE)

    def v2_playbook_on_no_hosts_remaining(self) -> None:
        if self._usual:
            super().v2_playbook_on_no_hosts_remaining()

    def v2_playbook_on_stats(self, stats: Any) -> None:
        if self._usual:
            super().v2_playbook_on_stats(stats)
            return
        self._say("")
        self._say("RECAP")
        width = max(map(len, stats.processed), default=0)
        for host in sorted(stats.processed):
            summary = stats.summarize(host)
            bad = summary["failures"] or summary["unreachable"]
            color = (
                constants.COLOR_ERROR if bad else constants.COLOR_CHANGED if summary["changed"] else constants.COLOR_OK
            )
            self._say(f"{host:{width}}  {counts(summary)}", color, 2)
