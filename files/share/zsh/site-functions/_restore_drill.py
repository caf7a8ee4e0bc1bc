#compdef restore_drill.py



_shtab_restore_drill_py_commands() {
  local _commands=(

  )
  _describe 'restore_drill.py commands' _commands
}

_shtab_restore_drill_py_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--config[configuration file (default\: \~\/.config\/sedai\/client.toml)]:config:"
  "(- : *)--version[show program\'s version number and exit]"
  "--generation[default\: the newest]:ID:"
  "--files[how many files (default\: as configured)]:N:"
  "--seed[draw the same sample as the drill that named this seed]:N:"
  "*--database[load only this one]:NAME:"
  "--json[print the result as JSON]"
  "--quiet[no output unless something is wrong]"
  "--catch-up[only if the last drill is older than a month]"
)

# guard to ensure default positional specs are added only once per session
_shtab_restore_drill_py_defaults_added=0


_shtab_restore_drill_py() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->restore_drill.py'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_restore_drill_py_defaults_added )); then
    if (( ${_shtab_restore_drill_py_options[(I)${(q)one_or_more}*]} +          ${_shtab_restore_drill_py_options[(I)${(q)remainder}*]} +          ${_shtab_restore_drill_py_options[(I)${(q)default}]} == 0 )); then
      _shtab_restore_drill_py_options+=(': :_shtab_restore_drill_py_commands' '*::: :->restore_drill.py')
    fi
    _shtab_restore_drill_py_defaults_added=1
  fi
  _arguments -C -s $_shtab_restore_drill_py_options

  case $state in
    restore_drill.py)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_restore_drill_py-$line[1]:"
      case $line[1] in

      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_restore_drill_py -N restore_drill.py
else
  # autoload from fpath, call function directly
  _shtab_restore_drill_py "$@"
fi
