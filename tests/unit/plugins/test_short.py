"""The short output of a playbook, by real runs: what a person reads, and what nobody may read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from play_runs import SECRET, Run

CHANGE = {"ansible.builtin.copy": {"content": "new\n", "dest": "{{ place }}/{{ item }}", "mode": "0600"}}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs tasks on this machine."""
    return Run(tmp_path)


def test_a_line_a_change_and_none_for_the_rest(run: Run) -> None:
    tasks = (
        {"name": "write | Two files", **CHANGE, "loop": ["one", "two"]},
        {"name": "write | Nothing", "ansible.builtin.command": "true", "changed_when": False},
        {"name": "write | Never", "ansible.builtin.command": "false", "when": False},
        {"name": "say | It", "ansible.builtin.debug": {"msg": ['First: "quoted",', "second\nthird"]}},
    )
    assert run(*tasks).splitlines() == [
        "Try it",
        "  changed localhost: write | Two files (one, two)",
        '  First: "quoted",',
        "  second",
        "  third",
        "",
        "RECAP",
        "  localhost  changed=1  failed=0",
    ]
    assert "changed=0  failed=0" in run(*tasks)


def test_verbose_is_the_usual_output(run: Run) -> None:
    output = run({"name": "Write it", **CHANGE, "loop": ["one"]}, arguments=("-v",))
    for words in (
        "PLAY [Try it] ***",
        "TASK [Write it] ***",
        "changed: [localhost] => (item=one) =>",
        "PLAY RECAP ***",
        "ok=1 ",
    ):
        assert words in output


def test_differences_are_shown_below_what_they_belong_to(run: Run) -> None:
    run({"name": "Write it", "ansible.builtin.copy": {"content": "old\n", "dest": "{{ place }}/one", "mode": "0600"}})
    task = {"name": "Write it", **CHANGE, "loop": ["one", "two"]}
    output = run(task, arguments=("--check", "--diff"))
    assert output.startswith(
        "Try it (only a look, nothing is changed)\n  would change localhost: Write it (one, two)\n--- before: "
    )
    assert "\n-old\n+new\n" in output
    assert not (run.directory / "two").exists()
    output = run(task | {"no_log": True}, arguments=("--check", "--diff"))
    assert "new" not in output and "old" not in output
    assert "would change localhost: Write it\n" in output


def test_a_failure_is_told_in_lines(run: Run) -> None:
    output = run({"name": "refuse | It", "ansible.builtin.fail": {"msg": ['One "reason".', "Another: é"]}}, expect=2)
    assert '  FAILED localhost: refuse | It\n      One "reason".\n      Another: é\n' in output
    assert output.endswith("  localhost  changed=0  failed=1\n")


@pytest.mark.parametrize("task, words", [
    ({"ansible.builtin.command": {"argv": ["sh", "-c", "seq 30; echo its reason >&2; exit 3"]}},
     ["non-zero return code", "its reason", "11", "30"]),
    ({"ansible.builtin.command": "true", "loop": [1, 2], "failed_when": "item == 2"}, ["FAILED localhost: Do it (2)"]),
    ({"ansible.builtin.debug": {"msg": "{{ nowhere }}"}}, ["'nowhere' is undefined"]),
    ({"ansible.builtin.file": {"path": "/proc/nowhere/at/all", "state": "touch"}}, ["not touch", "No such file or directory"]),
])  # fmt: skip
def test_whatever_fails_says_why(run: Run, task: dict[str, Any], words: list[str]) -> None:
    output = run({"name": "Do it"} | task, expect=2)
    for word in words:
        assert word in output
    assert "      10\n" not in output, "the end of what it said is enough"
    assert "Traceback" not in output


def test_a_directory_that_ansible_makes_for_itself_is_no_warning(run: Run) -> None:
    task = {
        "name": "Write it",
        "ansible.builtin.lineinfile": {"path": "{{ place }}/one", "line": "x", "create": True},
        "vars": {"ansible_remote_tmp": f"{run.directory}/not/there", "ansible_pipelining": True},
    }
    run(task)  # which takes no warning
    assert (run.directory / "not/there").is_dir()


@pytest.mark.parametrize("arguments", [(), ("-v",), ("-vvv", "--diff")])
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("loop", [False, True])
def test_what_is_not_logged_is_not_shown(run: Run, arguments: tuple[str, ...], failing: bool, loop: bool) -> None:
    task = {
        "name": "Use it",
        "ansible.builtin.shell": f"echo {{{{ secret }}}}; echo {{{{ secret }}}} >&2; exit {3 if failing else 0}",
        "no_log": True,
    } | ({"loop": ["{{ secret }}"]} if loop else {})  # fmt: skip
    output = run(task, arguments=arguments, expect=2 if failing else 0)
    assert "Use it" in output
    assert SECRET not in output
    if failing and not arguments:
        assert "(no_log)" in output


def test_what_is_waited_for_is_said_once(run: Run) -> None:
    task = {
        "name": "wait | For the other",
        "ansible.builtin.command": {
            "argv": ["sh", "-c", "echo x >>{{ place }}/tries; test $(wc -l <{{ place }}/tries) = 3"]
        },
        "register": "tried",
        "until": "tried.rc == 0",
        "retries": 5,
        "delay": 0,
        "changed_when": False,
    }
    assert run(task).splitlines()[1:-3] == ["  waiting localhost: wait | For the other"]


def test_a_host_that_is_not_there(run: Run) -> None:
    task = {
        "name": "Look",
        "ansible.builtin.ping": {},
        "vars": {"ansible_connection": "ssh", "ansible_host": "nowhere.invalid"},
    }
    output = run(task, expect=4)
    assert "  UNREACHABLE localhost: Look\n      " in output
    assert "nowhere.invalid" in output
    assert "changed=0  failed=0  unreachable=1" in output
