"""The weekly mail: what is kept, and that mails arrive at all. Its absence is the signal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from logging import Logger

from sedai.core import wire
from sedai.core.counted import counted
from sedai.core.errors import ProcessError
from sedai.core.process import run
from sedai.server import alerts, scrub, words
from sedai.server.alerts import Alert
from sedai.server.config import ServerConfig
from sedai.server.facts import ClientFacts, Facts, gather
from sedai.server.judge import Finding, growth, judge, used_percent
from sedai.server.notebook import directory, read_notes

NAMESPACE = "report"
_TIMEOUT_SECONDS = 60
_DAY = 86400.0
_CALENDAR_DAYS = 14
# What the sender says when nothing waits.
_NO_MAILS = "No mail waits."
# To move a store to another file system is work.
_WORTH_A_WORD = 1 << 30
# Ten years: who has more than that wants no figure.
_MANY_DAYS = 3652

_WORDS = {
    "en": {
        "well": "weekly report: all is well",
        "wrong": "weekly report: {problems}",
        "to_do": "What to do",
        "nothing_to_do": "Nothing.",
        "no_mails": "No mail waits.",
        "about": "About this mail",
        "why": "It comes every week, whatever happens. It shows that mails of this server reach you: when it stays away, "
        "look at the server.",
        "wrong_now": "Wrong now",
        "open": "Reported and not over",
        "open_line": "{subject} (since {since}, reported {times})",
        "nothing": "nothing",
        "clients": "Clients",
        "client": "{client}: {generations}, the newest {newest}, {age} old; {content}, {bytes}; {daily} of new content a "
        "day",
        "none": "{client}: no generation",
        "rotten": "{client}: {things} in what is stored",
        "calendar": "Backups by day (UTC)",
        "failed": "failed",
        "lacks": "Not in the newest backups",
        "copied_open": "In the newest backups, but copied while open",
        "disk": "Disk of {store}",
        "room": "{free} of {total} free ({percent} % used)",
        "days": ", enough for {days} days, not counting what pruning frees",
        "years": ", enough for more than 10 years",
        "shareable": "About {bytes} less would be used on XFS or btrfs: big files that change a little share there what stays the "
        "same.",
        "no_room": "can't be asked",
        "scrub": "Every stored file was read and compared",
        "since": "since {since} or later",
        "not_yet": "not yet: the nightly reading has not come around once",
        "mails": "Mails",
        "waits": "mails do not leave (what waits, and why, is under Mails); where the password is refused: make configure, "
        "then ansible-playbook site.yml",
        "unknown": "The alert command could not be asked: {error}",
    },
    "ja": {
        "well": "週間レポート: 異常なし",
        "wrong": "週間レポート: 問題 {count} 件",
        "to_do": "必要な対応",
        "nothing_to_do": "ありません。",
        "no_mails": "送信待ちのメールはありません。",
        "about": "このメールについて",
        "why": "何があっても毎週届きます。届いていれば、このサーバーからの通知が届く状態であることがわかります。"
        "届かない週があれば、サーバーを確認してください。",
        "wrong_now": "現在の問題",
        "open": "報告済みで未解決",
        "open_line": "{subject} ({since} から、{total} 回報告)",
        "nothing": "なし",
        "clients": "クライアント",
        "client": "{client}: {count} 世代、最新は {newest} ({age}前)、{files} ファイル、{bytes}、新しいデータは 1 日 {daily}",
        "none": "{client}: 世代なし",
        "rotten": "{client}: 保存データの破損 {count} 件",
        "calendar": "日別のバックアップ数 (UTC)",
        "failed": "失敗",
        "lacks": "最新のバックアップに含まれないもの",
        "copied_open": "最新のバックアップに含まれるが、使用中にコピーされたもの",
        "disk": "{store} のディスク",
        "room": "{total} のうち空き {free} (使用率 {percent} %)",
        "days": "、約 {days} 日分 (古い世代の削除で空く分は含まない)",
        "years": "、10 年分以上",
        "shareable": "XFS か btrfs なら使用量が約 {bytes} 減ります(一部だけ変わる大きなファイルの、変わらない部分を共有)。",
        "no_room": "確認できません",
        "scrub": "すべての保存ファイルの読み取り検査",
        "since": "{since} 以降に完了",
        "not_yet": "まだ一巡していません",
        "mails": "メール",
        "waits": "メールが送れていません(待っているものと理由は「メール」の項)。パスワードが拒否されているなら、make configure "
        "のあと ansible-playbook site.yml",
        "unknown": "通知コマンドに問い合わせできません: {error}",
    },
}


@dataclass(frozen=True)
class OpenIncident:
    """What the sender of alerts counts as not over."""

    subject: str
    first: float
    total: int


@dataclass(frozen=True)
class Material:
    """What the report is made of. ``mails``: what the sender says of its spool; ``whole_since``: see the scrub's notes.

    ``rotten``: how many things the scrub knows to be damaged, by client. ``error``: why the sender could not be asked.
    """

    facts: Facts
    findings: Sequence[Finding]
    incidents: Sequence[OpenIncident]
    whole_since: float
    rotten: dict[str, int]
    mails: str = ""
    error: str = ""


def report(config: ServerConfig, log: Logger) -> Alert:
    """Compose the report and hand it to the alert command.

    Raises:
        ConfigError: the configuration names no directory for the notes.
        ProcessError: the command did not take it.
    """
    mail = compose(look(config, log), config)
    alerts.send(config.alert_command, mail, NAMESPACE, log)
    return mail


def look(config: ServerConfig, log: Logger) -> Material:
    """Gather everything that is known now.

    Raises:
        ConfigError: the configuration names no directory for the notes.
    """
    return with_mails(facts_now(config), config, log)


def facts_now(config: ServerConfig) -> Facts:
    """How the stores are, beside what the watch has noted.

    Raises:
        ConfigError: the configuration names no directory for the notes.
    """
    state = directory(config.watch.state_directory)
    notes = read_notes(state)
    unread_since = scrub.read_notes(state).unread_since
    return gather(config, notes.known_since, frozenset(notes.open), unread_since)


def with_mails(facts: Facts, config: ServerConfig, log: Logger) -> Material:
    """``facts``, judged, with what the scrub noted and what the sender of alerts says.

    Raises:
        ConfigError: the configuration names no directory for the notes.
    """
    scrubbed = scrub.read_notes(directory(config.watch.state_directory))
    incidents: list[OpenIncident] = []
    mails = error = ""
    if alerts.folds(config.alert_command):
        try:
            incidents = [_incident(line) for line in _ask(config, "--incidents").splitlines()]
            mails = _ask(config, "--list").strip()
        except (ProcessError, ValueError, TypeError, KeyError) as failure:
            log.error("the alert command can't be asked what is open: %s", failure)
            error = str(failure)
    return Material(
        facts,
        judge(facts, config.watch),
        incidents,
        scrubbed.whole_since,
        {client: len(lines) for client, lines in scrubbed.rotten.items() if lines},
        mails,
        error,
    )


def _ask(config: ServerConfig, option: str) -> str:
    done = run([*config.alert_command, option], timeout=_TIMEOUT_SECONDS)
    return done.stdout.decode("utf-8", "replace")


def _incident(line: str) -> OpenIncident:
    table = json.loads(line)
    return OpenIncident(str(table["subject"]), float(table["first"]), int(table["total"]))


def compose(material: Material, config: ServerConfig) -> Alert:
    """The mail, which begins with what to do."""
    text = _WORDS[config.language]
    parts = [*sections(material, config), (text["about"], [text["why"]])]
    count = wrong(material)
    if not count:
        parts.insert(0, (text["to_do"], [text["nothing_to_do"]]))
    body = "\n\n".join(f"{title}:\n" + "\n".join(lines) for title, lines in parts)
    subject = text["wrong"].format(count=count, problems=counted(count, "problem")) if count else text["well"]
    return Alert(words.subject("", subject), f"{body}\n")


def wrong(material: Material) -> int:
    """How many things are wrong, or not over."""
    return (
        len(material.findings) + len(material.rotten) + len(material.incidents) + bool(material.error) + waits(material)
    )


def waits(material: Material) -> bool:
    """Whether mails wait to be sent."""
    return material.mails not in ("", _NO_MAILS)


def problems(material: Material, config: ServerConfig) -> list[tuple[str, list[str]]]:
    """What is wrong now, a sentence each; with each where something is to be run, and what, or nothing."""
    language = config.language
    text = _WORDS[language]
    places = str(config.store), str(config.log_file), language
    found = [
        (f"{one.client or 'server'}: {words.title(one.kind, language)}", words.commands(one, *places))
        for one in material.findings
    ]
    for client, count in sorted(material.rotten.items()):
        line = text["rotten"].format(client=client, count=count, things=counted(count, "damaged thing"))
        found.append((line, words.commands(Finding("rot", client), *places)))
    if waits(material):
        found.append((text["waits"], []))
    return found


def sections(material: Material, config: ServerConfig) -> list[tuple[str, list[str]]]:
    """Everything in words: titles, each with at least one line."""
    store, language = str(config.store), config.language
    text = _WORDS[language]
    wrong_now = [line for sentence, commands in problems(material, config) for line in (sentence, *commands)]
    still_open = [
        text["open_line"].format(
            subject=one.subject, since=words.moment(one.first), total=one.total, times=counted(one.total, "time")
        )
        for one in material.incidents
    ]
    if material.error:
        still_open.append(text["unknown"].format(error=material.error))
    missing, copied_open = _lacks(material.facts.clients)
    parts = [
        (text["wrong_now"], wrong_now),
        (text["open"], still_open),
        (text["clients"], [_client(client, material.facts.now, language) for client in material.facts.clients]),
        (
            text["calendar"],
            [_calendar(client, material.facts.now, language) for client in material.facts.clients if client.days],
        ),
        (text["lacks"], missing),
        *(((text["copied_open"], copied_open),) if copied_open else ()),
        (text["disk"].format(store=store), [_room(material.facts, language), *_shareable(material.facts, language)]),
        (text["scrub"], [_scrubbed(material.whole_since, language)]),
    ]
    if material.mails:
        parts.append((text["mails"], material.mails.splitlines() if waits(material) else [text["no_mails"]]))
    return [(title, lines or [text["nothing"]]) for title, lines in parts]


def _client(client: ClientFacts, now: float, language: str) -> str:
    text = _WORDS[language]
    if not client.whole:
        return text["none"].format(client=client.name)
    newest = client.whole[-1]
    return text["client"].format(
        client=client.name,
        count=len(client.generations),
        generations=counted(len(client.generations), "generation"),
        newest=newest.name,
        age=words.duration(now - newest.time, language),
        files=newest.files,
        content=counted(newest.files, "file"),
        bytes=words.size(newest.bytes),
        daily=words.size(growth(Facts(now, (client,), None))),
    )


def _calendar(client: ClientFacts, now: float, language: str) -> str:
    """How many generations came on each day, from the first day that is known, or for the newest two weeks."""
    *days, today = (_day(now - age * _DAY) for age in reversed(range(_CALENDAR_DAYS)))
    ended = {day: count or _WORDS[language]["failed"] for day, count in client.days.items()}
    ended[today] = client.days.get(today) or "-"  # a run may still be at it
    told = [f"{day[5:]} {ended.get(day, '-')}" for day in (*days, today) if day >= min(client.days)]
    return f"{client.name}: {', '.join(told)}"


def _day(seconds: float) -> str:
    return words.moment(seconds)[:10]


def _lacks(clients: Iterable[ClientFacts]) -> tuple[list[str], list[str]]:
    """What is not in the newest generations, and what was copied into them while it was open."""
    missing: list[str] = []
    copied_open: list[str] = []
    for client in clients:
        told = wire.apart(client.whole[-1].not_in_backup if client.whole else ())
        for lines, found in zip((missing, copied_open), told, strict=True):
            lines += [f"{client.name}: {line}" for line in found]
    return missing, copied_open


def _room(facts: Facts, language: str) -> str:
    text = _WORDS[language]
    disk = facts.disk
    if disk is None or disk.total == 0:
        return text["no_room"]
    room = text["room"].format(
        free=words.size(disk.free), total=words.size(disk.total), percent=f"{used_percent(disk):.0f}"
    )
    daily = growth(facts)
    if daily <= 0:
        return room
    days = disk.free / daily
    return room + (text["days"].format(days=f"{days:.0f}") if days < _MANY_DAYS else text["years"])


def _shareable(facts: Facts, language: str) -> list[str]:
    """What reflinks would save, where that is worth a word."""
    missed = sum(one.shareable_bytes for client in facts.clients for one in client.whole[1:])
    return [_WORDS[language]["shareable"].format(bytes=words.size(missed))] if missed >= _WORTH_A_WORD else []


def _scrubbed(whole_since: float, language: str) -> str:
    text = _WORDS[language]
    return text["since"].format(since=words.moment(whole_since)) if whole_since else text["not_yet"]
