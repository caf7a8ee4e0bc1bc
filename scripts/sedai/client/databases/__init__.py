"""Databases as sources: dumped, proven and noted before each backup; loaded again by a restore and by the drill."""
