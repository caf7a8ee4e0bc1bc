"""The machine under attack, for all attempts."""

from __future__ import annotations

from attack_lab import attacker, before, beta, gamma, oldest, protected, server, theirs, unharmed

__all__ = ["attacker", "before", "beta", "gamma", "oldest", "protected", "server", "theirs", "unharmed"]
