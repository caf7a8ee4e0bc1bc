"""Alert mails: what happened, what it means, the last generation without findings, what to run; in both languages."""

from __future__ import annotations

import pytest

from sedai.client import messages
from sedai.client.config import LANGUAGES
from sedai.client.messages import Incident, compose

KINDS = tuple(messages._SUBJECTS["en"])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_incident_can_be_told_in_every_language(kind: str, language: str) -> None:
    incident = Incident(kind, ["/etc/x could not be read", "/etc/y too"], "20260101T000000Z-000001", "run-this")
    alert = compose(incident, "laptop", "/log", language)
    assert "laptop" in alert.subject
    assert "\n" not in alert.subject
    for part in (*incident.details, "20260101T000000Z-000001", "run-this"):
        assert part in alert.body
    if kind.endswith("findings"):
        assert "2" in alert.subject


def test_the_languages_differ() -> None:
    incident = Incident("backup_failed", ["x"], "", "c")
    bodies = {compose(incident, "laptop", "/log", language).body for language in LANGUAGES}
    assert len(bodies) == len(LANGUAGES)
    assert "不明" in compose(incident, "laptop", "/log", "ja").body


def test_a_long_list_is_cut_and_says_where_the_rest_is() -> None:
    details = [f"line {number}" for number in range(200)]
    body = compose(Incident("check_findings", details, "", "c"), "laptop", "/the/log", "en").body
    assert "line 49\n" in body
    assert "line 50\n" not in body
    assert "150 more" in body
    assert "/the/log" in body


def test_no_table_misses_a_word() -> None:
    for table in (messages._SUBJECTS, messages._MEANINGS, messages._LABELS):
        assert set(table) == set(LANGUAGES)
        assert table["en"].keys() == table["ja"].keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_person_left_out_is_told_apart_and_last(language: str) -> None:
    left_out = [f"/srv/redis-{number}: live files of Redis, not dumped" for number in range(60)]
    incident = Incident("backup_findings", ["x"], "g", "run-this", left_out)
    body = compose(incident, "laptop", "/log", language).body
    title = messages._LABELS[language]["left_out"]
    assert body.index("run-this") < body.index(f"{title}:\n{left_out[0]}\n")
    assert left_out[49] in body and left_out[50] not in body
    assert title not in compose(Incident("backup_findings", ["x"], "g", "c"), "laptop", "/log", language).body


@pytest.mark.parametrize(
    ("language", "title"), [("en", "Last generation without findings"), ("ja", "問題のない最後の世代")]
)
def test_the_generation_is_called_what_it_is(language: str, title: str) -> None:
    """The newest one may be whole, but sealed with findings."""
    mail = compose(Incident("backup_findings", ["x"], "G1", "c"), "laptop", "/log", language)
    over = messages.compose_over("backup", "backup", "laptop", "G1", language)
    assert f"\n{title}:\nG1\n" in mail.body and f"\n{title}:\nG1\n" in over.body
