"""The way out to a person: compose, spool, deliver by msmtp, try again."""
