#compdef send_alert_email.sh



_shtab_send_alert_email_sh_commands() {
  local _commands=(

  )
  _describe 'send_alert_email.sh commands' _commands
}

_shtab_send_alert_email_sh_options=(
  "(- : *)"{-h,--help}"[show this help message and exit]"
  "--flush[flush]"
  "--incident[incident]"
  "--incidents[incidents]"
  "--list[list]"
  "--resolved[resolved]"
  "--version[version]"
)

# guard to ensure default positional specs are added only once per session
_shtab_send_alert_email_sh_defaults_added=0


_shtab_send_alert_email_sh() {
  local context state line curcontext="$curcontext" one_or_more='(*)' remainder='(-)*:' default='*::: :->send_alert_email.sh'

  # Add default positional/remainder specs only if none exist, and only once per session
  if (( ! _shtab_send_alert_email_sh_defaults_added )); then
    if (( ${_shtab_send_alert_email_sh_options[(I)${(q)one_or_more}*]} +          ${_shtab_send_alert_email_sh_options[(I)${(q)remainder}*]} +          ${_shtab_send_alert_email_sh_options[(I)${(q)default}]} == 0 )); then
      _shtab_send_alert_email_sh_options+=(': :_shtab_send_alert_email_sh_commands' '*::: :->send_alert_email.sh')
    fi
    _shtab_send_alert_email_sh_defaults_added=1
  fi
  _arguments -C -s $_shtab_send_alert_email_sh_options

  case $state in
    send_alert_email.sh)
      words=($line[1] "${words[@]}")
      (( CURRENT += 1 ))
      curcontext="${curcontext%:*:*}:_shtab_send_alert_email_sh-$line[1]:"
      case $line[1] in

      esac
  esac
}



typeset -A opt_args

if [[ $zsh_eval_context[-1] == eval ]]; then
  # eval/source/. command, register function for later
  compdef _shtab_send_alert_email_sh -N send_alert_email.sh
else
  # autoload from fpath, call function directly
  _shtab_send_alert_email_sh "$@"
fi
