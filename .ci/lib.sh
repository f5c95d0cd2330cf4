# shellcheck shell=bash
# What ./test and the steps of .ci/run share. Sourced from the repository's root.

# Where cargo builds; honours a preset one.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
# What these scripts install for themselves; nothing goes into the user's own folders.
TOOLS_DIR="$CARGO_TARGET_DIR/tools"
# nginx and haproxy are there, and not on everyone's path.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

# packages COMMAND=DEBIAN_PACKAGE...: installs the packages whose command is not there. Without
# the right to install, says exactly what is missing and fails: nothing is skipped.
packages() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
    done
    ((${#missing[@]})) || return 0
    if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
        fail "these Debian packages are missing: ${missing[*]}
  install them with: sudo apt-get install --no-install-recommends ${missing[*]}"
    fi
    say "installing Debian packages: ${missing[*]}"
    apt_install "${missing[@]}"
    hash -r
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null ||
            fail "${pair%%=*} is still missing although ${pair#*=} was installed"
    done
}

apt_install() {
    local log="$TOOLS_DIR/apt.log"
    mkdir -p "$TOOLS_DIR"
    {
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
            apt-get install -y -q --no-install-recommends "$@"
    } >"$log" 2>&1 </dev/null || {
        tail -n 20 "$log" >&2
        fail "apt-get could not install $*; the whole log is $log"
    }
}

# venv NAME REQUIREMENTS: a virtual environment that holds exactly these packages; prints its
# folder. Made again when the requirements change.
venv() {
    local folder="$TOOLS_DIR/venv-$1" requirements="$2" wanted
    wanted="$(cat "$requirements" tests/fixtures/django/requirements.txt | sha256sum)"
    if [[ "$(cat "$folder/made-from" 2>/dev/null)" != "$wanted" ]]; then
        say "making the Python environment $folder"
        rm -rf "$folder"
        mkdir -p "$TOOLS_DIR"
        "$(python_with_venv)" -m venv "$folder" >&2
        "$folder/bin/pip" install --quiet --requirement "$requirements" >&2 </dev/null ||
            fail "pip could not install what $requirements lists"
        printf '%s' "$wanted" >"$folder/made-from"
    fi
    printf '%s' "$folder"
}

# A Python that can make virtual environments: Debian's can only with python3-venv.
python_with_venv() {
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        [[ $EUID -eq 0 ]] || fail "python3 cannot make virtual environments
  install it with: sudo apt-get install python3-venv"
        apt_install python3 python3-venv
        hash -r
    fi
    command -v python3
}

# The toolchain that Cargo.toml asks for, or an explanation.
require_rust() {
    command -v cargo >/dev/null || fail "cargo is missing: install Rust $(rust_version) or newer"
    local have want
    have="$(rustc --version | cut -d' ' -f2)"
    want="$(rust_version)"
    [[ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" == "$want" ]] ||
        fail "rustc is $have, but at least $want is needed"
}

rust_version() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }
