#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The bash completion offers commands, options, formats and files.
. "$(dirname "$0")/lib.sh"
need bash
: >disk.raw

# completed WORD...: what is offered for the last of the words.
completed()
{
    bash -c '
        . "$0"
        COMP_WORDS=("$@")
        COMP_CWORD=$(($# - 1))
        _img
        printf "%s " "${COMPREPLY[@]}"
    ' "$tests/../../tools/completion/img.bash" "$@"
}

equal "commands" "$(completed img co)" "commit compare convert "
equal "long option" "$(completed img convert --target-i)" "--target-is-zero "
equal "of a link" "$(completed img-info --out)" "--output "
equal "format" "$(completed img-convert -O vm)" "vmdk "
equal "format, long" "$(completed img-convert --target-format = vm)" "vmdk "
equal "form" "$(completed img map --output = js)" "json "
equal "form of progress" "$(completed img-convert --progress = js)" "json "
equal "cache mode" "$(completed img-convert -t d)" "directsync drop-behind "
equal "profile" "$(completed img-convert --for = vs)" "vsphere-ovf "
equal "file" "$(completed img-info di)" "disk.raw "
case " $(completed img-convert -)" in
*" -S "*) ;;
*) fail "no -S" ;;
esac
