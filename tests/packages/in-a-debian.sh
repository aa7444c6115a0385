# Runs as root in a Debian 13 that is made for it: what a host's user does with the packages, from their installation to
# their removal. /build has the packages, a domain and what it boots; what is found out goes to /build/out.
export DEBIAN_FRONTEND=noninteractive LIBVIRT_DEFAULT_URI=qemu:///system

fb() {
    fastballoon --connect qemu:///system "$@"
}

apt-get --yes install /build/qemu-system-x86-fastballoon_*.deb /build/fastballoon_*.deb
for path in $(dpkg -L qemu-system-x86-fastballoon fastballoon); do
    [ -d "$path" ] || echo "$path"
done >/build/out/brought

# The profile that libvirt makes for each domain, as AppArmor understands it; loading it takes a kernel of one's own.
printf '%s\n' 'include <tunables/global>' 'profile d { include <abstractions/libvirt-qemu> }' >/tmp/profile
apparmor_parser --skip-kernel-load --skip-cache --debug /tmp/profile >/build/out/apparmor 2>&1

cat >>/etc/libvirt/qemu.conf <<'EOF'
security_driver = "none"
user = "root"
group = "root"
remember_owner = 0
namespaces = [ ]
cgroup_controllers = [ ]
stdio_handler = "file"
EOF
mkdir -p /run/libvirt
# A daemon that stays would keep this Debian from being removed.
leave() {
    virsh destroy d || true
    kill "$(cat /run/libvirtd.pid)"
}
trap leave EXIT
libvirtd --daemon
until virsh version >/dev/null 2>&1; do sleep 0.1; done

code=0
fb --vm nobody inflate --target 1G || code=$?
echo $code >/build/out/code-of-a-failure

virsh define /build/domain.xml
fb vm xml d --apply
virsh dumpxml --inactive d >/build/out/domain.xml
virsh start d
# Its driver is there when it has booted.
until fb --json --vm d inflate --target 256M >/build/out/inflated.json 2>/build/out/said; do
    [ $((tries = ${tries:-0} + 1)) -lt 60 ]
    sleep 1
done
fb --json --vm d doctor --guest >/build/out/doctor.json

# The next version of both, which differs in its number, while the guest runs.
for package in /build/qemu-system-x86-fastballoon_*.deb /build/fastballoon_*.deb; do
    dpkg-deb --raw-extract "$package" /tmp/next
    sed -i 's/^Version: .*/&+next/' /tmp/next/DEBIAN/control
    dpkg-deb --build --root-owner-group /tmp/next "/tmp/$(basename "$package" .deb)-next.deb"
    rm -r /tmp/next
done
apt-get --yes install /tmp/*-next.deb
fb --json --vm d deflate >/build/out/deflated.json
virsh destroy d
virsh undefine d

apt-get --yes purge qemu-system-x86-fastballoon fastballoon
find / -xdev \( -path /build -o -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log -o -path /var/cache \
    -o -path /var/lib/dpkg -o -path /var/lib/libvirt \) -prune -o -path '*fastballoon*' -print >/build/out/left
