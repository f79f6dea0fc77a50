#!/usr/bin/env bash
# Install mmground and all that it needs into a virtual environment.
#
# `make install`, `make test` and `make demo` call this. It does nothing where the environment is
# complete, and goes on where an earlier run stopped. Its settings are environment variables:
#
#   PYTHON           the Python (3.11 to 3.13) of a new environment; default: the first that is found
#   VENV             the environment; default: .venv
#   TORCH            the torch to install; default: the version that mmground is tested with
#   TORCH_INDEX_URL  the package index to take torch from, as PyTorch's index of CPU builds;
#                    default: pip's own, where torch for Linux brings several GB for CUDA
#   EXTRAS           mmground's extras to install, separated by commas; default: test
#   CXX              the C++ compiler; default: c++, g++ or clang++
#   MAX_JOBS         how many files are compiled at a time; default: what cores and memory allow
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

VENV=${VENV:-.venv}
TORCH=${TORCH:-torch==2.13.0}
TORCH_INDEX_URL=${TORCH_INDEX_URL:-}
EXTRAS=${EXTRAS:-test}
LOG=$VENV/install.log
STAMP=$VENV/.mmground-installed
# Seconds between two signs of life.
readonly TICK=30
readonly VENV_PYTHON=$VENV/bin/python

say() { printf '%s\n' "$*"; }

die() {
    printf '\nerror: %s\n' "$*" >&2
    exit 1
}

# What the environment was made from. An equal stamp means that there is nothing to do.
fingerprint() {
    say "$PWD $TORCH $EXTRAS"
    cat setup.py requirements/*.txt tools/misc/install.sh | cksum
}

supported_python() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13 python}; do
        if command -v "$candidate" >/dev/null && supported_python "$candidate"; then
            say "$candidate"
            return
        fi
    done
    die "no Python 3.11, 3.12 or 3.13 found (tried: ${PYTHON:-python3, python3.11 to python3.13, python}). \
Install one, or name it: make PYTHON=/path/to/python3.11 ..."
}

# Exports CXX, which torch's build of C++ extensions reads.
find_compiler() {
    local candidate
    for candidate in ${CXX:-c++ g++ clang++}; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -std=c++17 -x c++ -fsyntax-only - <<<'#include <vector>' 2>/dev/null; then
            export CXX=$candidate
            return
        fi
    done
    die "no working C++17 compiler found (tried: ${CXX:-c++, g++, clang++}). The operators of \
onedl-mmcv are compiled during the installation: install one (Debian, Ubuntu: apt-get install g++; \
Fedora: dnf install gcc-c++; macOS: xcode-select --install), or name it: make CXX=/path/to/g++ ..."
}

check_python_headers() {
    "$1" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        die "$1 has no Python.h, which compiling the operators of onedl-mmcv needs: install the \
development files of this Python (Debian, Ubuntu: apt-get install python3-dev)."
}

# The output of the latest step.
last_output() { sed -n '/^==> /h; /^==> /!H; ${x;p;}' "$LOG"; }

# How far a compilation is, from its output: "[files compiled/all files]".
progress() { last_output | grep -o '^ *\[[0-9]*/[0-9]*\]' | tail -n 1 || true; }

# run_step TEXT COMMAND...: runs the command with its output in $LOG and a sign of life now and then.
run_step() {
    local text=$1 status=0 watcher
    shift
    say "$text"
    printf '\n==> %s\n' "$*" >>"$LOG"
    (
        start=$SECONDS
        while sleep "$TICK" >/dev/null 2>&1; do
            elapsed=$((SECONDS - start))
            printf '    still at it after %d:%02d %s\n' $((elapsed / 60)) $((elapsed % 60)) "$(progress)"
        done
    ) &
    watcher=$!
    "$@" >>"$LOG" 2>&1 </dev/null || status=$?
    kill "$watcher" 2>/dev/null || true
    wait "$watcher" 2>/dev/null || true
    if ((status != 0)); then
        # A compiler's first error is far from the end.
        { last_output | grep -E '(^|[ :])error: ' | head -n 3; last_output | tail -n 20; } | cut -c 1-300 >&2
        die "this step failed: $text
Its errors and the end of its output are above, all of it is in $LOG. The same command goes on from here."
    fi
}

pip_install() { "$VENV_PYTHON" -m pip install --disable-pip-version-check --no-input "$@"; }

has_mmcv_ops() { "$VENV_PYTHON" -c 'import mmcv._ext' >/dev/null 2>&1; }

# opencv-python needs libGL, which servers do not have; its headless build does without. Both write
# the same package (dependencies of onedl-mmdetection install both), and the last one stays.
ensure_opencv() {
    local version
    "$VENV_PYTHON" -c 'import cv2' >/dev/null 2>&1 && return
    version=$("$VENV_PYTHON" -c 'from importlib.metadata import version; print(version("opencv-python"))')
    run_step "      opencv without windows, because opencv-python cannot be imported here" \
        pip_install --force-reinstall --no-deps "opencv-python-headless==$version"
}

# One file takes about a core and 2 GB at most.
compile_jobs() {
    "$VENV_PYTHON" -c 'import os
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
print(max(1, min(cores, memory // 2**31)))'
}

gpu_without_nvcc() {
    "$VENV_PYTHON" -c 'import sys, torch
from torch.utils.cpp_extension import CUDA_HOME
sys.exit(not (torch.cuda.is_available() and CUDA_HOME is None))' 2>/dev/null
}

# Torch must be there before, and no isolated build may be used: a build that does not see torch
# makes a package without operators, and says nothing.
install_mmcv() {
    local install
    install=(pip_install --verbose --no-build-isolation --constraint requirements/runtime.txt onedl-mmcv)
    # -g0: no debug information halves the time. The others are Python's own flags, which recent
    # setuptools replace by CFLAGS: with -g0 alone the operators are not optimised at all.
    export CFLAGS="-O3 -DNDEBUG -fwrapv -g0 ${CFLAGS:-}"
    export CXXFLAGS="-O3 -DNDEBUG -fwrapv -g0 ${CXXFLAGS:-}"
    MAX_JOBS=${MAX_JOBS:-$(compile_jobs)}
    export MAX_JOBS
    if gpu_without_nvcc; then
        say "note: a GPU, but no CUDA compiler (nvcc): the operators of onedl-mmcv are compiled for the CPU only."
        export CUDA_VISIBLE_DEVICES=
    fi
    run_step "[4/5] onedl-mmcv: compiling its operators, $MAX_JOBS files at a time (10 minutes on 2 \
cores, once; seconds if pip has it from before)" "${install[@]}"
    ensure_opencv
    has_mmcv_ops && return
    # Either it was there before this script, or pip kept it from a build without torch or with
    # another one. What was built just now would come out the same again.
    if [[ $(last_output) != *'Building wheel for onedl-mmcv'* ]]; then
        run_step "[4/5] onedl-mmcv again: the copy that was there has no operators for this torch" \
            "${install[@]}" --force-reinstall --no-deps --no-cache-dir
        has_mmcv_ops && return
    fi
    "$VENV_PYTHON" -c 'import mmcv._ext' 2>&1 | tail -n 1 >&2 || true
    die "onedl-mmcv was built without working operators (import mmcv._ext fails, see above; the build's \
output is in $LOG). Check that $CXX can compile for this Python and torch, remove $VENV and run this again."
}

main() {
    local python
    if [[ -x $VENV_PYTHON && -f $STAMP && $(fingerprint) == "$(<"$STAMP")" ]]; then
        say "mmground is installed in $VENV, nothing to do"
        exit 0
    fi

    if [[ -x $VENV_PYTHON ]]; then
        supported_python "$VENV_PYTHON" ||
            die "the Python of $VENV does not run or is not 3.11, 3.12 or 3.13: remove the folder $VENV and run this again."
        python=$VENV_PYTHON
    else
        python=$(find_python)
    fi
    # Before the downloads: a machine that cannot compile should hear of it at once.
    if [[ ! -x $VENV_PYTHON ]] || ! has_mmcv_ops; then
        find_compiler
        check_python_headers "$python"
    fi

    if [[ ! -x $VENV_PYTHON ]]; then
        say "[1/5] virtual environment $VENV with $("$python" --version)"
        "$python" -m venv "$VENV" >&2 || {
            rm -rf "$VENV"
            die "$python -m venv failed. Debian and Ubuntu keep it in a package of its own: apt-get install python3-venv"
        }
    fi
    "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 || "$VENV_PYTHON" -m ensurepip >/dev/null ||
        die "$VENV has no pip: remove the folder $VENV and run this again."
    rm -f "$STAMP"
    : >"$LOG"

    run_step "[2/5] $TORCH${TORCH_INDEX_URL:+ from $TORCH_INDEX_URL}" \
        pip_install ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$TORCH"
    run_step "[3/5] build tools" pip_install --requirement requirements/build.txt
    has_mmcv_ops || install_mmcv
    run_step "[5/5] mmground and its other dependencies" \
        pip_install --no-build-isolation --editable ".[$EXTRAS]"
    ensure_opencv
    run_step "      check that all can be imported" \
        "$VENV_PYTHON" -c 'import cv2, mmcv._ext, mmdet, mmseg, transformers, pycocotools.mask, mmground'
    fingerprint >"$STAMP"
    say "mmground is installed in $VENV: $VENV/bin/python, or source $VENV/bin/activate"
}

main "$@"
