"""Ours beside what a user would pick instead: the same data, the same sshd, the same run."""
