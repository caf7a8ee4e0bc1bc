#compdef sedai_server.py



_shtab_sedai_server_py_commands() {
  local _commands=(
    freeze:'prune nothing of a client until it is released'
    import:'make generations of the snapshots of rsnapshot, rsync-time-backup, or any dated directories'
    prune:'drop the generations that the retention rule does not keep'
    release:'let pruning go on'
    report:'mail how the backups are, also when all is well'
    scrub:'read a share of all stored files anew, compare it with all manifests, and mail what is rotten'
    status:'what is wrong, what is kept, the room left; 1 where something needs a look'
    watch:'look for backups that are late, small or odd, and mail what is found'
  )
  _describe 'sedai_server.py commands' _commands
}

_shtab_sedai_server_py_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--config[default\: \/etc\/sedai\/server.toml]:config:"
  "(- : *)--version[show program\'s version number and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_defaults_added=0

_shtab_sedai_server_py_freeze_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--client[client]:client:"
  "--reason[shown wherever pruning is said to stand still]:reason:"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_freeze_defaults_added=0

_shtab_sedai_server_py_import_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--client[whose they become\; it must have no generation of its own yet]:client:"
  "--from[the directory of the snapshots, which is only read]:DIR:"
  "--layout[rsnapshot\: daily.0, hourly.3\; dated\: names with a date, in local time (default\: auto)]:layout:(auto rsnapshot dated)"
  "--strip[what of each snapshot is the client\'s root (default\: rsnapshot\'s machine name)]:PATH:"
  "--below[where on the client the files were, if the snapshots do not say it\: \/home]:PATH:"
  "--dry-run[change nothing\; say what would be done]"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_import_defaults_added=0

_shtab_sedai_server_py_prune_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--client[only this client (default\: all)]:client:"
  "--explain[change nothing\; say why each is kept or goes]"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_prune_defaults_added=0

_shtab_sedai_server_py_release_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--client[client]:client:"
  "--reason[shown wherever pruning is said to stand still]:reason:"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_release_defaults_added=0

_shtab_sedai_server_py_report_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_report_defaults_added=0

_shtab_sedai_server_py_scrub_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_scrub_defaults_added=0

_shtab_sedai_server_py_status_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--json[print everything as one JSON object]"
  "--html[write it as one page that needs nothing else]:FILE:"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_status_defaults_added=0

_shtab_sedai_server_py_watch_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_server_py_watch_defaults_added=0


_shtab_sedai_server_py() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->sedai_server.py'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_sedai_server_py_defaults_added )); then
    if (( ${_shtab_sedai_server_py_options[(I)${(q)one_or_more}*]} +          ${_shtab_sedai_server_py_options[(I)${(q)remainder}*]} +          ${_shtab_sedai_server_py_options[(I)${(q)default}]} == 0 )); then
      _shtab_sedai_server_py_options+=(': :_shtab_sedai_server_py_commands' '*::: :->sedai_server.py')
    fi
    _shtab_sedai_server_py_defaults_added=1
  fi
  _arguments -C -s $_shtab_sedai_server_py_options

  case $state in
    sedai_server.py)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_sedai_server_py-$line[1]:"
      case $line[1] in
        freeze) _arguments -C -s $_shtab_sedai_server_py_freeze_options ;;
        import) _arguments -C -s $_shtab_sedai_server_py_import_options ;;
        prune) _arguments -C -s $_shtab_sedai_server_py_prune_options ;;
        release) _arguments -C -s $_shtab_sedai_server_py_release_options ;;
        report) _arguments -C -s $_shtab_sedai_server_py_report_options ;;
        scrub) _arguments -C -s $_shtab_sedai_server_py_scrub_options ;;
        status) _arguments -C -s $_shtab_sedai_server_py_status_options ;;
        watch) _arguments -C -s $_shtab_sedai_server_py_watch_options ;;
      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_sedai_server_py -N sedai_server.py
else
  # autoload from fpath, call function directly
  _shtab_sedai_server_py "$@"
fi
