"""Manual pages and shell completions, made from what the programs say of themselves: `python tests/project/manuals.py`."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab
from argparse_manpage.manpage import Manpage

SCRIPTS = Path(__file__).parents[2] / "scripts"
# Below /usr/local/ on the hosts.
SHARE = SCRIPTS.parent / "files" / "share"
sys.path.insert(0, str(SCRIPTS))
PROGRAMS = {
    "client": ("backup_data", "backup_status", "check_backup_integrity", "restore_data", "restore_drill"),
    "server": ("sedai_gate", "sedai_server"),
    "alert_mail": ("send_alert_email",),
}


def parser(module: str) -> argparse.ArgumentParser:
    """The command line of a program; that of the sender, which takes its arguments apart itself, in words only."""
    program = importlib.import_module(module)
    if module == "send_alert_email":
        usage, _, rest = program.HELP.partition("\n\n")
        return argparse.ArgumentParser(
            prog="send_alert_email.sh", usage=usage.removeprefix("usage: "),
            description=program.__doc__.partition(";")[0], epilog=rest,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
    name, sys.argv[0] = sys.argv[0], f"{module}.py"  # the verbs' names begin with it
    try:
        made: argparse.ArgumentParser = program.command_line()
    finally:
        sys.argv[0] = name
    return made


def manual(module: str) -> str:
    """The manual page of a program, section 1."""
    of = parser(module)
    of.description = (of.description or "").replace("``", "")
    summary = of.description.strip().splitlines()[0].rstrip(".")
    of.man_short_description = summary[:1].lower() + summary[1:]  # type: ignore[attr-defined]
    page = Manpage(of)
    page.date, page.source, page.manual = "", "sedai", "sedai"
    text = str(page).replace(f" {of.prog} --", f"\n.br\n.B {of.prog}\n--")  # a second way to call it
    # The epilog is laid out by hand, so its lines stay as they are.
    head, _, epilog = text.partition(".SH COMMENTS\n")
    parts = ""
    for part in re.split(r"\n\n", epilog.strip("\n")):
        title, _, lines = part.partition(":\n")
        if lines and "\n" not in title:
            parts += f".SH {title.partition(' (')[0].upper()}\n.nf\n{lines}\n.fi\n"
        else:
            parts += f".PP\n.nf\n{part}\n.fi\n"
    return "\n".join(line.rstrip() for line in (head + parts).splitlines()) + "\n"


def completed(module: str) -> argparse.ArgumentParser:
    """The command line of a program with all its options, as a shell completes it."""
    of = parser(module)
    if module == "send_alert_email":
        program = importlib.import_module(module)
        for option in sorted({*program.OPTIONS} - {"--help"}):  # argparse brings that one
            of.add_argument(option, action="store_true")
    return of


def completion(of: argparse.ArgumentParser, shell: str) -> str:
    """The completions of a program, without the hints where to put them."""
    lines = shtab.complete(of, shell).splitlines()
    kept = [
        line
        for number, line in enumerate(lines)
        if number > 9 or line.startswith("#compdef") or not line.startswith("#")
    ]
    return "\n".join(line.rstrip() for line in kept).strip("\n") + "\n"


def files() -> Iterator[tuple[str, str]]:
    """Every file below the share directory, with its text."""
    for modules in PROGRAMS.values():
        for module in modules:
            of = completed(module)
            yield f"man/man1/{of.prog}.1", manual(module)
            for shell, name in (("bash", "bash-completion/completions/"), ("zsh", "zsh/site-functions/_")):
                yield name + of.prog, completion(of, shell)


def main() -> None:
    """Write them all."""
    for name, text in files():
        path = SHARE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
