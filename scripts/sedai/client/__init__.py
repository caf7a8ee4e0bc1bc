"""The machine that has the data: scan, plan, send, check, restore."""
