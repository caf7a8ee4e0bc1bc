#compdef sedai_gate.py



_shtab_sedai_gate_py_commands() {
  local _commands=(

  )
  _describe 'sedai_gate.py commands' _commands
}

_shtab_sedai_gate_py_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--client[whose key this is]:client:"
  "--config[default\: \/etc\/sedai\/server.toml]:config:"
  "(- : *)--version[show program\'s version number and exit]"
)

# guard to ensure default positional specs are added only once per session
_shtab_sedai_gate_py_defaults_added=0


_shtab_sedai_gate_py() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->sedai_gate.py'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_sedai_gate_py_defaults_added )); then
    if (( ${_shtab_sedai_gate_py_options[(I)${(q)one_or_more}*]} +          ${_shtab_sedai_gate_py_options[(I)${(q)remainder}*]} +          ${_shtab_sedai_gate_py_options[(I)${(q)default}]} == 0 )); then
      _shtab_sedai_gate_py_options+=(': :_shtab_sedai_gate_py_commands' '*::: :->sedai_gate.py')
    fi
    _shtab_sedai_gate_py_defaults_added=1
  fi
  _arguments -C -s $_shtab_sedai_gate_py_options

  case $state in
    sedai_gate.py)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_sedai_gate_py-$line[1]:"
      case $line[1] in

      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_sedai_gate_py -N sedai_gate.py
else
  # autoload from fpath, call function directly
  _shtab_sedai_gate_py "$@"
fi
