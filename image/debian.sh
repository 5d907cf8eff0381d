# shellcheck shell=bash
# What the image (image/build, image/renew) and the tests' machine (image/vm/build) have in common: sourced.

# mirror LABEL prints the address of the Debian archive of that name (Debian, Debian-Security) that apt uses here.
mirror() {
	# shellcheck disable=SC2016 # apt expands it
	apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' |
		awk -v label="$1" '$1 == label { print $2; found = 1; exit } END { exit !found }' || {
		echo "apt has no archive $1: see /etc/apt/sources.list.d and apt-get update" >&2
		return 1
	}
}

# unpack DEB ROOT [PATTERN ...] unpacks a package's files, or those that match, without running its scripts. dpkg -x
# would replace the links /bin, /lib and /sbin of a root by folders.
unpack() {
	local deb=$1 root=$2
	shift 2
	dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" --keep-directory-symlink --wildcards -x "$@"
}

# initrd ROOT RELEASE BUSYBOX INIT OUT MODULE ... packs a static busybox, a script that becomes process 1, and modules of
# ROOT with what they need, in the order in which they are to be loaded.
initrd() {
	local root=$1 release=$2 busybox=$3 init=$4 out=$5 dir n=10 # a number before the name keeps the order
	shift 5
	dir=$(mktemp -d)
	mkdir -p "$dir"/{bin,proc,sys,dev,run,ro,rw,new,modules}
	install -m 755 "$busybox" "$dir/bin/busybox"
	install -m 755 "$init" "$dir/init"
	for name in "$@"; do
		modprobe -d "$root" -S "$release" --show-depends "$name" || return 1
	done | awk '$1 == "insmod" { print $2 }' | awk '!seen[$0]++' | while read -r file; do
		cp "$file" "$dir/modules/$n-$(basename "$file")"
		n=$((n + 1))
	done
	find "$dir" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +
	(cd "$dir" && find . | LC_ALL=C sort | cpio --quiet --reproducible --owner=0:0 -o -H newc) | gzip -n -1 >"$out"
	rm -r "$dir"
}
