"""Action: ask a person one question after another, and have each answer judged before the next.

An action and not tasks: it has to go back to a question, and to say what is wrong beside it, without a dozen lines of
Ansible between two questions. What is asked and said stands in vars/main.yml, what is right in library/check_answer.py.

Arguments:
  questions: list of {name, ask: {LANGUAGE: text}, default, secret, if_needed, tells, unattended, needs: [names]} in their order.
    if_needed: asked only when no answer at all is refused. tells: why it is refused is a part of the question. unattended: the
    answer where nobody is there. needs: questions without whose answer this one can't be judged.
  given: name -> what was given beforehand; it is not asked unless it is wrong.
  earlier: name -> what is in use.
  words: key -> {LANGUAGE: sentence}, with {detail} in braces.
  ask: whether to ask at all. Where there is no terminal nobody is asked.
  ssh_arguments, probe: for check_answer.

Returns:
  problems: what is wrong, a sentence each; empty when all is well.
  answers: name -> text, when all is well.
  found: what else came to light: vps_name, the server's true name; vps_way, ssh's option for a jump host on the way there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsiblePromptInterrupt, AnsiblePromptNoninteractive
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

Question = Mapping[str, Any]
BACK = "<"


class NobodyThereError(Exception):
    """There is no terminal, or nothing is to be asked."""


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible has no types
    """One interview."""

    _VALID_ARGS = frozenset(("questions", "given", "earlier", "words", "ask", "ssh_arguments", "probe"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Ask until all answers are right, or nobody is there to mend one."""
        super().run(tmp, task_vars)
        if not self._task.no_log:
            raise AnsibleActionFail("interview carries passwords: give its task no_log: true")
        self.task_vars = task_vars
        self.questions: list[Question] = self._task.args["questions"]
        self.given = texts(self._task.args["given"])
        self.earlier = texts(self._task.args["earlier"])
        self.answers: dict[str, str] = {}
        self.probable: dict[str, str] = {}
        self.language = self.given.get("language") or self.suggestion(self.questions[0])
        try:
            problems = self.interview()
        except AnsiblePromptInterrupt:
            problems = [self.say("interrupted")]
        return {
            "changed": False,
            "problems": problems,
            "answers": {} if problems else self.answers,
            "found": self.probable,
        }

    def interview(self) -> list[str]:
        """Go through the questions, back where a person wants to; returns what stays wrong."""
        problems: list[str] = []
        asked: list[int] = []
        place = 0
        back = False
        while place < len(self.questions):
            question = self.questions[place]
            try:
                outcome = self.settle(question, anew=back)
            except NobodyThereError as error:
                problems += [str(error)] if str(error) else []
                outcome = "settled"
            back = outcome == "back" and bool(asked)
            if back:
                place = asked.pop()
                continue
            if outcome == "asked":
                asked.append(place)
            place += outcome != "back"
        return problems

    def settle(self, question: Question, *, anew: bool) -> str:
        """Get one right answer: "settled" without a question, "asked", or "back". NobodyThereError: what is wrong."""
        name = question["name"]
        why = self.judge(question, "") if question.get("if_needed") else ""
        if question.get("if_needed") and not why:
            return "settled"
        suggestion = self.answers.get(name) or self.given.get(name) or self.suggestion(question)
        unattended = suggestion or question.get("unattended", "")
        problem = why if question.get("tells") else None
        if (name in self.given and not anew) or not self._task.args["ask"]:
            problem = self.judge(question, unattended)
            if not problem:
                return "settled"
        while True:
            try:
                answer = self.prompt(question, suggestion, problem)
            except NobodyThereError:
                # Not judged before when it was to be asked.
                wrong = self.judge(question, unattended) if problem in (None, why) else problem
                raise NobodyThereError(f"{variable(name)}: {wrong}" if wrong else "") from None
            if answer == BACK:
                return "back"
            self.echo(question, answer)
            problem = self.judge(question, answer)
            if not problem:
                return "asked"

    def prompt(self, question: Question, suggestion: str, problem: str | None) -> str:
        """What a person types; nothing but Enter is the suggestion."""
        if not self._task.args["ask"]:
            raise NobodyThereError
        secret = bool(question.get("secret"))
        shown = self.say("kept") if secret and suggestion else suggestion
        lines = [f"✗ {problem}"] if problem else []
        lines.append(f"{question['ask'][self.language]}{f' [{shown}]' if shown else ''}:")
        try:
            typed = display.prompt_until("\n".join(lines), private=secret)
        except AnsiblePromptNoninteractive:
            raise NobodyThereError from None
        text = typed.decode("utf-8", "replace")
        return (text if secret else text.strip()) or suggestion

    def echo(self, question: Question, answer: str) -> None:
        """Show what is tried now, which may take a while; Ansible wipes the typed line off."""
        display.display(f"  → {self.say('hidden') if question.get('secret') else answer}")

    def judge(self, question: Question, answer: str) -> str:
        """Take the answer, or say in a sentence what is wrong with it."""
        name = question["name"]
        self.answers.pop(name, None)
        if not answer and not question.get("if_needed"):
            return self.say("missing")
        if missing := [other for other in question.get("needs", []) if other not in self.answers]:
            return self.say("not_judged", others=", ".join(map(variable, missing)))
        verdict = self._execute_module(
            module_name="check_answer",
            module_args={
                "question": name,
                "answers": self.answers | {name: answer},
                "ssh_arguments": self._task.args["ssh_arguments"],
                "probe": self._task.args["probe"],
            },
            task_vars=self.task_vars,
        )
        if verdict.get("failed"):
            raise AnsibleActionFail(f"check_answer of {name}: {verdict.get('msg')}")
        for key, details in verdict["notes"]:
            display.display(f"  {self.say(key, **self.answers, **details)}")
        if verdict["problem"]:
            return self.say(verdict["problem"], **self.answers | {name: answer}, **verdict["details"])
        self.answers[name] = answer
        self.probable |= verdict["defaults"]
        if name == "language":
            self.language = answer
        return ""

    def suggestion(self, question: Question) -> str:
        """What is in use, else what is probably right."""
        name = question["name"]
        suggested = self.earlier.get(name) or self.probable.get(name) or str(question.get("default", ""))
        return self.answers.get(suggested.removeprefix("@"), "") if suggested.startswith("@") else suggested

    def say(self, key: str, **details: str) -> str:
        """A sentence in the person's language."""
        sentence: str = self._task.args["words"][key][self.language if self.language in ("en", "ja") else "en"]
        return sentence.format(**details)


def texts(answers: Mapping[str, Any]) -> dict[str, str]:
    """Answers as a person would type them; those that are empty are none. A list is one with commas."""
    found = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in answers.items()
    }
    return {name: value for name, value in found.items() if value}


def variable(name: str) -> str:
    """The variable that gives the answer to a question beforehand."""
    return f"configure_{name}"
