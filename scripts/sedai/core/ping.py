"""A sign of life for a service outside, which speaks when the signs stay away: healthchecks.io's protocol and its likes.

``URL/start``, then ``URL`` or ``URL/fail``. Nothing is sent but the request; the URL is a capability, so it is not logged.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from logging import Logger
from typing import Any

START, SUCCESS, FAIL = "/start", "", "/fail"
_TIMEOUT_SECONDS = 10.0


def check_url(url: str) -> None:
    """Refuse what can't be pinged; the empty ``url`` is none.

    Raises:
        ValueError: it is no https URL; plain http is for this machine and private addresses only.
    """
    if not url:
        return
    parts = urllib.parse.urlsplit(url)
    if not url.isascii() or not url.isprintable() or " " in url or not parts.hostname or parts.fragment:
        raise ValueError("ping_url must be a URL such as https://hc.example.com/ping/UUID.")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_private(parts.hostname)):
        raise ValueError("ping_url must begin with https:// (http:// is for this machine and private addresses only).")


def ping(url: str, event: str, log: Logger) -> None:
    """Tell the service at ``url`` of ``event``; whatever goes wrong is logged and hurts nobody."""
    if not url:
        return
    # Imported here: half of the time that the gate needs to start would be theirs, and few have such a URL.
    import http.client
    import urllib.error
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        """A redirect could lead from https to anywhere."""

        def redirect_request(self, *_: Any, **__: Any) -> None:
            return None

    parts = urllib.parse.urlsplit(url)
    target = parts._replace(path=parts.path.rstrip("/") + event).geturl()
    try:
        check_url(url)
        with urllib.request.build_opener(NoRedirect).open(target, timeout=_TIMEOUT_SECONDS):
            pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = f"HTTP {error.code}" if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        log.warning("the ping%s of %s was not taken: %s", event, parts.hostname, reason)


def _is_private(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"
