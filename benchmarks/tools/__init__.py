"""Ours, the peers and the floors: how each one does each operation."""
