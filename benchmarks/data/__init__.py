"""What is backed up, and how it changes from one backup to the next."""
