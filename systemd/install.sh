#!/usr/bin/env bash
# Puts claimwatch on a machine as a service, brings it up to this checkout, or takes it away again:
#
#   sudo make install [PYTHON=/usr/bin/python3]      make install DESTDIR=ROOT (for packagers; needs no root)
#   sudo make uninstall
#
# PREFIX (/opt/claimwatch) is the program's virtual environment, SYSCONFDIR (/etc) holds claimwatch/feeds.yaml, UNITDIR
# (/etc/systemd/system) the unit, BINDIR (/usr/local/bin) claimwatch-ctl. The new environment is made whole beside the old one and then takes its place: where
# that fails, nothing has changed.
set -euo pipefail

PREFIX=${PREFIX:-/opt/claimwatch}
SYSCONFDIR=${SYSCONFDIR:-/etc}
UNITDIR=${UNITDIR:-/etc/systemd/system}
BINDIR=${BINDIR:-/usr/local/bin}
DESTDIR=${DESTDIR:-}
PYTHON=${PYTHON:-python3}
checkout=$(cd "$(dirname "$0")/.." && pwd)
program=$DESTDIR$PREFIX
config=$DESTDIR$SYSCONFDIR/claimwatch
unit=$DESTDIR$UNITDIR/claimwatch.service
control=$DESTDIR$BINDIR/claimwatch-ctl

fail() {
    printf 'claimwatch: %s\n  %s\n' "$1" "$2" >&2
    exit 1
}

for folder in "$PREFIX" "$SYSCONFDIR" "$UNITDIR" "$BINDIR"; do
    [[ $folder == /?* && $folder != *[[:space:]\'\"]* ]] ||
        fail "$folder is no place to install to" "Name an absolute path without spaces."
done
[[ -n $DESTDIR || $EUID -eq 0 ]] || fail "only root can put a service on this machine" "sudo make $1, or name DESTDIR=FOLDER to pack it."

# Whether the machine that is installed to runs systemd: not while packing, nor in a chroot.
live() { [[ -z $DESTDIR && -d /run/systemd/system ]]; }

check_python() {
    command -v "$PYTHON" > /dev/null || fail "there is no $PYTHON" "Name another: make install PYTHON=/usr/bin/python3"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$PYTHON is older than Python 3.11" "Name another: make install PYTHON=/usr/bin/python3.12"
    # The service sees no home directories: a Python that lives in one is none for it.
    local home
    home=$("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')
    case $home/ in /home/* | /root/* | /run/user/*)
        fail "$PYTHON lies in $home, where the service can't see it" "Name the system's: make install PYTHON=/usr/bin/python3"
        ;;
    esac
    "$PYTHON" -c 'import ensurepip, venv' 2> /dev/null ||
        fail "$PYTHON can't make virtual environments" "On Debian: apt-get install python3-venv"
    [[ ! -e $program || -f $program/pyvenv.cfg ]] ||
        fail "$program is there and was not made by this" "Move it away, or name another PREFIX=FOLDER."
}

# Every script of the environment names its Python by the path at which it will be.
make_environment() {
    local new=$program.new file
    rm -rf "$new"
    "$PYTHON" -m venv "$new"
    "$new/bin/python" -m pip install --quiet --disable-pip-version-check \
        --constraint "$checkout/constraints.txt" "$checkout[postgresql]"
    (cd / && "$new/bin/claimwatch" --version)
    grep -rlIF "$new" "$new/bin" "$new/pyvenv.cfg" | while read -r file; do
        sed -i "s|$new|$PREFIX|g" "$file"
    done
}

put_environment() {
    rm -rf "$program.old"
    [[ ! -e $program ]] || mv "$program" "$program.old"
    mv "$program.new" "$program"
    rm -rf "$program.old"
}

put_config() {
    if [[ -e $config/feeds.yaml ]]; then
        echo "kept $config/feeds.yaml"
        # What editors check by comes with the program.
        [[ ! -d $config/schemas ]] || for file in feeds seed; do
            (cd / && "$program/bin/python" -m daemon schema $file) > "$config/schemas/$file.schema.json"
        done
    else
        local said
        mkdir -p "$config"
        # What it says besides is for somebody at a desk.
        if ! said=$(cd / && "$program/bin/python" -m daemon init --all "$config" 2>&1); then
            printf '%s\n' "$said" >&2
            exit 1
        fi
        echo "wrote $config/feeds.yaml"
    fi
}

put_unit() {
    local growing=
    # Pauses that grow are known to systemd 254 and newer; an older one would warn of them at each start.
    if live && (($(systemctl --version | sed -n '1s/[^0-9]*\([0-9]*\).*/\1/p') >= 254)); then
        growing='s/^#\(RestartSteps=\|RestartMaxDelaySec=\)/\1/'
    fi
    install -D -m 644 "$checkout/systemd/claimwatch.service" "$unit"
    install -D -m 755 "$checkout/systemd/claimwatch-ctl" "$control"
    sed -i -e "s|/opt/claimwatch/|$PREFIX/|g" -e "s|/etc/claimwatch/|$SYSCONFDIR/claimwatch/|g" ${growing:+-e "$growing"} \
        "$unit" "$control"
}

case ${1:-} in
install)
    check_python
    make_environment
    put_environment
    put_config
    put_unit
    if live; then
        # Passwords go here: docs/operations.md.
        install -d -m 700 /etc/credstore
        systemctl daemon-reload
        if systemctl is-active --quiet claimwatch; then
            systemctl restart claimwatch
            echo "restarted: it goes on where its log ends"
        else
            echo "Next: edit $config/feeds.yaml, then: systemctl enable --now claimwatch"
        fi
    fi
    ;;
uninstall)
    if live && [[ -e $unit ]]; then
        systemctl disable --quiet --now claimwatch
    fi
    [[ ! -e $program || -f $program/pyvenv.cfg ]] || fail "$program was not made by this" "Nothing was taken away."
    rm -rf "$program" "$program.new" "$program.old" "$unit" "$control"
    if live; then systemctl daemon-reload; fi
    echo "Taken away: $program, $unit, $control"
    echo "Kept: $config (feeds.yaml), $DESTDIR/var/lib/claimwatch (the log and the Maildir), $DESTDIR/etc/credstore."
    ;;
*)
    fail "what is to be done?" "systemd/install.sh install, or uninstall"
    ;;
esac
