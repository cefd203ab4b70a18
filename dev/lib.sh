# What the scripts beside this file share. Sourced, never run.

# Everything the scripts make outside the checkout: root filesystems, the registry's data, its configuration.
dev_dir=${KILN_DEV_DIR:-/var/tmp/kiln-dev}
registry_port=${KILN_DEV_PORT:-5055}
registry=127.0.0.1:$registry_port
# Where `cargo release` puts the binary, below the checkout.
release_dir=target/$(uname -m)-unknown-linux-gnu/release

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Whoever renames a file to /dev/null as root leaves a plain file there, in which everybody finds what others threw away.
need_null_device() {
    [ -c /dev/null ] && return
    [ "$(id -u)" = 0 ] || die "/dev/null is no device any more: rm /dev/null && mknod -m 666 /dev/null c 1 3"
    say "/dev/null was no device: made again"
    rm -f /dev/null
    mknod -m 666 /dev/null c 1 3
}

# Installs those of the named Debian packages that are missing.
need_packages() {
    local missing=() package
    for package; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    [ "$(id -u)" = 0 ] || die "these packages are missing and only root can install them: ${missing[*]}"
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Rust comes from rustup where the machine has none that is new enough.
need_rust() {
    [ -d "$HOME/.cargo/bin" ] && PATH=$HOME/.cargo/bin:$PATH
    if cargo --version >/dev/null 2>&1; then return; fi
    need_packages rustup
    rustup default stable
}

# Clients of the Docker API that no package of the machine has, each in a folder and a version of its own.
clients_dir=$dev_dir/clients
dockerode=4.0.9
testcontainers=4.13.3
need_clients() {
    local made=$clients_dir/made wanted="dockerode $dockerode testcontainers $testcontainers"
    [ "$(cat "$made" 2>/dev/null)" != "$wanted" ] || return 0
    say "clients: $wanted"
    mkdir -p "$clients_dir/node"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$clients_dir/node" "dockerode@$dockerode"
    python3 -m venv "$clients_dir/python"
    "$clients_dir/python/bin/pip" install --quiet --disable-pip-version-check "testcontainers==$testcontainers"
    echo "$wanted" >"$made"
}

# Whether Docker Hub answers; then the local registry is not needed.
hub_answers() {
    [ -z "${KILN_DEV_LOCAL:-}" ] || return 1
    local status
    status=$(curl --silent --max-time 3 --output /dev/null --write-out '%{http_code}' https://registry-1.docker.io/v2/ || true)
    [ "$status" = 401 ] || [ "$status" = 200 ]
}
