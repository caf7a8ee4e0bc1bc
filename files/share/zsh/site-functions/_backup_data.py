#compdef backup_data.py



_shtab_backup_data_py_commands() {
  local _commands=(

  )
  _describe 'backup_data.py commands' _commands
}

_shtab_backup_data_py_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--config[configuration file (default\: \~\/.config\/sedai\/client.toml)]:config:"
  "(- : *)--version[show program\'s version number and exit]"
  "--dry-run[plan only\; nothing is sent]"
  "--resume[end a pause first]"
  "*--forget[a database that is gone for good\: server\/database]:NAME:"
  "--rehash[then read unchanged files again\: all, or one of so many shares]:SHARES:"
  "--json[print the run record as JSON]"
  "--quiet[no output unless something is wrong]"
  "--catch-up[only if the last backup is older than a day]"
)

# guard to ensure default positional specs are added only once per session
_shtab_backup_data_py_defaults_added=0


_shtab_backup_data_py() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->backup_data.py'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_backup_data_py_defaults_added )); then
    if (( ${_shtab_backup_data_py_options[(I)${(q)one_or_more}*]} +          ${_shtab_backup_data_py_options[(I)${(q)remainder}*]} +          ${_shtab_backup_data_py_options[(I)${(q)default}]} == 0 )); then
      _shtab_backup_data_py_options+=(': :_shtab_backup_data_py_commands' '*::: :->backup_data.py')
    fi
    _shtab_backup_data_py_defaults_added=1
  fi
  _arguments -C -s $_shtab_backup_data_py_options

  case $state in
    backup_data.py)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_backup_data_py-$line[1]:"
      case $line[1] in

      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_backup_data_py -N backup_data.py
else
  # autoload from fpath, call function directly
  _shtab_backup_data_py "$@"
fi
