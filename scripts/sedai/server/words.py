"""The words of the server's own mails, in English and Japanese: what happened, what it means, what to run."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime

from sedai.core.counted import counted
from sedai.server.alerts import Alert
from sedai.server.judge import Finding

LANGUAGES = ("en", "ja")
_PROGRAMS = "~/project/scripts"
_TOOL = "sudo /usr/local/lib/sedai/sedai_server.py"

# What can lose data if nobody looks soon; all else is worth a look on the same day or the next.
_URGENT = frozenset({"never", "stale", "record", "unwritable", "disk", "inodes", "watch", "rot"})
_GRAVITY = {"en": ("URGENT", "warning"), "ja": ("緊急", "注意")}
# Titles hold no figures: a subject that changes would be mailed anew each time.
_TITLES = {
    "en": {
        "never": "there is no backup",
        "stale": "no new backup",
        "unchecked": "the client's checks stopped",
        "unheard": "the client's alerts do not get through",
        "small": "the newest backup is suspiciously small",
        "future": "a generation is dated in the future",
        "order": "the newest generation is older than the one before",
        "clock": "the clocks of client and server differ",
        "record": "a generation can't be read",
        "unwritable": "the store can't be used",
        "disk": "the disk of the backups is nearly full",
        "growth": "the disk of the backups will soon be full",
        "inodes": "the disk of the backups has nearly no inodes left",
        "watch": "the watch itself failed",
        "scrub": "the nightly reading of the backups failed",
        "unread": "stored files were not read for too long",
        "report": "the weekly report failed",
        "rot": "stored files are not what was sealed",
    },
    "ja": {
        "never": "バックアップがありません",
        "stale": "新しいバックアップがありません",
        "unchecked": "クライアントの検査が止まっています",
        "unheard": "クライアントの通知が届いていません",
        "small": "最新のバックアップが異常に小さい",
        "future": "世代の日時が未来です",
        "order": "最新の世代が前の世代より古い日時です",
        "clock": "クライアントとサーバーの時計がずれています",
        "record": "読み取れない世代があります",
        "unwritable": "保存先が使えません",
        "disk": "バックアップ用ディスクの空きが残りわずか",
        "growth": "バックアップ用ディスクがまもなく満杯",
        "inodes": "バックアップ用ディスクの inode が残りわずか",
        "watch": "監視そのものが失敗しました",
        "scrub": "夜間の読み取り検査が失敗しました",
        "unread": "保存データの読み取り検査が滞っています",
        "report": "週間レポートを送信できません",
        "rot": "保存データの破損を検出",
    },
}

_WHAT = {
    "en": {
        "never": "{client} has been configured for {age}, and the store holds no generation of it.",
        "stale": "The newest generation of {client} is {newest}, {age} old; {limit} are allowed.",
        "unchecked": "{client} has not had its generations checked for {age}; {limit} are allowed.",
        "unheard": "At the last backup an alert of {client} had been waiting for {age}, though this server was there to take it.",
        "small": "Files in {newest} of {client}: {files}, with {bytes}; usual are {usual_files}, with {usual_bytes}.",
        "future": "{newest} of {client} is dated {age} in the future: the clock of this server is, or was, wrong.",
        "order": "{newest} of {client} was sealed after {previous}, but its time is earlier: the clock of this server was set "
        "back.",
        "clock": "At the last backup the clock of {client} differed from this server's by {seconds} seconds.",
        "record": "Of {client} can't be read: {names}\n{error}",
        "unwritable": "The directory of {client} in the store can't be read or written: {error}",
        "disk": "{percent} % of the disk are used; {free} of {total} are free.",
        "growth": "The backups bring {daily} of new content a day, and {free} are free: enough for {days} days, not counting "
        "what pruning frees.",
        "inodes": "{percent} % of the inodes are used; {left} are left. A file in a generation takes one unless it is shared.",
        "watch": "The watch could not look at the backups: {error}",
        "scrub": "The stored files could not be read through: {error}",
        "unread": "The nightly scrub has not read all stored files for {age}; it should within {limit}.",
        "report": "The weekly report could not be made or sent: {error}",
        "rot": "Of what is stored of {client}, not as it was sealed ({count}):\n{lines}",
    },
    "ja": {
        "never": "{client} は設定から {age} 経過しましたが、保存先に世代が 1 つもありません。",
        "stale": "{client} の最新世代は {newest} で、{age} 前のものです(許容は {limit})。",
        "unchecked": "{client} の世代は {age} の間、クライアントから検査されていません(許容は {limit})。",
        "unheard": "前回のバックアップの時点で、{client} の通知がこのサーバーに渡されないまま {age} 経過していました。",
        "small": "{client} の {newest} は {files} ファイル、{bytes} です。通常は {usual_files} ファイル、{usual_bytes} です。",
        "future": "{client} の {newest} の日時は {age} 先の未来です。このサーバーの時計が狂っているか、狂っていました。",
        "order": "{client} の {newest} は {previous} の後に作成されましたが、日時が前になっています。時計が戻されたようです。",
        "clock": "直近のバックアップ時、{client} の時計はこのサーバーと {seconds} 秒ずれていました。",
        "record": "{client} の次の世代が読み取れません: {names}\n{error}",
        "unwritable": "{client} の保存先ディレクトリを読み書きできません: {error}",
        "disk": "ディスクの {percent} % が使用済み、{total} のうち空きは {free} です。",
        "growth": "1 日あたり {daily} 増え、空きは {free}、残り約 {days} 日分です(古い世代の削除で空く分は含みません)。",
        "inodes": "inode の {percent} % が使用済み、残り {left} です。世代間で共有されないファイルごとに 1 つ必要です。",
        "watch": "監視処理がバックアップを確認できませんでした: {error}",
        "scrub": "保存データを読み取れませんでした: {error}",
        "unread": "夜間の読み取り検査が {age} の間一巡していません(目標は {limit})。",
        "report": "週間レポートを作成または送信できませんでした: {error}",
        "rot": "{client} の保存データ {count} 件が、作成時と異なります:\n{lines}",
    },
}

_MEANS = {
    "en": {
        "never": "Nothing of this machine is backed up.",
        "stale": "What changed on {client} since then is in no backup. The older generations are untouched.",
        "unchecked": "The client's check is also what tells you when this watch stands still. If its cron does not run, its other "
        "alerts may not reach you either.",
        "unheard": "What went wrong on {client} since then may be told nowhere but on {client} itself. Backups are made.",
        "small": "Files may have been lost on {client}, or a source may be missing. The older generations still hold them.",
        "future": "The ages of generations can't be trusted, and neither can pruning by days, weeks or months.",
        "order": "Both generations are whole. Ages and pruning by days may be wrong until newer ones follow.",
        "clock": "Backups are made, but nothing old is pruned until the clocks agree.",
        "record": "These generations can't be restored from as they are; the others are not affected.",
        "unwritable": "No backup of {client} can be stored. What is stored may not be readable now.",
        "disk": "When it is full, no new backup can be stored. Sealed generations are not harmed by that.",
        "growth": "When it is full, no new backup can be stored. Sealed generations are not harmed by that.",
        "inodes": "When they are used up, no new backup can be stored. Sealed generations are not harmed by that.",
        "watch": "It is not known whether backups still arrive.",
        "scrub": "It is not known whether stored files have rotted.",
        "unread": "It is not known whether all stored files are still what was sealed.",
        "report": "Nothing is known to be wrong with the backups; the weekly proof of the mail path is missing.",
        "rot": "The named files are damaged in the named generations. The next backup sends those of the newest generation "
        "again if {client} still has them; the older generations stay damaged there.",
    },
    "ja": {
        "never": "このマシンのデータはまったくバックアップされていません。",
        "stale": "それ以降に {client} で変更されたデータはバックアップされていません。既存の世代は無傷です。",
        "unchecked": "この監視が止まったときに知らせるのは、クライアントの検査です。{client} の cron が動いていなければ、"
        "ほかの通知も届かない可能性があります。",
        "unheard": "それ以降に {client} で起きた問題は、{client} 上でしか確認できない可能性があります。"
        "バックアップは作成されています。",
        "small": "{client} でファイルが失われたか、バックアップ対象が欠けている可能性があります。以前の世代には残っています。",
        "future": "世代の経過時間や、日・週・月単位の保持判定が信頼できません。",
        "order": "どちらの世代も完全です。新しい世代が続くまで、経過時間や日単位の保持判定が正しくない場合があります。",
        "clock": "バックアップは作成されますが、時計が合うまで古い世代は削除されません。",
        "record": "これらの世代はこのままでは復元に使えません。ほかの世代に影響はありません。",
        "unwritable": "{client} のバックアップを保存できません。保存済みのデータも今は読めない可能性があります。",
        "disk": "満杯になると新しいバックアップを保存できません。既存の世代は損なわれません。",
        "growth": "満杯になると新しいバックアップを保存できません。既存の世代は損なわれません。",
        "inodes": "使い切ると新しいバックアップを保存できません。既存の世代は損なわれません。",
        "watch": "バックアップが届いているかどうか確認できていません。",
        "scrub": "保存データが壊れていないかどうか確認できていません。",
        "unread": "保存データがすべて無事かどうか確認できていません。",
        "report": "バックアップの異常ではありませんが、通知が届くことの毎週の確認ができていません。",
        "rot": "上記の世代の上記のファイルは壊れています。最新世代のものは、{client} に残っていれば次のバックアップで再送されます。"
        "古い世代のものは壊れたままです。",
    },
}

_ON = {"en": "On {machine}, as root:", "ja": "{machine} で root として:"}
_SERVER = {"en": "this server", "ja": "このサーバー"}
# Who runs it, and what.
_NEXT: dict[str, tuple[str, Sequence[str]]] = {
    "never": ("client", (f"{_PROGRAMS}/backup_data.py",)),
    "stale": ("client", (f"{_PROGRAMS}/backup_data.py",)),
    "unchecked": ("client", (f"{_PROGRAMS}/check_backup_integrity.py", "crontab -l", "systemctl status cron")),
    "unheard": ("client", (f"{_PROGRAMS}/backup_status.py",)),
    "small": ("client", (f"{_PROGRAMS}/restore_data.py list", f"{_PROGRAMS}/backup_data.py --dry-run")),
    "future": ("server", ("timedatectl",)),
    "order": ("server", ("timedatectl",)),
    "clock": ("client", ("timedatectl",)),
    "record": ("client", (f"{_PROGRAMS}/check_backup_integrity.py --all",)),
    "unwritable": ("server", ("ls -ld {store} {store}/{client}", "findmnt -T {store}", "dmesg | tail")),
    "disk": ("server", ("df -h {store}", f"{_TOOL} prune --explain")),
    "growth": ("server", ("df -h {store}", f"{_TOOL} prune --explain")),
    "inodes": ("server", ("df -i {store}", f"{_TOOL} prune --explain")),
    "watch": ("server", (f"{_TOOL} watch", "tail {log_file}")),
    "scrub": ("server", (f"{_TOOL} scrub", "tail {log_file}")),
    "unread": ("server", (f"{_TOOL} scrub", "journalctl -t sedai -g scrub")),
    "report": ("server", (f"{_TOOL} report", "tail {log_file}")),
    "rot": ("client", (f"{_PROGRAMS}/backup_data.py", f"{_PROGRAMS}/check_backup_integrity.py --level full --all")),
}

_LABELS = {
    "en": {"what": "What happened", "means": "What it means for the data", "last": "Last good generation",
           "none": "none is known", "next": "Run this next", "over": "resolved: {title}", "to_do": "What to do",
           "nothing": "Nothing.", "over_body": "The watch does not see this any more: {title}."},
    "ja": {"what": "何が起きたか", "means": "データへの影響", "last": "最後の正常な世代", "none": "不明",
           "next": "次に実行するコマンド", "over": "解決: {title}", "to_do": "必要な対応", "nothing": "ありません。",
           "over_body": "監視で次の問題は検出されなくなりました: {title}。"},
}  # fmt: skip


def alert(finding: Finding, store: str, log_file: str, language: str) -> Alert:
    """The mail about ``finding``."""
    labels = _LABELS[language]
    figures = {name: _figure(name, value, language) for name, value in finding.figures.items()}
    figures |= {"client": finding.client, "age": duration(finding.figures.get("seconds"), language)}
    parts = [
        (labels["next"], "\n".join(commands(finding, store, log_file, language))),
        (labels["what"], _WHAT[language][finding.kind].format_map(figures)),
        (labels["means"], _MEANS[language][finding.kind].format_map(figures)),
    ]
    if finding.client:
        parts.append((labels["last"], finding.last_good or labels["none"]))
    body = "\n\n".join(f"{title}:\n{text}" for title, text in parts) + "\n"
    gravity = _GRAVITY[language][finding.kind not in _URGENT]
    about = subject(finding.client, f"{gravity}: {_TITLES[language][finding.kind]}")
    return Alert(about, body, incident=finding.key)


def commands(finding: Finding, store: str, log_file: str, language: str) -> list[str]:
    """Where something is to be run, in words, and below it what."""
    whose, lines = _NEXT[finding.kind]
    machine = finding.client if whose == "client" else _SERVER[language]
    told = [line.format(store=store, client=finding.client, log_file=log_file) for line in lines]
    return [_ON[language].format(machine=machine), *told]


def over(kind: str, client: str, key: str, language: str) -> Alert:
    """The mail that what was reported as ``key`` is over."""
    labels = _LABELS[language]
    title = _TITLES[language][kind]
    about = subject(client, labels["over"].format(title=title))
    parts = [(labels["to_do"], labels["nothing"]), (labels["what"], labels["over_body"].format(title=title))]
    return Alert(about, "\n\n".join(f"{name}:\n{text}" for name, text in parts) + "\n", resolved=key)


def title(kind: str, language: str) -> str:
    """What ``kind`` is called."""
    return _TITLES[language][kind]


def subject(client: str, title: str) -> str:
    """The subject of a mail about ``client``, or about this server, by its own name, where that is empty."""
    return f"[sedai] {client or os.uname().nodename}: {title}"


def _figure(name: str, value: object, language: str) -> object:
    if name in {"free", "total", "bytes", "usual_bytes", "daily"} and isinstance(value, int | float):
        return size(value)
    if name == "limit":
        return duration(value, language)
    if isinstance(value, float):
        return f"{value:.0f}" if math.isfinite(value) and abs(value) >= 10 else f"{value:.1f}"
    return value


def size(count: float) -> str:
    """``count`` bytes for people."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def duration(seconds: object, language: str) -> str:
    """A span of time for people."""
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return "?"
    hours = seconds / 3600
    if hours < 48:
        return counted(round(hours), "hour") if language == "en" else f"{hours:.0f} 時間"
    return counted(round(hours / 24), "day") if language == "en" else f"{hours / 24:.0f} 日"


def moment(seconds: float) -> str:
    """A time for people, UTC as in the names of generations."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
