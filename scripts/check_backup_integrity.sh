#!/bin/sh
# The same as check_backup_integrity.py, under the name of a shell script.
exec "$(dirname "$0")/check_backup_integrity.py" "$@"
