#!/bin/sh
# Pins each image's and each task's dependencies, with hashes and for every platform; the files name no registry.
set -eu
cd "$(dirname "$0")/.."
UV="${UV:-uv}"
command -v "$UV" >/dev/null || { echo "uv is needed to make the lock files: pip install uv" >&2; exit 1; }
unset PIP_FIND_LINKS UV_FIND_LINKS || :
compile() { # compile NAME EXTRA...
    name=$1; shift
    extras=""
    for extra in "$@"; do extras="$extras --extra $extra"; done
    # shellcheck disable=SC2086
    "$UV" pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
        --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
        --constraint "$constraint" $extras --output-file "requirements/$name.txt" pyproject.toml requirements/build.in
}
constraint=/dev/null
compile test test
constraint=requirements/test.txt # the images and the demo run what was tested
compile demo demo
compile planner planner tracing
compile writer writer tracing
compile ops ops planner writer
