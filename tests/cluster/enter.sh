#!/usr/bin/env bash
# Runs a command that sees files and folders of this machine at other paths, as a container sees
# its volumes: in a mount namespace of its own, which ends with it. Nothing of the machine changes.
#   unshare --mount enter.sh ROOT WORKDIR [SOURCE PATH]... -- COMMAND...
set -euo pipefail
root=$1 workdir=$2
shift 2

# Below a root of our own everything is the machine's, and at the top there can be more.
mount -t tmpfs -o mode=755 tmpfs "$root"
for entry in /*; do
  if [ -L "$entry" ]; then
    cp -P "$entry" "$root$entry"
  elif [ -d "$entry" ]; then
    mkdir "$root$entry" && mount --rbind "$entry" "$root$entry"
  fi
done

own=()
is_own() {
  [ "$1" = "$root" ] && return
  for folder in ${own[@]+"${own[@]}"}; do [[ $1/ == "$folder"/* ]] && return; done
  return 1
}
while [ "$1" != -- ]; do
  source=$1 target=$root$(realpath --canonicalize-missing "$2")
  shift 2
  if [ ! -e "$target" ]; then
    above=$(dirname "$target")
    while [ ! -e "$above" ]; do above=$(dirname "$above"); done
    if ! is_own "$above"; then
      layer=$root/.layers/${#own[@]}
      mkdir -p "$layer/upper" "$layer/work"
      mount -t overlay overlay -o "lowerdir=$above,upperdir=$layer/upper,workdir=$layer/work" "$above"
      own+=("$above")
    fi
    if [ -d "$source" ]; then mkdir -p "$target"; else mkdir -p "$(dirname "$target")" && : > "$target"; fi
  fi
  mount --rbind "$source" "$target"
done
shift
exec chroot "$root" env --chdir="$workdir" -- "$@"
