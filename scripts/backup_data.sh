#!/bin/sh
# The same as backup_data.py, under the name of a shell script.
exec "$(dirname "$0")/backup_data.py" "$@"
