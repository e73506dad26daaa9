#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A target that cannot be written is named as the user named it, in one line.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M
mkdir directory

refused 1 'no/such/y.raw*No such file or directory' img-convert x.raw no/such/y.raw
refused 1 'no/such/y.raw*No such file or directory' img-create no/such/y.raw 1M
refused 1 'directory*' img-convert x.raw directory
refused 1 'x.raw/y.raw*Not a directory' img-convert x.raw x.raw/y.raw
refused 1 '/proc/y.raw*' img-convert x.raw /proc/y.raw
if [ "$(id -u)" -ne 0 ]; then
    mkdir -m 555 closed
    refused 1 'closed/y.raw*Permission denied' img-convert x.raw closed/y.raw
    : >locked.raw
    chmod 444 locked.raw
    refused 1 'locked.raw*Permission denied' img-convert x.raw locked.raw
fi
