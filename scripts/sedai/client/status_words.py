"""The words of the status, in English and Japanese: what needs a look, and the command for it."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

from sedai.client import catalog
from sedai.client.status import Attention, Status
from sedai.core.progress import size

# To move a store to another file system is work.
_WORTH_A_WORD = 1 << 30
# Ten years: who has more than that wants no figure.
_MANY_DAYS = 3652
_ON_SERVER = "sudo /usr/local/lib/sedai/sedai_server.py"

_TITLES = {
    "en": {
        "unreachable": "The server can't be asked: {detail}",
        "paused": "Backups are paused: {detail}",
        "none": "There is no generation yet.",
        "damaged": "Generation {detail}",
        "stale": "The newest generation is too old: {detail}",
        "clock": "The clocks of this machine and the server differ: {detail}",
        "time": "The time of the newest generation is wrong: {detail}",
        "watch": "The server's own watch does not run; its last run: {detail}",
        "frozen": "Old generations are kept, pruning is {detail}",
        "full": "The server's disk is full in about {detail} days at this pace, not counting what pruning frees.",
        "failed_backup": "The last backup failed: {detail}",
        "findings_backup": "The last backup has findings: {detail}",
        "failed_check": "The last check could not run: {detail}",
        "findings_check": "The last check found problems: {detail}",
        "failed_full_check": "The last full check could not run: {detail}",
        "findings_full_check": "The last full check found problems: {detail}",
        "failed_restore_drill": "The last restore drill could not run: {detail}",
        "findings_restore_drill": "The last restore drill found problems: {detail}",
        "waiting": "Alerts that the server has not taken yet: {detail}",
        "set_aside": "Alerts that the server would not take, which you have not read: {detail}",
        "unplanned": "Cron does not run it: {detail}",
    },
    "ja": {
        "unreachable": "サーバーに問い合わせできません: {detail}",
        "paused": "バックアップは一時停止中です: {detail}",
        "none": "世代がまだありません。",
        "damaged": "世代 {detail}",
        "stale": "最新の世代が古すぎます: {detail}",
        "clock": "このマシンとサーバーの時計がずれています: {detail}",
        "time": "最新の世代の日時が不正です: {detail}",
        "watch": "サーバー側の監視が動いていません。最後の実行: {detail}",
        "frozen": "古い世代の削除を停止中です: {detail}",
        "full": "このペースではサーバーのディスクが約 {detail} 日で満杯になります(世代の削除で空く分は含みません)。",
        "failed_backup": "直近のバックアップは失敗しました: {detail}",
        "findings_backup": "直近のバックアップに問題があります: {detail}",
        "failed_check": "直近の整合性チェックを実行できませんでした: {detail}",
        "findings_check": "直近の整合性チェックで問題が見つかりました: {detail}",
        "failed_full_check": "直近の全データチェックを実行できませんでした: {detail}",
        "findings_full_check": "直近の全データチェックで問題が見つかりました: {detail}",
        "failed_restore_drill": "直近の復元訓練を実行できませんでした: {detail}",
        "findings_restore_drill": "直近の復元訓練で問題が見つかりました: {detail}",
        "waiting": "サーバーがまだ受け取っていない通知: {detail} 件",
        "set_aside": "サーバーが受け取らなかった未読の通知: {detail}",
        "unplanned": "cron に登録されていません: {detail}",
    },
}

_BACK_UP, _CHECK = "{scripts}/backup_data.py", "{scripts}/check_backup_integrity.py"
_COMMANDS = {
    "unreachable": "{scripts}/backup_data.py --dry-run",
    "paused": f"{{scripts}}/restore_data.py list; {_BACK_UP} --resume",
    "none": _BACK_UP,
    "damaged": f"{_BACK_UP}; {_CHECK} --level full --all",
    "stale": _BACK_UP,
    "clock": "timedatectl",
    "time": "timedatectl",
    "watch": f"{_ON_SERVER} watch",
    "frozen": f"{{scripts}}/restore_data.py diff previous latest; {_ON_SERVER} release --client {{client}}",
    "full": f"{_ON_SERVER} prune --explain",
    "failed_backup": _BACK_UP,
    "findings_backup": _BACK_UP,
    "failed_check": _CHECK,
    "findings_check": f"{_BACK_UP}; {_CHECK}",
    "failed_full_check": f"{_CHECK} --level full --all",
    "findings_full_check": f"{_BACK_UP}; {_CHECK} --level full --all",
    "failed_restore_drill": "{scripts}/restore_drill.py",
    "findings_restore_drill": "{scripts}/restore_drill.py",
    "waiting": _CHECK,
    "set_aside": "cat {detail}; rm {detail}",
    "unplanned": "ansible-playbook site.yml",
}
# Where a command of these is run, when it is not this machine.
_ELSEWHERE = {"watch": "server", "frozen": "server", "full": "server", "unplanned": "control"}

LABELS = {
    "en": {
        "well": "All is well.",
        "attention": "Needs a look",
        "run": "run",
        "server": "on the server",
        "control": "where the playbooks are",
        "generations": "Generations of {client}",
        "generation": "Generation",
        "sealed": "Sealed",
        "age": "Age",
        "hours": "{count:.0f} h",
        "days_old": "{count:.0f} d",
        "files": "Files",
        "size": "Size",
        "new": "New",
        "state": "State",
        "program": "Program",
        "last": "Last run",
        "result": "Result",
        "next": "Next run",
        "never": "never",
        "disk_title": "Server's disk",
        "disk": "{free} of {total} free ({used} % used)",
        "days": ", enough for about {days} days at {daily} a day",
        "years": ", enough for more than 10 years at {daily} a day",
        "shareable": "; about {bytes} less would be used on XFS or btrfs, where big files that change a little share what "
        "stays the same",
        "lacks": "Not in the newest backup",
        "copied_open": "In the newest backup, but copied while open",
        "exit": ("clean", "findings", "usage or configuration", "not done"),
        "backup": "backup",
        "check": "check",
        "full check": "full check",
        "restore drill": "restore drill",
        "page": "Backups of {client}",
        "calendar": "Runs, day by day",
        "clean": "clean",
        "findings": "findings",
        "failed": "failed",
        "none": "no run",
        "and": ", ",
        "runs": "Programs",
        "chart_size": "Size of a generation",
        "chart_new": "New content a run",
        "chart_time": "Duration of a run",
        "seconds": "{seconds} s",
        "nothing": "nothing",
        "alert_title": "Last alert",
        "no_alert": "none is known",
    },
    "ja": {
        "well": "異常なし。",
        "attention": "確認が必要です",
        "run": "実行",
        "server": "サーバーで",
        "control": "playbook のあるマシンで",
        "generations": "{client} の世代",
        "generation": "世代",
        "sealed": "作成",
        "age": "経過",
        "hours": "{count:.0f} 時間",
        "days_old": "{count:.0f} 日",
        "files": "ファイル数",
        "size": "サイズ",
        "new": "新規",
        "state": "状態",
        "program": "プログラム",
        "last": "前回の実行",
        "result": "結果",
        "next": "次回の実行",
        "never": "なし",
        "disk_title": "サーバーのディスク",
        "disk": "{total} のうち空き {free} (使用率 {used} %)",
        "days": "、1 日 {daily} のペースで約 {days} 日分",
        "years": "、1 日 {daily} のペースで 10 年分以上",
        "shareable": "。XFS か btrfs なら使用量が約 {bytes} 減ります(一部だけ変わる大きなファイルの、変わらない部分を共有)",
        "lacks": "最新のバックアップに含まれないもの",
        "copied_open": "最新のバックアップに含まれるが、使用中にコピーされたもの",
        "exit": ("正常", "問題あり", "使い方または設定の誤り", "未完了"),
        "backup": "バックアップ",
        "check": "チェック",
        "full check": "全データチェック",
        "restore drill": "復元訓練",
        "page": "{client} のバックアップ",
        "calendar": "実行カレンダー",
        "clean": "正常",
        "findings": "問題あり",
        "failed": "失敗",
        "none": "実行なし",
        "and": "、",
        "runs": "プログラム",
        "chart_size": "世代のサイズ",
        "chart_new": "1 回の新しいデータ量",
        "chart_time": "1 回の所要時間",
        "seconds": "{seconds} 秒",
        "nothing": "なし",
        "alert_title": "最後の通知",
        "no_alert": "記録なし",
    },
}


def title(item: Attention, language: str) -> str:
    """What it is, in one line."""
    names = LABELS[language]
    detail = str(names[item.detail]) if item.kind == "unplanned" else item.detail
    return _TITLES[language][item.kind].format(detail=" ".join(detail.split()))


def room(status: Status) -> str:
    """The server's disk, and for how long it will do."""
    words, server, days = LABELS[status.language], status.server, status.days_left
    free, total = int(server["free_bytes"]), int(server["total_bytes"])
    text = str(words["disk"]).format(
        free=size(free), total=size(total), used=round(100 * (1 - free / total)) if total else 0
    )
    if days is not None:
        span = words["days" if days < _MANY_DAYS else "years"]
        text += str(span).format(days=f"{days:.0f}", daily=size(round(status.daily_bytes)))
    if status.shareable_bytes >= _WORTH_A_WORD:
        text += str(words["shareable"]).format(bytes=size(status.shareable_bytes))
    return text


def last_alert(status: Status) -> str:
    """When the last alert went out, and what it said."""
    if status.last_alert is None:
        return str(LABELS[status.language]["no_alert"])
    return f"{moment(status.last_alert.taken)}: {status.last_alert.subject}"


def age(seconds: float, language: str) -> str:
    """How old something is, for a column."""
    hours = seconds / 3600
    words = LABELS[language]
    return str(words["hours"]).format(count=hours) if hours < 48 else str(words["days_old"]).format(count=hours / 24)


def moment(seconds: float) -> str:
    """A time since the epoch as this machine's clock shows it."""
    return catalog.local(datetime.fromtimestamp(seconds, UTC))


def command(item: Attention, client: str, scripts: Path, language: str) -> str:
    """What to run, and where when it is not this machine; our programs here are in ``scripts``."""
    words = _COMMANDS[item.kind].format(client=client, scripts=shlex.quote(str(scripts)), detail=item.detail)
    where = _ELSEWHERE.get(item.kind, "")
    return f"{words}  ({LABELS[language][where]})" if where else words
