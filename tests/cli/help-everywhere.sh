#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Each command has --help and a manual page, and the page has every option.
. "$(dirname "$0")/lib.sh"
manuals=$tests/../../tools/man

for command in $(img --help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    quiet "img-$command" --help
    has output "usage: img-$command "
    sed -n 's/^  \(-[^-]\).*/\1/p; s/^  ...  *\(--[a-z-]*\).*/\1/p' output >options
    [ -s options ] || fail "$command lists no options"
    page=$manuals/img-$command.1
    [ -f "$page" ] || fail "no page for $command"
    while read -r option; do
        case $option in
        -h | --help) continue ;; # in img.1, for all
        --*) word="Fl Fl ${option#--}" ;;
        *) word="Fl ${option#-}" ;;
        esac
        grep -q "^\.It.*$word\( \|\$\)" "$page" || fail "$page has no $option"
    done <options
done
if command -v groff >/dev/null; then
    for page in "$manuals"/*.1; do
        groff -mdoc -ww -Tutf8 -z "$page" 2>warnings
        [ ! -s warnings ] || fail "$page: $(cat warnings)"
    done
fi
