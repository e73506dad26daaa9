# SPDX-License-Identifier: MIT
#
# bash completion for img and img-COMMAND.  Nothing is listed here: the words
# come from the program's own --help, so that they are always the right ones.

_img_help()
{
    "$@" --help 2>/dev/null
}

_img_formats()
{
    _img_help img | sed -n 's/^Supported formats: //p'
}

# What follows "Profiles:" in the help.
_img_profiles()
{
    _img_help img check | sed -n '/^Profiles:/,$ s/^  \([a-z-]*\) .*/\1/p'
}

# All options of a command: "  -f, --format=FMT  text" gives -f and --format.
_img_options()
{
    _img_help "$@" | sed -n \
        -e 's/^  \(-[^-]\).*/\1/p' \
        -e 's/^  ...  *\(--[a-z-]*\).*/\1/p'
}

# What kind of argument option $1 of a command takes: FMT, FILE, ...; empty if none.
_img_argument()
{
    local option=$1
    shift
    _img_help "$@" | sed -n \
        -e "s/^  $option, *--[a-z-]*=\([A-Z]*\).*/\1/p" \
        -e "s/^  .*$option\[=\([A-Z]*\)\].*/\1/p" \
        -e "s/^  $option  *\([A-Z][A-Z]*\) .*/\1/p" \
        -e "s/^  .*$option=\([A-Z]*\).*/\1/p"
}

_img_complete_argument()
{
    case $1 in
    FMT) mapfile -t COMPREPLY < <(compgen -W "$(_img_formats)" -- "$2") ;;
    WHAT) mapfile -t COMPREPLY < <(compgen -W "leaks all" -- "$2") ;;
    HOW) mapfile -t COMPREPLY < <(compgen -W "bar json" -- "$2") ;;
    FORM) mapfile -t COMPREPLY < <(compgen -W "human json" -- "$2") ;;
    MODE) mapfile -t COMPREPLY < <(compgen -W "writeback unsafe" -- "$2") ;;
    CACHE)
        mapfile -t COMPREPLY < <(compgen -W \
            "writeback writethrough none directsync unsafe drop-behind" -- "$2")
        ;;
    PROFILE) mapfile -t COMPREPLY < <(compgen -W "$(_img_profiles)" -- "$2") ;;
    DIR) mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
    FILE) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
    esac
}

_img()
{
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local command argument
    COMPREPLY=()
    compopt -o filenames 2>/dev/null

    # "--output=js" arrives as three words: --output, =, js.
    if [[ $word == "=" ]]; then
        word=
    elif [[ $before == "=" ]]; then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi

    command=("${COMP_WORDS[0]}")
    if [[ ${COMP_WORDS[0]##*/} != img-* ]]; then
        if ((COMP_CWORD == 1)); then
            mapfile -t COMPREPLY < <(compgen -W \
                "$(_img_help img | sed -n 's/^  \([a-z]*\)  .*/\1/p') --help --version" \
                -- "$word")
            return
        fi
        command+=("${COMP_WORDS[1]}")
    fi

    if [[ $before == -* ]]; then
        argument=$(_img_argument "$before" "${command[@]}")
        if [[ -n $argument ]]; then
            _img_complete_argument "$argument" "$word"
            return
        fi
    fi
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_img_options "${command[@]}")" -- "$word")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
}

complete -F _img img img-amend img-check img-commit img-compare img-convert img-create img-hash img-info img-io img-map img-rebase img-resize
