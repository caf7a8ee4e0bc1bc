#compdef backup_status.py



_shtab_backup_status_py_commands() {
  local _commands=(

  )
  _describe 'backup_status.py commands' _commands
}

_shtab_backup_status_py_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--config[configuration file (default\: \~\/.config\/sedai\/client.toml)]:config:"
  "(- : *)--version[show program\'s version number and exit]"
  "--json[print everything as one JSON object]"
  "--html[write it as one page that needs nothing else]:FILE:"
)

# guard to ensure default positional specs are added only once per session
_shtab_backup_status_py_defaults_added=0


_shtab_backup_status_py() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->backup_status.py'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_backup_status_py_defaults_added )); then
    if (( ${_shtab_backup_status_py_options[(I)${(q)one_or_more}*]} +          ${_shtab_backup_status_py_options[(I)${(q)remainder}*]} +          ${_shtab_backup_status_py_options[(I)${(q)default}]} == 0 )); then
      _shtab_backup_status_py_options+=(': :_shtab_backup_status_py_commands' '*::: :->backup_status.py')
    fi
    _shtab_backup_status_py_defaults_added=1
  fi
  _arguments -C -s $_shtab_backup_status_py_options

  case $state in
    backup_status.py)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_backup_status_py-$line[1]:"
      case $line[1] in

      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_backup_status_py -N backup_status.py
else
  # autoload from fpath, call function directly
  _shtab_backup_status_py "$@"
fi
