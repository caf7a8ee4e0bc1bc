"""Tries a mail provider from the machine that will send: name, port, certificate, login. No mail is sent.

It comes over SSH, by the standard input of that machine's python3, and so does what is asked, in the line after the
program; the password is never on a command line. It prints one JSON object: problem (empty when all is well), and the
words that belong to it. Only the standard library, Python 3.9 or newer.
"""

from __future__ import annotations

import base64
import json
import os
import smtplib
import socket
import ssl
from typing import Any

# What msmtp trusts, by the role msmtp.
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
SECONDS = 20
ACCEPTED = 235


def connect(host: str, port: int) -> smtplib.SMTP:
    """A connection with TLS: from the first byte on 465, by STARTTLS elsewhere, as msmtp does it."""
    context = ssl.create_default_context(cafile=AUTHORITIES)
    # Newer Pythons are stricter about the form of certificates than msmtp is.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if port == 465:
        return smtplib.SMTP_SSL(host, port, timeout=SECONDS, context=context)
    client = smtplib.SMTP(host, port, timeout=SECONDS)
    client.starttls(context=context)
    client.ehlo()
    return client


def log_in(client: smtplib.SMTP, user: str, password: str) -> tuple[int, str]:
    """Code and words of the provider. Not smtplib's login: that one can't send a password with other letters than ASCII."""
    client.ehlo_or_helo_if_needed()
    ways = client.esmtp_features.get("auth", "").upper().split()
    if "PLAIN" in ways:
        code, words = client.docmd("AUTH", "PLAIN " + encoded(f"\0{user}\0{password}"))
    elif "LOGIN" in ways:
        code, words = client.docmd("AUTH", "LOGIN")
        for part in (user, password):
            if code == 334:
                code, words = client.docmd(encoded(part))
    else:
        return client.login(user, password)[0], ""
    return code, words.decode("utf-8", "replace")


def encoded(text: str) -> str:
    """Base64 of the text in UTF-8, on one line."""
    return base64.b64encode(text.encode()).decode()


def probe(host: str, port: int, user: str, password: str) -> dict[str, Any]:
    """What is wrong, first of all things; the login is tried only with a password, the port only with a port."""
    try:
        socket.getaddrinfo(host, port or None, type=socket.SOCK_STREAM)
    except OSError:
        return {"problem": "smtp_unknown_name"}
    if not port:
        return {"problem": ""}
    if not os.path.exists(AUTHORITIES):
        return {"problem": "smtp_no_authorities"}
    try:
        with connect(host, port) as client:
            if not password:
                return {"problem": ""}
            code, words = log_in(client, user, password)
            if code == ACCEPTED:
                return {"problem": ""}
            return {"problem": "smtp_login" if code >= 500 else "smtp_later", "reply": f"{code} {words}"}
    except ssl.SSLCertVerificationError as error:
        return {"problem": "smtp_certificate", "reply": error.verify_message}
    except (ssl.SSLError, smtplib.SMTPNotSupportedError, smtplib.SMTPServerDisconnected) as error:
        return {"problem": "smtp_no_tls", "reply": str(error)}
    except smtplib.SMTPResponseException as error:
        return {"problem": "smtp_login", "reply": f"{error.smtp_code} {error.smtp_error!r}"}
    except (OSError, smtplib.SMTPException) as error:
        return {"problem": "smtp_unreachable", "reply": getattr(error, "strerror", None) or str(error)}


def main(arguments: dict[str, Any]) -> None:
    """Probe, and answer without the password, should the provider have repeated it."""
    answer = probe(**arguments)
    if arguments["password"]:
        answer = {key: value.replace(arguments["password"], "***") for key, value in answer.items()}
    print(json.dumps(answer))
