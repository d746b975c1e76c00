#!/bin/sh
# Runs a command with the kernels that the image brings along, in a folder that may be written to:
# numba takes no other. Those that are made for another processor are compiled anew.
mkdir -p "$NUMBA_CACHE_DIR" && cp -Rn /opt/slosched-kernels/. "$NUMBA_CACHE_DIR" || true
exec "$@"
