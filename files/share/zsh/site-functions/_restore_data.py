#compdef restore_data.py



_shtab_restore_data_py_commands() {
  local _commands=(
    databases:'The dumps of databases in a generation.'
    diff:'What differs between two generations.'
    find:'Which generations hold which versions of a file.'
    list:'The generations, oldest first, with what is known of their state.'
    restore:'Bring files or directories back.'
    restore-db:'Load a database again from its dump.'
  )
  _describe 'restore_data.py commands' _commands
}

_shtab_restore_data_py_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--config[configuration file (default\: \~\/.config\/sedai\/client.toml)]:config:"
  "(- : *)--version[show program\'s version number and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_data_py_defaults_added=0

_shtab_restore_data_py_databases_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--generation[default\: latest\; also\: previous]:ID:"
  "--at[the newest one sealed by then\: 2026-01-31, 2026-01-31T18\:30]:TIME:"
  "--json[print the notes as JSON]"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_data_py_databases_defaults_added=0

_shtab_restore_data_py_diff_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--json[print one JSON object a line, the counts last]"
  ":a generation\; also\: previous, latest:"
  ":another one:"
  "(*)::only at and below these\; absolute:"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_data_py_diff_defaults_added=0

_shtab_restore_data_py_find_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--json[print the versions as JSON]"
  ":a glob\: \*, \?, \[a-z\]\; with \/ the whole path has to fit, else the last name:"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_data_py_find_defaults_added=0

_shtab_restore_data_py_list_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--json[print the records as JSON]"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_data_py_list_defaults_added=0

_shtab_restore_data_py_restore_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--generation[default\: latest\; also\: previous]:ID:"
  "--at[the newest one sealed by then\: 2026-01-31, 2026-01-31T18\:30]:TIME:"
  "--to[restore below DIR, under the full path\; default\: in place]:DIR:"
  "--dry-run[only say what would be done]"
  "--keep-existing[leave what is there and differs, list it, and restore the rest]"
  "--overwrite[replace what is there and differs]"
  "--accept-damaged[restore what there is of damaged files, too]"
  "--ignore-space[begin where the disk seems too small, too\: files with holes need less]"
  "--quiet[no output unless something is wrong]"
  "(*):absolute, as it was on this machine:"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_data_py_restore_defaults_added=0

_shtab_restore_data_py_restore_db_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--generation[default\: latest\; also\: previous]:ID:"
  "--at[the newest one sealed by then\: 2026-01-31, 2026-01-31T18\:30]:TIME:"
  "--as[under this name (SQLite\: a file)]:NEWNAME:"
  "--overwrite[rename the database that is there, then restore in its place]"
  "--no-owner[everything in it belongs to the account that restores]"
  "--quiet[no output unless something is wrong]"
  ":as \`restore_data.py databases\` names it\: server\/database:"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_data_py_restore_db_defaults_added=0


_shtab_restore_data_py() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->restore_data.py'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_restore_data_py_defaults_added )); then
    if (( ${_shtab_restore_data_py_options[(I)${(q)one_or_more}*]} +          ${_shtab_restore_data_py_options[(I)${(q)remainder}*]} +          ${_shtab_restore_data_py_options[(I)${(q)default}]} == 0 )); then
      _shtab_restore_data_py_options+=(': :_shtab_restore_data_py_commands' '*::: :->restore_data.py')
    fi
    _shtab_restore_data_py_defaults_added=1
  fi
  _arguments -C -s $_shtab_restore_data_py_options

  case $state in
    restore_data.py)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_restore_data_py-$line[1]:"
      case $line[1] in
        databases) _arguments -C -s $_shtab_restore_data_py_databases_options ;;
        diff) _arguments -C -s $_shtab_restore_data_py_diff_options ;;
        find) _arguments -C -s $_shtab_restore_data_py_find_options ;;
        list) _arguments -C -s $_shtab_restore_data_py_list_options ;;
        restore) _arguments -C -s $_shtab_restore_data_py_restore_options ;;
        restore-db) _arguments -C -s $_shtab_restore_data_py_restore_db_options ;;
      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_restore_data_py -N restore_data.py
else
  # autoload from fpath, call function directly
  _shtab_restore_data_py "$@"
fi
