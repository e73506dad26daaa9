#!/bin/sh
# SPDX-License-Identifier: MIT
#
# -o help (or ?) lists what the format takes, without any file being named.
. "$(dirname "$0")/lib.sh"

quiet img-create -f vmdk -o help
has output "Supported vmdk options:"
has output "subformat"
has output "backing_file"
quiet img-convert -O vmdk -o '?'
has output "subformat"
quiet img-create -o help
has output "Supported raw options:"
