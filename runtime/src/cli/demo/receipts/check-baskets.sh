#!/bin/sh
# Weighs a few baskets, slowly.
echo "run by $$" >> runs.log
for basket in 1 2 3; do
    sleep 1
    echo "basket $basket weighed"
done
