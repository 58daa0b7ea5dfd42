#!/bin/sh
# The last line of a receipt often comes without a newline.
got=$(printf 'tea 3\ncake 4' | sh total.sh)
if [ "$got" = 7 ]; then
    echo 'ok: the total is 7'
else
    echo "not ok: the total is $got, expected 7" >&2
    exit 1
fi
