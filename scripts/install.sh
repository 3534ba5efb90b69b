# Installs Debian packages and the venv, for ./start and ./test, which source this file with $here
# set to the checkout. Each step first looks at what exists: a second run calls neither apt nor pip.
# `set -e` has no effect in a function that `step` runs (POSIX ignores it in a condition), hence the
# `|| return`.
# shellcheck shell=sh disable=SC2015,SC2086,SC2154  # package lists are split; the sourcer sets $here

unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH
umask 022

DOVECOT_PACKAGES='dovecot-core dovecot-imapd dovecot-pop3d dovecot-lmtpd dovecot-managesieved dovecot-sieve
    dovecot-auth-lua'
POSTFIX_PACKAGES='postfix postfix-pcre opendkim python3-dkim libsasl2-modules ca-certificates'
SQLITE_PACKAGES='dovecot-sqlite lua-dbi-sqlite3'
SQLITE_POSTFIX_PACKAGES='postfix-sqlite libopendbx1-sqlite3'
PGSQL_PACKAGES='dovecot-pgsql lua-sql-postgres'
PGSQL_POSTFIX_PACKAGES='postfix-pgsql libopendbx1-pgsql'
PYTHON_PACKAGES='python3 python3-venv'
VENVS=/var/lib/postroom
DOVECOT_VERSIONS='2.3 2.4'
POLICY=/usr/sbin/policy-rc.d
KEPT_POLICY=$POLICY.before-postroom
POLICY_TEXT='#!/bin/sh
# Postroom installs packages: start no service. Taken away after it.
exit 101'
NO_CLUSTER=/etc/postgresql-common/createcluster.d/postroom.conf

exec 3>&2
output=$(mktemp)
guarded=
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

leave() {
    rm -f "$output"
    [ -z "$guarded" ] || allow_services
}

root() { [ "$(id -u)" = 0 ]; }

# Prints one line on the terminal, also from inside a step, and exits.
fail() {
    printf '✗ %s\n' "$1" >&3
    exit 2
}

# step NAME COMMAND...: runs the command silently, then prints the name and the time. Prints the
# command's output only if the command fails.
step() {
    name=$1
    shift
    [ ! -t 1 ] || printf '  %s …\r' "$name"
    began=$(now)
    if ! "$@" >"$output" 2>&1 </dev/null; then
        tail -n 200 "$output" >&2
        printf '✗ %s\n' "$name" >&2
        exit 1
    fi
    took=$(($(now) - began))
    printf '✓ %-44s %3d.%02d s\n' "$name" $((took / 100)) $((took % 100))
}

# Prints the time since boot in hundredths of a second.
now() {
    read -r up _ </proc/uptime
    echo "${up%.*}${up#*.}"
}

# --- Debian packages --------------------------------------------------------------------------------

# Two settings, read from the same places as in postroom/settings/__init__.py.
mail_is_off() {
    case ${POSTROOM_MAIL:-} in off) return 0 ;; ?*) return 1 ;; esac
    in_file '^[[:space:]]*mail[[:space:]]*=[[:space:]]*.off'
}

is_postgresql() {
    case ${POSTROOM_DATABASE_URL:-} in postgresql:*) return 0 ;; ?*) return 1 ;; esac
    in_file '^[[:space:]]*database_url[[:space:]]*=[[:space:]]*.postgresql:'
}

# Prints the path of the settings file, by the rule of postroom/settings_file.py. A file in the
# current directory does not count.
settings_file() {
    [ -z "${POSTROOM_SETTINGS:-}" ] || { echo "$POSTROOM_SETTINGS"; return; }
    for folder in "$here" /etc/postroom; do
        [ ! -f "$folder/postroom.toml" ] || { echo "$folder/postroom.toml"; return; }
    done
}

# Whether the settings file has a line that matches.
in_file() { file=$(settings_file) && [ -f "$file" ] && grep -Eq "$1" "$file"; }

# Prints the packages that Postroom needs to run. Postfix needs root. curl is a convenience, so only
# root installs it.
packages() {
    ! root || echo curl
    [ -x "$here/.venv/bin/python" ] || find_python >/dev/null || echo $PYTHON_PACKAGES
    ! mail_is_off || return 0
    echo $DOVECOT_PACKAGES
    if is_postgresql; then echo $PGSQL_PACKAGES; else echo $SQLITE_PACKAGES; fi
    root || return 0
    echo $POSTFIX_PACKAGES
    if is_postgresql; then echo $PGSQL_POSTFIX_PACKAGES; else echo $SQLITE_POSTFIX_PACKAGES; fi
}

missing_of() {
    there=$(dpkg-query -W -f '${db:Status-Abbrev}|${Package}\n' "$@" 2>/dev/null | sed -n 's/^.i.*|//p' | xargs)
    for package in "$@"; do
        case " $there " in *" $package "*) ;; *) echo "$package" ;; esac
    done
}

# need PACKAGE...: installs the missing packages, or fails with their names if it cannot.
need() {
    command -v dpkg-query >/dev/null || { need_elsewhere; return; }
    ! root || ! is_left_forbidden || end_forbidding
    missing=$(missing_of "$@" | xargs)
    [ -n "$missing" ] || return 0
    without=; mail_is_off || without=' POSTROOM_MAIL=off needs no mail packages.'
    root || fail "Missing: $missing. Without root nothing is installed: let root run apt-get install with them.$without"
    command -v apt-get >/dev/null || fail "Missing, and there is no apt-get to install it: $missing.$without"
    step "Debian packages" install $missing
}

# On a system other than Debian, the API needs only Python. The mail plane needs the daemons as
# Debian packages them.
need_elsewhere() {
    find_python >/dev/null || fail "Missing: Python 3.11 or newer with its venv module; install it with your system's package manager."
    mail_is_off || fail "Missing: Dovecot and Postfix as Debian 12 or 13 packages them. POSTROOM_MAIL=off runs the API alone."
}

install() {
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    exec 9>/run/postroom-install.lock
    flock 9
    fresh=$(missing_of dovecot-core postfix opendkim postgresql-common caddy nginx postfix-mta-sts-resolver | xargs)
    apt-get update -q || echo 'The package lists are not up to date.'
    plan=$(apt-get install -s --no-install-recommends "$@") || true  # the installation itself says why
    removed=$(echo "$plan" | sed -n 's/^Remv \([^ ]*\).*/\1/p' | xargs)
    [ -z "$removed" ] || fail "Postroom needs $*, for which apt would remove: $removed. Nothing was changed."
    offered=$(echo "$plan" | sed -n 's/^Inst dovecot-core (\([0-9]*:\)\{0,1\}\([0-9]*\.[0-9]*\).*/\2/p')
    case " $DOVECOT_VERSIONS " in *" ${offered:-2.3} "*) ;; *)
        fail "Postroom knows Dovecot $DOVECOT_VERSIONS (Debian 12, 13); here apt offers $offered. Nothing was changed.$without" ;;
    esac
    forbid_services
    preseed "$@" || return
    apt-get install -q -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout=120 \
        -o Dpkg::Options::=--force-confold "$@" 9>&- || return
    keep_off_at_boot
    allow_services
    exec 9>&-
}

# Debian starts a service when its package is installed, unless this file forbids it. An existing
# file is restored afterwards.
forbid_services() {
    guarded=1
    allow_services
    guarded=1
    [ ! -e $POLICY ] || mv $POLICY $KEPT_POLICY
    printf '%s\n' "$POLICY_TEXT" >$POLICY
    chmod 755 $POLICY
}

allow_services() {
    if [ -e $KEPT_POLICY ]; then
        mv $KEPT_POLICY $POLICY
    elif [ -e $POLICY ] && [ "$(cat $POLICY)" = "$POLICY_TEXT" ]; then
        rm $POLICY
    fi
    ! rm $NO_CLUSTER 2>/dev/null || rmdir ${NO_CLUSTER%/*} 2>/dev/null || :
    guarded=
}

# A killed installation leaves its policy file behind.
is_left_forbidden() { [ -e $KEPT_POLICY ] || { [ -e $POLICY ] && [ "$(cat $POLICY)" = "$POLICY_TEXT" ]; }; }

end_forbidding() {
    exec 9>/run/postroom-install.lock
    flock 9
    allow_services
    exec 9>&-
}

is_fresh() { case " $fresh " in *" $1 "*) ;; *) return 1 ;; esac; }

# Answers the questions of packages that are not installed yet. An existing service keeps its
# configuration.
preseed() {
    ! is_fresh postfix || echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections || return
    case " $* " in *' postgresql '*) is_fresh postgresql-common || return 0 ;; *) return 0 ;; esac
    mkdir -p ${NO_CLUSTER%/*} && echo 'create_main_cluster = false' >$NO_CLUSTER
}

# The units of the packages just installed are disabled: Postroom runs the daemons itself.
keep_off_at_boot() {
    command -v systemctl >/dev/null || return 0
    ! is_fresh dovecot-core || systemctl disable dovecot.service dovecot.socket || :
    ! is_fresh postfix || systemctl disable postfix.service || :
    ! is_fresh opendkim || systemctl disable opendkim.service || :
    ! is_fresh postgresql-common || systemctl disable postgresql.service || :
    ! is_fresh caddy || systemctl disable caddy.service || :
    ! is_fresh nginx || systemctl disable nginx.service || :
    ! is_fresh postfix-mta-sts-resolver || systemctl disable postfix-mta-sts-resolver.service || :
}

# --- The venv ---------------------------------------------------------------------------------------

# Prints the first directory on the way up from $1 that other users cannot enter.
closed_above() {
    folder=$1
    while :; do
        case $(stat -c %a "$folder") in *[02468]) echo "$folder"; return ;; esac
        [ "$folder" != / ] || return 1
        folder=$(dirname "$folder")
    done
}

# Whether a Python is new enough, can create a venv, and can be run by the system user.
is_good() {
    [ -x "$1" ] || return
    ! root || ! closed_above "$(dirname "$1")" >/dev/null || return
    "$1" -I -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

# Debian's own Python comes first: another one is often in the home of a user.
find_python() {
    for candidate in /usr/bin/python3 python3.13 python3.12 python3.11 python3; do
        path=$(command -v $candidate) || continue
        path=$(readlink -f "$path")
        ! is_good "$path" || { echo "$path"; return; }
    done
    return 1
}

# install_venv LOCK: creates $here/.venv with Postroom and the packages that LOCK pins. Each stamp
# is written last.
install_venv() {
    lock=$1
    choose_place
    python=$(cat "$venv/python.stamp" 2>/dev/null) && is_current "$python" || remake_venv
    wanted=$(sha256sum <"$here/$lock")
    is_stamped "$lock" || step "Python packages" install_lock
    wanted=$(source_state)
    is_stamped postroom || step "Postroom" install_postroom
    [ -z "$(find "$here/postroom" -name '*.py' -newer "$venv/postroom.stamp" | head -n 1)" ] || recompile
}

is_stamped() { [ "$(cat "$venv/$1.stamp" 2>/dev/null)" = "$wanted" ]; }

# An upgrade of the system leaves its old Python there until somebody removes it, and then the next start would fail.
is_current() { is_reachable "$1" && [ "$(find_python || echo "$1")" = "$1" ]; }

is_reachable() { [ -x "$1" ] && { ! root || ! closed_above "$(dirname "$1")" >/dev/null; }; }

# Prints the first path of the checkout, or above it, that other users cannot enter or read. A clone
# with umask 077 has many such paths.
closed_to_others() {
    closed_above "$here" && return
    find "$here/postroom" "$here/docs" "$here/pyproject.toml" \( -type d ! -perm -005 -o -type f ! -perm -004 \) \
        2>/dev/null | grep -m 1 .
}

# If the system user cannot read the checkout, the venv is in another place and has a copy of
# Postroom. Each checkout has its own venv, so that a second checkout does not change a running
# instance (decision 0174).
choose_place() {
    venv=$here/.venv
    mode=editable
    link=$(readlink "$venv") || link=
    if ! root || ! closed=$(closed_to_others); then
        case $link in "$VENVS"/venv*) rm "$venv" ;; esac
        return 0
    fi
    place=$VENVS/venv-$(printf %s "$here" | sha256sum | cut -c 1-12)
    if [ "$link" != "$place" ]; then
        rm -rf "$venv"
        mkdir -p "$VENVS"
        ln -sn "$place" "$venv"
        echo "  $closed is closed to other users, so Postroom is installed into $place."
    fi
    venv=$place
    mode=copy
}

remake_venv() {
    python=$(find_python) || fail "Missing: Python 3.11 or newer with its venv module (Debian: $PYTHON_PACKAGES)."
    step "Python environment" make_venv
}

make_venv() {
    "$python" -m venv --clear "$venv" || return
    echo "$python" >"$venv/python.stamp"
}

pip_install() {
    "$venv/bin/python" -m pip --disable-pip-version-check --no-input -q install --no-compile "$@"
}

install_lock() {
    rm -f "$venv/$lock.stamp"
    pip_install --require-hashes --only-binary :all: -r "$here/$lock" || return
    compile "$venv/lib"
    echo "$wanted" >"$venv/$lock.stamp"
}

# A copy is renewed when any source file has changed, an editable installation only when its
# metadata has. The first line is the path of the checkout, which postroom/settings_file.py reads.
source_state() {
    echo "$mode $here"
    if [ $mode = copy ]; then
        find "$here/postroom" "$here/docs" "$here/pyproject.toml" -type f ! -path '*/__pycache__/*' -print0 \
            | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
    else
        sha256sum <"$here/pyproject.toml"
    fi
}

install_postroom() {
    rm -f "$venv/postroom.stamp"
    if [ $mode = copy ]; then
        pip_install --no-deps --no-build-isolation --force-reinstall "$here" || return
        compile "$venv/lib"
    else
        pip_install --no-deps --no-build-isolation -e "$here" || return
        compile "$here/postroom"
    fi
    echo "$wanted" >"$venv/postroom.stamp"
}

recompile() {
    compile "$here/postroom"
    touch "$venv/postroom.stamp" 2>/dev/null || :
}

# If the checkout belongs to another user, it runs uncompiled.
compile() {
    "$venv/bin/python" -m compileall -q -j 0 "$1" >/dev/null 2>&1 || :
}
