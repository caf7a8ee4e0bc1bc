"""sedai: generations of files and databases on a server, proven and watched."""

__version__ = "0.1.0"
