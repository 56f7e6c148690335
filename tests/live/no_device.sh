#!/bin/sh
# no_device.sh ORRERY_LIVE: exit 0 when it ends with code 4 and one sentence; 77 where a GPU is visible.
if [ -e /dev/nvidia0 ]; then exit 77; fi
said=$("$1" -m llama-3.1-8b -g h200-sxm --random-input-len 8 --num-prompts 1 --out none 2>&1)
code=$?
echo "$said"
[ "$code" -eq 4 ] && [ "$(echo "$said" | wc -l)" -eq 1 ]
