"""The words of alert mails, in English and Japanese: what happened, what it means, what is without findings, what to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sedai.core import wire
from sedai.core.counted import counted


@dataclass(frozen=True)
class Incident:
    """Something a person must hear of. ``kind`` is a key of the tables below; ``details`` are lines for people.

    ``left_out``: what is not in the backup because the person said so. ``advice``: what to do before ``command``, in words.
    """

    kind: str
    details: Sequence[str]
    last_good: str
    command: str
    left_out: Sequence[str] = ()
    advice: str = ""


@dataclass(frozen=True)
class Alert:
    """A mail to be sent by the server. ``incident``: the key of what it reports, ``resolved``: of what is over."""

    subject: str
    body: str
    incident: str = ""
    resolved: str = ""


_SUBJECTS = {
    "en": {
        "backup_failed": "[sedai] {client}: backup FAILED",
        "backup_findings": "[sedai] {client}: backup done, {findings}",
        "backup_paused": "[sedai] {client}: NO backup, backups are paused",
        "after_failed": "[sedai] {client}: backup done, but a command after it FAILED",
        "check_failed": "[sedai] {client}: integrity check could not run",
        "check_findings": "[sedai] {client}: integrity check found {problems}",
        "drill_failed": "[sedai] {client}: restore drill could not run",
        "drill_findings": "[sedai] {client}: restore drill found {problems}",
    },
    "ja": {
        "backup_failed": "[sedai] {client}: バックアップ失敗",
        "backup_findings": "[sedai] {client}: バックアップ完了、問題 {count} 件",
        "backup_paused": "[sedai] {client}: バックアップ未実行 (一時停止中)",
        "after_failed": "[sedai] {client}: バックアップは完了、後処理コマンドが失敗",
        "check_failed": "[sedai] {client}: 整合性チェックを実行できません",
        "check_findings": "[sedai] {client}: 整合性チェックで問題 {count} 件",
        "drill_failed": "[sedai] {client}: 復元訓練を実行できません",
        "drill_findings": "[sedai] {client}: 復元訓練で問題 {count} 件",
    },
}

_MEANINGS = {
    "en": {
        "backup_failed": "No new generation was made. The generations on the server are untouched.",
        "backup_findings": "A new generation was sealed and proven, but what is listed here is not in it as it should be.",
        "backup_paused": "No new generation is made until somebody resumes the backups. The generations on the server are "
        "untouched: bring back from them what this machine should have, then resume.",
        "after_failed": "A new generation was sealed and proven. A command that was to run after it failed.",
        "check_failed": "It is not known whether the generations on the server are intact.",
        "check_findings": "Something stored on the server, or its age, is not what it should be. "
        "The next backup sends damaged files of the newest generation again if this machine still has them.",
        "drill_failed": "A restore was tried and could not be carried out, so it is not known whether a real one would work. "
        "The generations and this machine's own data are untouched.",
        "drill_findings": "A restore was tried and what is listed here did not come back as it was backed up, or not at all. "
        "The generations and this machine's own data are untouched; older generations may have it whole.",
    },
    "ja": {
        "backup_failed": "新しい世代は作成されていません。サーバー上の既存の世代は無傷です。",
        "backup_findings": "新しい世代は作成・検証されましたが、上記のものは正しく含まれていません。",
        "backup_paused": "再開の操作をするまで、新しい世代は作成されません。サーバー上の既存の世代は無傷です。"
        "このマシンに必要なものをすべて復元してから、再開してください。",
        "after_failed": "新しい世代は作成・検証されました。その後に実行するコマンドが失敗しました。",
        "check_failed": "サーバー上の世代が無事かどうか確認できていません。",
        "check_findings": "サーバー上のデータまたはその日時が、あるべき状態と異なります。"
        "最新世代の壊れたファイルは、このマシンに残っていれば次のバックアップで再送されます。",
        "drill_failed": "復元を試みましたが実行できず、実際の復元が成功するかどうか確認できていません。"
        "世代とこのマシンのデータには触れていません。",
        "drill_findings": "復元を試みましたが、上記のものはバックアップ時の状態に戻らないか、まったく戻りませんでした。"
        "世代とこのマシンのデータには触れていません。古い世代には無傷で残っている可能性があります。",
    },
}

_LABELS = {
    "en": {
        "what": "What happened",
        "means": "What it means for the data",
        "last": "Last generation without findings",
        "none": "none is known",
        "next": "Run this next",
        "left_out": "Not in the newest backup",
        "copied_open": "In the newest backup, but copied while open",
        "then": "Then on this machine:",
        "more": "… and {count} more; the log file has all of them: {log}",
    },
    "ja": {
        "what": "何が起きたか",
        "means": "データへの影響",
        "last": "問題のない最後の世代",
        "none": "不明",
        "next": "次に実行するコマンド",
        "left_out": "最新のバックアップに含まれないもの",
        "copied_open": "最新のバックアップに含まれるが、使用中にコピーされたもの",
        "then": "続いて、このマシンで:",
        "more": "… ほか {count} 件。すべてログファイルにあります: {log}",
    },
}

# What a person looks at first where nothing answers.
IS_IT_ON = {
    "en": "Is the server switched on, and on the network? Has it still the same address? Look there first.",
    "ja": "サーバーの電源は入っていて、ネットワークにつながっていますか。アドレスも変わっていないか、まず確認してください。",
}

_OVER = {
    "en": {
        "subject": "[sedai] {client}: {program} is clean again",
        "to_do": "What to do",
        "nothing": "Nothing.",
        "what": "What happened",
        "body": "The last run of `{program}` was clean.",
        "last": "Last generation without findings",
    },
    "ja": {
        "subject": "[sedai] {client}: {program} 復旧",
        "to_do": "必要な対応",
        "nothing": "ありません。",
        "what": "何が起きたか",
        "body": "直近の {program} は正常に終了しました。",
        "last": "問題のない最後の世代",
    },
}
_PROGRAMS = {
    "en": {"backup": "backup", "check": "integrity check", "drill": "restore drill"},
    "ja": {"backup": "バックアップ", "check": "整合性チェック", "drill": "復元訓練"},
}

_SHOWN_DETAILS = 50
_LONGEST_DETAIL = 1000


def compose_over(program: str, key: str, client: str, last_good: str, language: str) -> Alert:
    """The mail that what ``program`` reported as the incident ``key`` is over."""
    words = _OVER[language]
    name = _PROGRAMS[language].get(program, program)
    parts = [(words["to_do"], words["nothing"]), (words["what"], words["body"].format(program=name))]
    if last_good:
        parts.append((words["last"], last_good))
    return Alert(words["subject"].format(client=client, program=name), _body(parts), resolved=key)


def compose(incident: Incident, client: str, log_file: str, language: str) -> Alert:
    """The mail about ``incident`` in ``language`` (``en`` or ``ja``)."""
    labels = _LABELS[language]
    count = len(incident.details)
    subject = _SUBJECTS[language][incident.kind].format(
        client=client, count=count, findings=counted(count, "finding"), problems=counted(count, "problem")
    )
    shown = [detail[:_LONGEST_DETAIL] for detail in incident.details[:_SHOWN_DETAILS]]
    if len(incident.details) > len(shown):
        shown.append(labels["more"].format(count=len(incident.details) - len(shown), log=log_file))
    parts = (
        (
            labels["next"],
            "\n".join([incident.advice, labels["then"], incident.command] if incident.advice else [incident.command]),
        ),
        (labels["what"], "\n".join(shown)),
        (labels["means"], _MEANINGS[language][incident.kind]),
        (labels["last"], incident.last_good or labels["none"]),
        *_not_as_it_should_be(incident.left_out, labels),
    )
    return Alert(subject, _body(parts))


def _body(parts: Iterable[tuple[str, str]]) -> str:
    return "\n\n".join(f"{title}:\n{text}" for title, text in parts) + "\n"


def _not_as_it_should_be(left_out: Sequence[str], labels: Mapping[str, str]) -> list[tuple[str, str]]:
    missing, copied_open = wire.apart(left_out)
    parts = ((labels["left_out"], missing), (labels["copied_open"], copied_open))
    return [(title, "\n".join(lines[:_SHOWN_DETAILS])) for title, lines in parts if lines]
