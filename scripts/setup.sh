#!/usr/bin/env bash
# Creates .venv and installs xnorlit into it, with FFCV if its system libraries are available.
#
# The Makefile calls this when .venv/.stamp is missing or older than pyproject.toml. It never prompts. A .venv is always
# in one of three states, so that an incomplete one never looks finished:
#   .venv/.stamp        finished; the stamp holds the path of its checkout
#   .venv/.unfinished   a first set-up was interrupted: the next set-up starts again
#   neither             an update was interrupted, or the .venv was made by hand: the next set-up installs into it
# Variables: PYTHON (default python3); pip's own, PIP_INDEX_URL and the like.
set -euo pipefail
cd "$(dirname "$0")/.."
unset PYTHONPATH PYTHONHOME # .venv must be self-contained
export PIP_DISABLE_PIP_VERSION_CHECK=1

python=${PYTHON:-python3}
venv=.venv
stamp=$venv/.stamp
here=$(pwd -P)
started=$(date +%s)
log=$venv/setup.log
ffcv_log=$venv/ffcv-build.log

say() { printf '[set-up] %s\n' "$*"; }
complain() { printf '[set-up] %s\n' "$@" >&2; }
die() {
  complain "$@"
  exit 1
}
trap 'die "interrupted; run make setup again to continue"' INT TERM

# --- as root, or with sudo without a password ----------------------------------------------------------------------

as_root() { # as_root COMMAND...: runs the command as root
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

can_apt() {
  command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }
}

apt_install() { # apt_install LOG PACKAGE...: tries again with new lists, which are empty or old in a fresh container
  local into=$1 install
  shift
  install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@")
  as_root "${install[@]}" </dev/null >>"$into" 2>&1 ||
    { as_root apt-get update </dev/null >>"$into" 2>&1 && as_root "${install[@]}" </dev/null >>"$into" 2>&1; }
}

# --- Python --------------------------------------------------------------------------------------------------------

check_python() {
  local found
  command -v "$python" >/dev/null ||
    die "there is no Python called $python; xnorlit needs 3.11 or newer." \
      "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or give one: make setup PYTHON=/path/to/python3.11"
  found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "$python does not start; see above."
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$python is Python $found; xnorlit needs 3.11 or newer." "Give a newer one: make setup PYTHON=python3.11"
  python_version=$found
}

# Debian has ensurepip in a separate package. Without it, `import venv` works but creating an environment fails.
check_venv_module() {
  "$python" -c 'import venv, ensurepip' 2>/dev/null && return
  local package=python$python_version-venv scratch
  if can_apt; then
    say "installing $package, which $python needs for virtual environments"
    scratch=$(mktemp)
    apt_install "$scratch" "$package" || tail -n 5 "$scratch" >&2
    rm -f "$scratch"
    "$python" -c 'import venv, ensurepip' 2>/dev/null && return
  fi
  die "$python cannot create a virtual environment: its modules venv and ensurepip are missing." \
    "On Debian and Ubuntu: sudo apt-get install $package" "Then: make setup"
}

# --- one set-up at a time ------------------------------------------------------------------------------------------

# The lock belongs to file descriptor 9, which this shell keeps open. It ends with this process, however that ends.
take_lock() {
  exec 9>$venv.lock
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null && return
  say "another set-up is running in this folder; waiting for it"
  "$python" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)' ||
    complain "this file system has no locks; continuing without one (do not start a second set-up here)"
  if [ -e $stamp ] && ! [ pyproject.toml -nt $stamp ] && [ "$(cat $stamp)" = "$here" ]; then
    say "the other set-up has finished"
    exit 0
  fi
}

# --- the virtual environment ---------------------------------------------------------------------------------------

# Sets `fresh` to whether .venv was newly created.
make_venv() {
  fresh=no
  if [ -d $venv ] && [ ! -e $venv/.unfinished ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    if [ ! -e $stamp ] || [ "$(cat $stamp)" = "$here" ]; then
      rm -f $stamp
      say "updating $venv"
      return
    fi
    say "this folder was moved after $venv was created; creating it again"
  fi
  fresh=yes
  say "creating $venv with Python $python_version"
  rm -rf $venv
  mkdir $venv
  touch $venv/.unfinished
  "$python" -m venv $venv || die "$python -m venv $venv failed; see above."
}

# --- FFCV: system libraries, then its own compilation --------------------------------------------------------------

missing_packages() {
  command -v g++ >/dev/null || echo build-essential
  "$venv/bin/python" -c 'import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists())' || echo "python$python_version-dev"
  command -v pkg-config >/dev/null || echo pkg-config
  pkg-config --exists libturbojpeg 2>/dev/null || echo libturbojpeg0-dev
  pkg-config --exists opencv4 2>/dev/null || echo libopencv-dev
}

# Sets `extras` and `wheel` to what pip is to install.
prepare_ffcv() {
  local requirement packages
  extras=dev
  wheel=()
  requirement=$(sed -n 's/^ffcv = \["\(.*\)"\]$/\1/p' pyproject.toml)
  [ -n "$requirement" ] || die 'pyproject.toml has no line of the form ffcv = ["..."] among its extras.'
  if "$venv/bin/python" -c 'import importlib.metadata as m; m.version("ffcv")' 2>/dev/null; then
    extras=dev,ffcv
    return
  fi
  read -r -a packages <<<"$(missing_packages | tr '\n' ' ')"
  if [ ${#packages[@]} -gt 0 ] && can_apt; then
    say "installing FFCV's system libraries: ${packages[*]} (apt-get, output in $ffcv_log)"
    apt_install $ffcv_log "${packages[@]}" || complain "apt-get failed: $(tail -n 1 $ffcv_log)"
    read -r -a packages <<<"$(missing_packages | tr '\n' ' ')"
  fi
  if [ ${#packages[@]} -gt 0 ]; then
    complain "continuing without FFCV, the fast image loader, because its system libraries are missing. The slower folder" \
      "backend reads the images. To install them, run: sudo apt-get install -y ${packages[*]}" \
      "and then: make -B setup"
    return
  fi
  say "compiling FFCV (output in $ffcv_log)"
  if "$venv/bin/python" -m pip wheel --no-deps --wheel-dir $venv/wheels "$requirement" >>$ffcv_log 2>&1; then
    extras=dev,ffcv
    wheel=("$venv"/wheels/ffcv-*.whl)
  else
    complain "FFCV DID NOT COMPILE; the log is $ffcv_log and ends with:"
    tail -n 5 $ffcv_log >&2
    complain "Continuing without it: the slower folder backend reads the images. To try again: make -B setup"
  fi
}

# --- Python packages -----------------------------------------------------------------------------------------------

# Prints only those lines of pip that explain a wait.
digest() {
  local line
  while IFS= read -r line; do
    case $line in
      *Downloading*' GB)' | *'Using cached'*' GB)' | *Downloading*[0-9][0-9][0-9].[0-9]' MB)' | *'Using cached'*[0-9][0-9][0-9].[0-9]' MB)')
        say "${line#"${line%%[![:space:]]*}"}" ;;
      'Installing collected packages: '*) say "unpacking $(tr -cd , <<<"$line," | wc -c) packages" ;;
    esac
  done
}

install_packages() {
  local pip=("$venv/bin/python" -m pip install --editable ".[$extras]" ${wheel[@]+"${wheel[@]}"})
  if [ $fresh = yes ]; then
    say "installing PyTorch, Lightning and the rest; the download may be several GB, and .venv needs as much on the disk"
  fi
  if [ $fresh = yes ] && [ -t 1 ]; then # pip draws its bars only on a terminal
    "${pip[@]}"
  else
    "${pip[@]}" 2>&1 | tee $log | digest
  fi
}

report() {
  "$venv/bin/python" - "$started" <<'PYTHON'
import importlib.metadata as metadata, platform, sys, time

import torch, torchvision

python = ".".join(platform.python_version_tuple()[:2])
device = "CUDA" if torch.cuda.is_available() else "CPU"
try:
    loader = "ffcv " + metadata.version("ffcv")
    import ffcv
except metadata.PackageNotFoundError:
    loader = "folder backend"
except ImportError as error:
    print(f"[set-up] FFCV IS INSTALLED BUT DOES NOT START: {error}", file=sys.stderr)
    loader = "folder backend"
try:
    import xnorlit.packed
except ImportError as error:
    print(
        f"[set-up] THE PACKED ENGINE WAS NOT BUILT: {error}",
        file=sys.stderr,
    )
torch_version = torch.__version__.split("+")[0]
seconds = time.time() - float(sys.argv[1])
print(f"[set-up] python {python}, torch {torch_version} ({device}), {loader} … done in {seconds:.0f} s")
PYTHON
}

check_python
check_venv_module
take_lock
make_venv
prepare_ffcv
install_packages || {
  [ ! -e $log ] || tail -n 10 $log >&2
  die "pip could not install the packages; see above. Fix the problem (network? disk space?), then run make setup"
}
report || die "the installed packages do not start; see above. To start again: make clean setup"
rm -rf $venv/wheels $log $venv/.unfinished
printf '%s\n' "$here" >$stamp.partial
mv $stamp.partial $stamp
