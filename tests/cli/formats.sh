#!/bin/sh
# SPDX-License-Identifier: MIT
#
# img-info --formats tells what the drivers say of themselves: all of them, or the
# variants of one, for people and for programs.
. "$(dirname "$0")/lib.sh"

quiet img-info --formats
img --help | sed -n 's/^Supported formats: //p' | tr ' ' '\n' >wanted
sed 's/ .*//; 1d' output >found
cmp wanted found || fail "other formats than img --help: $(cat output)"
grep -q '^raw  *yes  *yes  *yes  *-  *-  ' output || fail "raw: $(cat output)"

quiet img-info --formats vmdk
has output "vmdk: "
grep -q '^monolithicSparse  *yes  *yes  *yes  *yes  *-$' output || fail "$(cat output)"
grep -q '^monolithicFlat  *yes  *yes  *yes  *-  *-' output || fail "$(cat output)"
quiet img-info --formats raw
has output "all images are alike"
refused 1 "*'vhs'*" img-info --formats vhs
refused 1 '*FILE*' img-info

if command -v python3 >/dev/null; then
    quiet img-info --formats --output=json
    python3 - output <<'END' || fail "JSON: $(head -c 300 output)"
import json, sys
formats = json.load(open(sys.argv[1]))
vmdk = [f for f in formats if f["name"] == "vmdk"][0]
row = [v for v in vmdk["variants"] if v["name"] == "seSparse"][0]
assert row["read"] and row["create"] and not row["compress"] and row["note"], row
assert "sesparse_unverified=on" in row["create-options"], row
assert [f for f in formats if f["name"] == "file"][0]["protocol"]
END
    quiet img-info --formats vmdk --output=json
    python3 -c 'import json; assert json.load(open("output"))["name"] == "vmdk"' ||
        fail "JSON of one"
fi
