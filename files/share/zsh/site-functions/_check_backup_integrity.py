#compdef check_backup_integrity.py



_shtab_check_backup_integrity_py_commands() {
  local _commands=(

  )
  _describe 'check_backup_integrity.py commands' _commands
}

_shtab_check_backup_integrity_py_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--config[configuration file (default\: \~\/.config\/sedai\/client.toml)]:config:"
  "(- : *)--version[show program\'s version number and exit]"
  "--level[full reads every byte]:level:(quick full)"
  "--generation[the one to check (default\: the newest)]:ID:"
  "--all[check all generations]"
  "--json[print the result as JSON]"
  "--quiet[no output unless something is wrong]"
  "--catch-up[only if the last check is older than a day]"
)

# guard to ensure default positional specs are added only once per session
_shtab_check_backup_integrity_py_defaults_added=0


_shtab_check_backup_integrity_py() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->check_backup_integrity.py'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_check_backup_integrity_py_defaults_added )); then
    if (( ${_shtab_check_backup_integrity_py_options[(I)${(q)one_or_more}*]} +          ${_shtab_check_backup_integrity_py_options[(I)${(q)remainder}*]} +          ${_shtab_check_backup_integrity_py_options[(I)${(q)default}]} == 0 )); then
      _shtab_check_backup_integrity_py_options+=(': :_shtab_check_backup_integrity_py_commands' '*::: :->check_backup_integrity.py')
    fi
    _shtab_check_backup_integrity_py_defaults_added=1
  fi
  _arguments -C -s $_shtab_check_backup_integrity_py_options

  case $state in
    check_backup_integrity.py)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_check_backup_integrity_py-$line[1]:"
      case $line[1] in

      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_check_backup_integrity_py -N check_backup_integrity.py
else
  # autoload from fpath, call function directly
  _shtab_check_backup_integrity_py "$@"
fi
