#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A source that does not exist is named, and no target appears.
. "$(dirname "$0")/lib.sh"
img-create -q x.raw 1M

refused 1 'nothing*: *No such file*' img-info nothing
refused 1 'nothing*: *No such file*' img-map nothing
refused 1 'nothing*: *No such file*' img-io -c length nothing
refused 1 'nothing*: *No such file*' img-convert nothing out.raw
refused 1 'nothing*: *No such file*' img-convert x.raw nothing out.raw
refused 2 'nothing*: *No such file*' img-compare x.raw nothing
refused 2 'nothing*: *No such file*' img-compare nothing x.raw
[ ! -e out.raw ] || fail "a target was made"
refused 1 '*No such file*' img-info -
