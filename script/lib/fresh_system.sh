# The parts of script/fresh that make a system: the base, the host's settings, the clone.
#
# What the host's apt and npm use is asked of them (apt-get indextargets, apt-config, npm config)
# and never written down here. Of the host's sources only Debian's own go along, because a package
# from elsewhere (another Node.js, say) would hide that Debian's does not do.
# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2154 # folder, release, mirror, logs: of script/fresh

own_release() {
  local ID="" VERSION_CODENAME=""
  # shellcheck source=/dev/null
  source /etc/os-release
  if [[ $ID == debian && -n $VERSION_CODENAME ]]; then
    printf '%s\n' "$VERSION_CODENAME"
  else
    printf 'bookworm\n'
  fi
}

# git refuses repositories of other users unless the user's own settings allow it; root may be
# looking at anybody's.
git_here() {
  local home status=0
  home=$(mktemp -d)
  printf '[safe]\n\tdirectory = *\n' >"$home/.gitconfig"
  HOME=$home git -C "$repository" "$@" || status=$?
  rm -rf "$home"
  return "$status"
}

# The lines of sources.list by which the host's apt gets Debian's `release` and its updates.
debian_sources() {
  if [[ -n $mirror ]]; then
    printf 'deb %s %s main\n' "$mirror" "$release"
    return
  fi
  # shellcheck disable=SC2016 # apt fills these in
  apt-get indextargets 'Created-By: Packages' 'Origin: Debian' \
    --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' |
    awk -v name="$release" '$3 == name || index($3, name "-") == 1' | sort -u
}

# The proxy of the host's apt for a kind of address; nothing if there is none.
apt_proxy() {
  local value=
  eval "$(apt-config shell value "Acquire::$1::Proxy")"
  if [[ $value != DIRECT ]]; then
    printf '%s\n' "$value"
  fi
}

bootstrap_base() {
  local http https
  http=$(apt_proxy http)
  https=$(apt_proxy https)
  env ${http:+http_proxy="$http"} ${https:+https_proxy="$https"} \
    unshare --mount --pid --fork --kill-child \
    debootstrap --variant=minbase "$release" "$folder/base.new" "$1" \
    >"$logs/debootstrap.log" 2>&1 </dev/null
}

make_base() {
  local sources from
  if [[ -z $mirror && -z $(debian_sources) ]]; then
    apt-get update --quiet=2 || true
  fi
  sources=$(debian_sources)
  from=$(awk -v name="$release" '$3 == name && $4 == "main" { print $2; exit }' <<<"$sources")
  [[ -n $from ]] ||
    die "this system's apt has no source of Debian $release; name one with --mirror URL"
  if [[ -d $folder/base ]]; then
    say "the base system in $folder is used again"
    return
  fi
  say "bootstrapping Debian $release in $folder"
  rm -rf --one-file-system "$folder/base.new"
  interruptible bootstrap_base "$from" ||
    die "debootstrap failed; its output is in $logs/debootstrap.log:
$(tail -n 5 "$logs/debootstrap.log")"
  printf '%s\n' "$sources" >"$folder/base.new/etc/apt/sources.list"
  rm -f "$folder/base.new"/var/cache/apt/archives/*.deb
  mv "$folder/base.new" "$folder/base"
  say "it has $(find "$folder"/base/var/lib/dpkg/info -name '*.list' | wc -l) packages"
}

# The host's settings of apt: how the registry is reached, what is trusted and who may ask.
give_apt_settings() {
  local system=$1 bundle=/etc/ssl/certs/ca-certificates.crt
  apt-config dump |
    grep -E '^Acquire::(http|https|Retries|Check-|Allow|Force)' |
    grep -vE '^Acquire::https::(CAInfo|CAPath)' >"$system/etc/apt/apt.conf.d/90host" || true
  # A minimal system has no certificates; those of the host, for apt alone.
  if grep -q 'https://' "$system/etc/apt/sources.list" && [[ -r $bundle ]]; then
    cp "$bundle" "$system/etc/apt/host-ca.crt"
    printf 'Acquire::https::CAInfo "/etc/apt/host-ca.crt";\n' >>"$system/etc/apt/apt.conf.d/90host"
  fi
  local each
  for each in auth.conf auth.conf.d trusted.gpg.d keyrings; do
    if [[ -e /etc/apt/$each ]]; then
      cp -a "/etc/apt/$each" "$system/etc/apt/"
    fi
  done
}

# The host's settings of npm, for the user at home there.
give_npm_settings() {
  local system=$1 home=$2 authority=${NODE_EXTRA_CA_CERTS-} name value
  command -v npm >/dev/null || return 0
  for name in registry proxy https-proxy noproxy strict-ssl; do
    value=$(npm config get "$name" 2>/dev/null) || continue
    if [[ -n $value && $value != null && $value != undefined ]]; then
      printf '%s=%s\n' "$name" "$value"
    fi
  done >"$system$home/.npmrc"
  value=$(npm config get cafile 2>/dev/null) || value=
  if [[ -n $value && $value != null && $value != undefined ]]; then
    authority=$value
  fi
  if [[ -n $authority && -r $authority ]]; then
    cp "$authority" "$system/etc/host-ca.crt"
    printf 'cafile=/etc/host-ca.crt\n' >>"$system$home/.npmrc"
  fi
}

give_settings() {
  local system=$1 home=$2
  mkdir -p "$system$home"
  cp -L /etc/resolv.conf /etc/hosts /etc/hostname "$system/etc/" 2>/dev/null || true
  give_apt_settings "$system"
  give_npm_settings "$system" "$home"
}

# What is committed here, with its history, and nothing of the working tree.
clone_into() {
  if [[ -n $(git_here status --porcelain) ]]; then
    say "the clone has what is committed; changes in the working tree are not in it"
  fi
  git_here clone --quiet --no-hardlinks "$repository" "$1" ||
    die "cannot clone $repository"
}
