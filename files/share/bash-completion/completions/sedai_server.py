_shtab_sedai_server_py_subparsers=(status prune freeze release watch scrub report import)

_shtab_sedai_server_py_status_option_strings=(-h --help --json --html)
_shtab_sedai_server_py_prune_option_strings=(-h --help --client --explain)
_shtab_sedai_server_py_freeze_option_strings=(-h --help --client --reason)
_shtab_sedai_server_py_release_option_strings=(-h --help --client --reason)
_shtab_sedai_server_py_watch_option_strings=(-h --help)
_shtab_sedai_server_py_scrub_option_strings=(-h --help)
_shtab_sedai_server_py_report_option_strings=(-h --help)
_shtab_sedai_server_py_import_option_strings=(-h --help --client --from --layout --strip --below --dry-run)
_shtab_sedai_server_py_option_strings=(-h --help --config --version)



_shtab_sedai_server_py_import___layout_choices=(auto rsnapshot dated)
_shtab_sedai_server_py_pos_0_choices=(status prune freeze release watch scrub report import)

_shtab_sedai_server_py_status__h_nargs=0
_shtab_sedai_server_py_status___help_nargs=0
_shtab_sedai_server_py_status___json_nargs=0
_shtab_sedai_server_py_prune__h_nargs=0
_shtab_sedai_server_py_prune___help_nargs=0
_shtab_sedai_server_py_prune___explain_nargs=0
_shtab_sedai_server_py_freeze__h_nargs=0
_shtab_sedai_server_py_freeze___help_nargs=0
_shtab_sedai_server_py_release__h_nargs=0
_shtab_sedai_server_py_release___help_nargs=0
_shtab_sedai_server_py_watch__h_nargs=0
_shtab_sedai_server_py_watch___help_nargs=0
_shtab_sedai_server_py_scrub__h_nargs=0
_shtab_sedai_server_py_scrub___help_nargs=0
_shtab_sedai_server_py_report__h_nargs=0
_shtab_sedai_server_py_report___help_nargs=0
_shtab_sedai_server_py_import__h_nargs=0
_shtab_sedai_server_py_import___help_nargs=0
_shtab_sedai_server_py_import___dry_run_nargs=0
_shtab_sedai_server_py_pos_0_nargs=A...
_shtab_sedai_server_py__h_nargs=0
_shtab_sedai_server_py___help_nargs=0
_shtab_sedai_server_py___version_nargs=0


# $1=COMP_WORDS[1]
_shtab_compgen_files() {
  compgen -f -- $1  # files
}

# $1=COMP_WORDS[1]
_shtab_compgen_dirs() {
  compgen -d -- $1  # recurse into subdirs
}

# $1=COMP_WORDS[1]
_shtab_replace_nonword() {
  echo "${1//[^[:word:]]/_}"
}

# set default values (called for the initial parser & any subparsers)
_set_parser_defaults() {
  local subparsers_var="${prefix}_subparsers[@]"
  sub_parsers=${!subparsers_var-}

  local current_option_strings_var="${prefix}_option_strings[@]"
  current_option_strings=${!current_option_strings_var}

  completed_positional_actions=0

  _set_new_action "pos_$completed_positional_actions" true
}

# $1=action identifier
# $2=positional action (bool)
# set all identifiers for an action's parameters
_set_new_action() {
  current_action="${prefix}_$(_shtab_replace_nonword $1)"

  local current_action_compgen_var=${current_action}_COMPGEN
  current_action_compgen="${!current_action_compgen_var-}"

  local current_action_choices_var="${current_action}_choices[@]"
  current_action_choices="${!current_action_choices_var-}"

  local current_action_nargs_var="${current_action}_nargs"
  if [ -n "${!current_action_nargs_var-}" ]; then
    current_action_nargs="${!current_action_nargs_var}"
  else
    current_action_nargs=1
  fi

  current_action_args_start_index=$(( $word_index + 1 - $pos_only ))

  current_action_is_positional=$2
}

# Notes:
# `COMPREPLY`: what will be rendered after completion is triggered
# `completing_word`: currently typed word to generate completions for
# `${!var}`: evaluates the content of `var` and expand its content as a variable
#     hello="world"
#     x="hello"
#     ${!x} -> ${hello} -> "world"
_shtab_sedai_server_py() {
  local completing_word="${COMP_WORDS[COMP_CWORD]}"
  local previous_word="${COMP_WORDS[COMP_CWORD-1]}"
  local completed_positional_actions
  local current_action
  local current_action_args_start_index
  local current_action_choices
  local current_action_compgen
  local current_action_is_positional
  local current_action_nargs
  local current_option_strings
  local sub_parsers
  COMPREPLY=()

  local prefix=_shtab_sedai_server_py
  local word_index=0
  local pos_only=0 # "--" delimiter not encountered yet
  _set_parser_defaults
  word_index=1

  # determine what arguments are appropriate for the current state
  # of the arg parser
  while [ $word_index -ne $COMP_CWORD ]; do
    local this_word="${COMP_WORDS[$word_index]}"

    if [[ $pos_only = 1 || " $this_word " != " -- " ]]; then
      if [[ -n $sub_parsers && " ${sub_parsers[@]} " == *" $this_word "* ]]; then
        # valid subcommand: add it to the prefix & reset the current action
        prefix="${prefix}_$(_shtab_replace_nonword $this_word)"
        _set_parser_defaults
      fi

      if [[ " ${current_option_strings[@]} " == *" $this_word "* ]]; then
        # a new action should be acquired (due to recognised option string or
        # no more input expected from current action);
        # the next positional action can fill in here
        _set_new_action $this_word false
      fi

      if [[ "$current_action_nargs" != "*" ]] && \
         [[ "$current_action_nargs" != "+" ]] && \
         [[ "$current_action_nargs" != "?" ]] && \
         [[ "$current_action_nargs" != *"..." ]] && \
         (( $word_index + 1 - $current_action_args_start_index - $pos_only >= \
            $current_action_nargs )); then
        $current_action_is_positional && let "completed_positional_actions += 1"
        _set_new_action "pos_$completed_positional_actions" true
      fi
    else
      pos_only=1 # "--" delimiter encountered
    fi

    let "word_index+=1"
  done

  # Generate the completions

  COMPREPLY=()
  if [[ $pos_only = 0 && "$completing_word" == -* &&
        ( -z "$current_action_compgen" || "$current_action_is_positional" = true ) ]]; then
    # optional argument started: use option strings
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
      compgen -W "${current_option_strings[*]}" -- "$completing_word")
  elif [[ "$previous_word" =~ ^[0-9\&]*[\<\>]\>?$ ]]; then
    # handle redirection operators
    compopt -o filenames 2>/dev/null || : # bash>=4
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$completing_word")
  else
    # use choices & compgen
    local action_compgen_word="$completing_word"
    # handle tab-completing in the middle of a line (#248 <- #116)
    [[ -n "$current_action_compgen" && "$completing_word" == -* ]] && action_compgen_word=""
    [ -n "$current_action_compgen" ] && {
      [[ "$current_action_compgen" =~ _(file|dir|glob|FILE|DIR|GLOB)|File|Dir|Glob ]] &&
        compopt -o filenames 2>/dev/null || : # bash>=4
      while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
        "$current_action_compgen" "$action_compgen_word")
    }
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
      compgen -W "${current_action_choices[*]}" -- "$completing_word")
  fi

  if [[ ${#COMPREPLY[@]} = 0 ]]; then
    # native fallback matches are not necessarily filenames (e.g. variables)
    compopt +o filenames 2>/dev/null || : # bash>=4
  fi

  return 0
}

complete -o bashdefault -F _shtab_sedai_server_py sedai_server.py
