#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A target that is the source, under whatever name, or the parent of the source
# is refused before anything is touched.
. "$(dirname "$0")/lib.sh"
disk x.raw 2
img-create -q -f vmdk base.vmdk 1M
img-create -q -f vmdk -b base.vmdk -F vmdk child.vmdk
ln -s x.raw link.raw
ln x.raw other.raw
sha256sum x.raw base.vmdk child.vmdk >before

refused 1 'x.raw: is the source*' img-convert x.raw x.raw
refused 1 './x.raw: is the source*' img-convert -O vmdk x.raw ./x.raw
refused 1 'link.raw: is the source*' img-convert x.raw link.raw
refused 1 'other.raw: is the source*' img-convert x.raw other.raw
refused 1 'x.raw: is the source*' img-convert -n x.raw x.raw
refused 1 'x.raw: is the source*' img-convert child.vmdk x.raw x.raw
refused 1 'base.vmdk: is the source*' img-convert -O vmdk child.vmdk base.vmdk
sha256sum -c --quiet before
