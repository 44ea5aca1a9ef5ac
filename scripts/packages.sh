#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The one place that talks to apt: installs what building, checking and running virtual machines needs on
# Debian 12 or later, once, and says so. What is there already costs nothing and touches nothing.

set -euo pipefail
export LC_ALL=C # apt's words are looked at

usage() {
	cat <<-END
	usage: scripts/packages.sh GROUP...
	       scripts/packages.sh --list GROUP...
	       scripts/packages.sh --unpack DIRECTORY RELEASE PACKAGE...
	       scripts/packages.sh --unpack-only REGEX DIRECTORY RELEASE PACKAGE...
	       scripts/packages.sh --unpack-foreign ARCHITECTURE DIRECTORY PACKAGE...

	Installs those Debian packages of the groups that are missing, as root or with sudo.
	--list only names the packages of the groups.
	--unpack takes packages, with all that they depend on, from another release of Debian, such as
	trixie-backports, and unpacks them below DIRECTORY; this machine's own packages stay as they are.
	--unpack-only takes packages, and of what they depend on only what has a name that REGEX matches,
	also from this machine's own release.
	--unpack-foreign takes packages, and nothing that they depend on, of another architecture, such as arm64.

	groups:
	  build   compiler, meson, ninja, libinih, libjansson, libncurses, libseccomp, sys/sdt.h
	  check   sanitizers, clang-format, clang-tidy, pytest, spelling and shell checks
	  vm      QEMU for x86 and python3
	  recipes what the host needs for docs/recipes
	  deb     what makes Debian packages
	  kernel  what building a kernel needs, besides the packages of build
	END
}

fail() {
	echo "packages.sh: $*" >&2
	exit 1
}

group_packages() {
	case "$1" in
	build) echo make gcc libc6-dev libinih-dev libjansson-dev libncurses-dev libseccomp-dev meson ninja-build pkg-config systemtap-sdt-dev ;;
	check)
		echo git g++ clang clang-format clang-tidy libclang-rt-dev python3-pytest codespell mandoc shellcheck systemd apparmor
		# for programs of 32 bits, and for those of ARM, which clang compiles: gcc's packages for both exclude each other
		[ "$(dpkg --print-architecture 2>/dev/null)" != amd64 ] ||
			echo gcc-multilib binutils-aarch64-linux-gnu libc6-dev-arm64-cross libgcc-12-dev-arm64-cross qemu-user-static
		;;
	# SSH for the recipe that is a test
	vm) echo qemu-system-x86 python3 openssh-client ;;
	recipes) echo python3-grpcio python3-protobuf ;;
	deb) echo build-essential debhelper dh-dkms libinih-dev libjansson-dev libncurses-dev libseccomp-dev meson pkg-config systemtap-sdt-dev ;;
	kernel) echo bc bison flex libelf-dev xz-utils ;;
	*) return 1 ;;
	esac
}

packages_of() {
	local group
	for group in "$@"; do
		group_packages "$group" || fail "there is no group '$group'; the groups are build, check, vm, recipes, deb and kernel"
	done
}

is_installed() {
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

log=
# shellcheck disable=SC2317 # called by the trap
cleanup() {
	[ -z "$log" ] || rm -f "$log"
}
trap cleanup EXIT

# Runs a command silently; its output is only of interest if it fails.
quietly() {
	[ -n "$log" ] || log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		quietly env DEBIAN_FRONTEND=noninteractive "$@"
	elif command -v sudo >/dev/null; then
		# Before quietly(): the question for the password must be seen and answered.
		sudo -n true 2>/dev/null || sudo -v || fail "sudo refused; as root, run: $*"
		quietly sudo env DEBIAN_FRONTEND=noninteractive "$@"
	else
		fail "neither root nor sudo; as root, run: $*"
	fi
}

apt_failed() {
	tail -n 15 "$log" | sed 's/^/  /' >&2
	fail "$1; see apt's words above"
}

updated=no
update_lists() {
	[ "$updated" = no ] || return 0
	updated=yes
	# A freshly booted machine often refreshes its lists by itself, and update does not wait for that.
	local try
	for try in $(seq 30); do
		if as_root apt-get -q update; then
			return 0
		fi
		grep -q 'Could not get lock' "$log" || break
		[ "$try" != 1 ] || echo "packages.sh: waiting for another apt to finish" >&2
		sleep 2
	done
	apt_failed "apt-get update failed (is there a network, and are the entries in /etc/apt/sources.list good?)"
}

# Runs apt with the lists there are, and again with fresh ones if that failed.
with_fresh_lists() {
	"$@" && return 0
	[ "$updated" = no ] || return 1
	update_lists
	"$@"
}

have_candidates() {
	local count
	count=$(apt-cache --quiet=0 policy "$@" 2>/dev/null | grep -c '^  Candidate: [^(]') || true
	[ "$count" = "$#" ]
}

install_groups() {
	local missing=() package
	if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
		echo "packages.sh: this is no Debian; please see to it that these are there: $*" >&2
		return
	fi
	for package in "$@"; do
		is_installed "$package" || missing+=("$package")
	done
	[ ${#missing[@]} != 0 ] || return 0

	echo "installing Debian packages, once: ${missing[*]}"
	have_candidates "${missing[@]}" || update_lists
	with_fresh_lists as_root apt-get -q -y -o DPkg::Lock::Timeout=300 \
		install --no-install-recommends "${missing[@]}" ||
		apt_failed "apt-get install failed for: ${missing[*]}"
}

own_release() {
	# shellcheck source=/dev/null
	(. /etc/os-release && echo "${VERSION_CODENAME-}")
}

# Where this machine gets Debian from, in the words of apt, which alone understands all forms of its sources.
mirror() {
	# shellcheck disable=SC2016 # these are apt's dollars
	apt-get indextargets --format '$(COMPONENT) $(RELEASE) $(ORIGIN) $(REPO_URI)' 'Created-By: Packages' |
		while read -r component release origin uri; do
			[ "$component $origin" = "main Debian" ] || continue
			case "$release" in
			*security*) ;; # is at other places
			*)
				echo "$uri"
				return
				;;
			esac
		done
}

# What apt is told besides: here, that it need not become another user, who may not be allowed to write where it shall.
apt_options=(-o APT::Sandbox::User=root)

# From now on, apt has its sources, state and cache below $1 instead of the machine's.
set_apart() {
	local state=$1
	mkdir -p "$state/lists/partial"
	: >"$state/status"
	apt_options+=(
		-o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::State::Lists="$state/lists"
		-o Dir::Cache="$state/cache"
		-o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
		-o Acquire::Languages=none -o APT::Update::Error-Mode=any
	)
}

# From now on, apt is about another release.
look_aside() {
	local state=$1 release=$2 from options
	from=$(mirror)
	if [ -z "$from" ]; then
		update_lists # without which apt tells nothing of its sources
		from=$(mirror)
	fi
	[ -n "$from" ] || fail "apt's sources name no Debian to take packages of $release from"

	options="arch=$(dpkg --print-architecture)"
	# What else is said of the keys in the machine's sources is for its own release.
	local keys=/usr/share/keyrings/debian-archive-keyring.gpg
	[ ! -e "$keys" ] || options+=" signed-by=$keys"
	{
		echo "deb [$options] $from ${release%-backports} main"
		[ "$release" = "${release%-backports}" ] || echo "deb [$options] $from $release main"
	} >"$state/sources.list"

	set_apart "$state"
	quietly apt-get -q "${apt_options[@]}" update ||
		apt_failed "apt found no $release at $from (is there a network, and does this mirror have it?)"
	apt_options+=(-o APT::Default-Release="$release")
}

fetch_with_all() {
	mkdir -p partial
	quietly apt-get -q -y "${apt_options[@]}" -o Dir::Cache::Archives="$PWD" \
		--no-install-recommends --download-only install "$@"
}

fetch_matching() {
	local regex=$1 names
	shift
	quietly apt-cache "${apt_options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts \
		--no-breaks --no-replaces --no-enhances "$@" || return 1
	names=$(grep -Ex "$regex" "$log" | sort -u) || true
	# shellcheck disable=SC2086 # one word per package
	quietly apt-get -q "${apt_options[@]}" download "$@" $names
}

# From now on, apt is about another architecture, of the same releases.
look_abroad() {
	local state=$1 architecture=$2
	have_candidates apt || update_lists # without which apt tells nothing of its sources
	# shellcheck disable=SC2016 # these are apt's dollars
	apt-get indextargets --format "deb [arch=$architecture] "'$(REPO_URI) $(RELEASE) $(COMPONENT)' \
		'Created-By: Packages' 'Origin: Debian' >"$state/sources.list"
	set_apart "$state"
	apt_options+=(-o APT::Architecture="$architecture" -o APT::Architectures="$architecture")
	quietly apt-get -q "${apt_options[@]}" update ||
		apt_failed "apt found no packages for $architecture (is there a network, and does this mirror have them?)"
}

unpack_all() {
	local directory=$1 package
	for package in *.deb; do
		quietly dpkg -x "$package" "$directory" || apt_failed "dpkg could not unpack $package"
	done
}

unpack_foreign() {
	local architecture=$1 directory=$2 state
	shift 2
	command -v apt-get >/dev/null || fail "no apt-get on this machine, but it is needed to fetch: $*"
	mkdir -p "$directory/.apt/packages"
	directory=$(realpath "$directory")
	state=$directory/.apt
	cd "$state/packages"

	look_abroad "$state" "$architecture"
	quietly apt-get -q "${apt_options[@]}" download "$@" || apt_failed "apt could not fetch, for $architecture: $*"
	unpack_all "$directory"
	rm -rf "$state"
}

unpack() {
	local regex=$1 directory=$2 release=$3 state fetch=(fetch_with_all)
	shift 3
	command -v apt-get >/dev/null || fail "no apt-get on this machine, but it is needed to fetch: $*"
	mkdir -p "$directory/.apt/packages"
	directory=$(realpath "$directory")
	state=$directory/.apt
	cd "$state/packages"

	[ -z "$regex" ] || fetch=(fetch_matching "$regex")
	if [ -z "$regex" ] || [ "$release" != "$(own_release)" ]; then
		look_aside "$state" "$release"
		"${fetch[@]}" "$@" || apt_failed "apt could not fetch, from $release: $*"
	else
		with_fresh_lists "${fetch[@]}" "$@" || apt_failed "apt could not fetch: $*"
	fi
	unpack_all "$directory"
	rm -rf "$state"
}

case "${1-}" in
'' | -h | --help)
	usage
	[ $# != 0 ] || exit 2
	;;
--list)
	shift
	packages_of "$@"
	;;
--unpack)
	[ $# -ge 4 ] || fail "--unpack wants a directory, a release and packages"
	unpack "" "${@:2}"
	;;
--unpack-only)
	[ $# -ge 5 ] || fail "--unpack-only wants a regular expression, a directory, a release and packages"
	unpack "${@:2}"
	;;
--unpack-foreign)
	[ $# -ge 4 ] || fail "--unpack-foreign wants an architecture, a directory and packages"
	unpack_foreign "${@:2}"
	;;
-*)
	fail "unknown option '$1'; try --help"
	;;
*)
	packages=$(packages_of "$@")
	# shellcheck disable=SC2086 # one word per package
	install_groups $packages
	;;
esac
