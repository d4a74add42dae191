#!/bin/sh
# Pins the newest versions again, with hashes and for every platform. The files name no registry.
#   sh requirements/lock.sh            every file
#   sh requirements/lock.sh pip peer   these alone
set -eu
cd "$(dirname "$0")/.."
UV="${UV:-uv}"
command -v "$UV" >/dev/null || { echo "uv is needed to make the lock files: pip install uv" >&2; exit 1; }
unset PIP_FIND_LINKS UV_FIND_LINKS || :
wanted="${*:-test demo planner writer ops simulator calls project pip build supply peer cluster}"
compile() { # compile NAME ARGUMENT...
    case " $wanted " in *" $1 "*) ;; *) return 0 ;; esac
    name=$1; shift
    "$UV" pip compile --quiet --universal --generate-hashes --upgrade --no-emit-index-url --no-emit-find-links \
        --no-annotate --no-header --output-file "requirements/$name.txt" "$@"
}
ours() { # ours NAME BUILD EXTRA...: the project's own dependencies with these extras, and what the file BUILD names
    name=$1; build=$2; shift 2
    for extra in "$@"; do set -- "$@" --extra "$extra"; shift; done
    compile "$name" --python-version 3.11 --constraint "$constraint" "$@" pyproject.toml "$build"
}
builds=requirements/project.in # for an editable installation; an image gets a wheel, and nothing that builds one
constraint=/dev/null
ours test "$builds" test
constraint=requirements/test.txt # the images, the demo and the peers run what was tested
ours demo "$builds" demo
ours planner /dev/null planner msk tracing
ours writer /dev/null writer msk tracing
ours ops /dev/null ops planner writer simulator msk
ours simulator /dev/null simulator
ours calls /dev/null calls
compile project --python-version 3.11 --constraint "$constraint" requirements/project.in
compile pip --python-version 3.11 requirements/pip.in
compile build --python-version 3.11 --constraint "$constraint" requirements/build.in
compile supply --python-version 3.11 requirements/supply.in
compile peer --python-version 3.12 --constraint "$constraint" requirements/peer.in
compile cluster --python-version 3.11 requirements/cluster.in
