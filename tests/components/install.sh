#!/usr/bin/env bash
# What the tests need and pip cannot bring: Debian packages, Go programs, a Debian root file system. `make test` runs
# this; what is here already is left alone. Where something cannot be had, that is said and the tests that need it
# are not run (with CI=true they fail).
set -euo pipefail

cache="$HOME/.cache/breakwater"
tools="${BREAKWATER_TOOLS:-$cache/gobin}"
debian="$cache/debian.tar"

# No versions: a Debian mirror holds the current ones only.
packages=(
    skopeo buildah podman docker.io docker-registry # clients, and the other registry
    strace                                          # the order of calls, and faults between them
    busybox-static debootstrap                      # images
    nginx-light                                     # in front, with X-Accel-Redirect
    slapd ldap-utils                                # a directory
    libldap2-dev libsasl2-dev gcc                   # python-ldap, which is compiled
)
# What `make bench` needs: `install.sh bench` brings it and nothing else.
bench_packages=(
    docker-registry # the peer that is always measured
    luajit wrk      # load
    nginx-light
)

# name module version; built with the machine's own Go.
programs=(
    "crane github.com/google/go-containerregistry/cmd/crane v0.22.1"
    "oras oras.land/oras/cmd/oras v1.3.6"
    "regctl github.com/regclient/regclient/cmd/regctl v0.11.7"
    "conformance github.com/opencontainers/distribution-spec/conformance v0.0.0-20260831232431-97274622c111"
    "helm helm.sh/helm/v3/cmd/helm v3.22.0"
)
bench_programs=(
    "registry github.com/distribution/distribution/v3/cmd/registry v3.1.2"
)

say() { echo "tests/components/install.sh: $*" >&2; }

is_installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

install_packages() {
    command -v dpkg-query >/dev/null || { say "this is no Debian, so nothing is installed"; return; }
    local missing=()
    for package in "${packages[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "not root, so these are not installed: ${missing[*]}"
        return
    fi
    say "installing ${missing[*]}"
    # The packaged services must not start: the tests start their own, with their own directories.
    local policy=/usr/sbin/policy-rc.d made_policy=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made_policy=1
    fi
    local apt=(apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
    { "${apt[@]}" update && DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends \
        "${missing[@]}" >"$cache/apt.log" 2>&1; } || say "apt-get failed, see $cache/apt.log"
    [ -z "$made_policy" ] || rm -f "$policy"
}

# The program was built from this version: Go writes both into it.
is_built() { [ -x "$tools/$1" ] && go version -m "$tools/$1" 2>/dev/null | grep -qE "^\s+mod\s+\S+\s+$2\b"; }

build_programs() {
    if ! command -v go >/dev/null; then
        local name
        for name in "${programs[@]%% *}"; do
            [ -x "$tools/$name" ] || say "there is no Go here, so $name is not built"
        done
        return
    fi
    mkdir -p "$tools"
    local entry name module version
    for entry in "${programs[@]}"; do
        read -r name module version <<<"$entry"
        is_built "$name" "$version" && continue
        say "building $name $version"
        GOBIN="$tools" GOFLAGS=-buildvcs=false go install "$module@$version" >"$cache/$name.log" 2>&1 ||
            say "$name was not built, see $cache/$name.log"
    done
}

# Compiled here, since there is no wheel; the versions are those of pyproject.toml.
install_ldap() {
    local python="${BREAKWATER_PYTHON:-.venv/bin/python}" wanted
    [ -x "$python" ] || return 0
    "$python" -c 'import ldap, django_auth_ldap' 2>/dev/null && return 0
    wanted="$("$python" -c 'import tomllib
print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["ldap"]))')"
    say "compiling python-ldap"
    # shellcheck disable=SC2086  # one requirement a word
    "$python" -m pip --disable-pip-version-check install --quiet $wanted >"$cache/ldap.log" 2>&1 ||
        say "python-ldap was not installed, see $cache/ldap.log"
}

# An image of Debian packages; debootstrap takes a minute, so its result is kept.
make_debian() {
    [ ! -e "$debian" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v debootstrap >/dev/null; then
        say "no root or no debootstrap, so the Debian image is not made"
        return
    fi
    local root mirror
    root="$(mktemp -d)"
    # The mirror that this machine uses already.
    mirror="$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '^http' || true)"
    say "making a Debian root file system"
    if debootstrap --variant=minbase bookworm "$root" ${mirror:+"$mirror"} >"$cache/debootstrap.log" 2>&1; then
        tar -C "$root" --numeric-owner --one-file-system --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' \
            --exclude='./dev/*' -cf "$debian.part" .
        mv "$debian.part" "$debian"
    else
        say "debootstrap failed, see $cache/debootstrap.log"
    fi
    rm -rf --one-file-system "$root"
}

mkdir -p "$cache"
if [ "${1:-}" = bench ]; then
    packages=("${bench_packages[@]}")
    programs=("${bench_programs[@]}")
    install_packages
else
    install_packages
    install_ldap
    make_debian
fi
build_programs
