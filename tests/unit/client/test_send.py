"""What rsync prints, understood."""

from __future__ import annotations

import pytest

from sedai.client.send import parse_line

DIGEST = b"eefac9d87100cd1336b2e733a5484425"
NONE = b" " * 32


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"<f+++++++++|" + DIGEST + b"|12|etc/hosts\n", (b"etc/hosts", DIGEST, 12)),
        (b"<f+++++++++|" + DIGEST + b"|1|n\\#012l\\#351\n", (b"n\nl\xe9", DIGEST, 1)),
        (b"<f+++++++++|" + DIGEST + b"|1|a|b\n", (b"a|b", DIGEST, 1)),
        (b"<f+++++++++|" + DIGEST + b"|1|\\#134#012\n", (b"\\#012", DIGEST, 1)),
        (b"cd+++++++++|" + NONE + b"|4096|etc/\n", (b"etc", b"", 4096)),
        (b"hf+++++++++|" + NONE + b"|12|a\n", (b"a", b"", 12)),
        (b"created directory /tmp/t\n", None),
        (b"\n", None),
    ],
)
def test_a_line_of_rsync(line: bytes, expected: tuple[bytes, bytes, int] | None) -> None:
    assert parse_line(line) == expected
