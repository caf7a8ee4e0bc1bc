"""The machine that keeps generations: gate, seal, prune, verify."""
