#!/bin/sh
# Adds up a receipt: lines of NAME PRICE on standard input.
total=0
while read -r name price; do
    total=$((total + price))
done
echo "$total"
