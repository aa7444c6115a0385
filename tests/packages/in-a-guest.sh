# Runs as root in a Debian 13 with a kernel for VMs: installs the packages for guests, makes a disk of what comes out,
# removes them again, and runs Debian's test of dkms packages. /build has the packages; what is found out goes to /build/out.
export DEBIAN_FRONTEND=noninteractive

files() {
    find / -xdev \( -path /build -o -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log \
        -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /boot \) -prune -o -not -type d -print | sort
}

apt-get --yes install dkms python3 openssl
files >/tmp/before
apt-get --yes install /build/fastballoon-guest_*.deb /build/fastballoon-dkms_*.deb
update-initramfs -u -k all

# The disk has neither what is mounted here nor what it is made of.
mkdir /tmp/root
mount --bind / /tmp/root
mount -t tmpfs none /tmp/root/build
mke2fs -q -t ext4 -d /tmp/root /build/out/disk 2G
umount /tmp/root/build /tmp/root
cp /boot/vmlinuz-* /build/out/vmlinuz
cp /boot/initrd.img-* /build/out/initrd

apt-get --yes purge fastballoon-guest fastballoon-dkms
files | comm -13 /tmp/before - | grep -v -e '\.pyc$' -e '^/var/lib/dkms/mok\.' >/build/out/left || true

AUTOPKGTEST_ARTIFACTS=/tmp /usr/lib/dkms/dkms-autopkgtest /build/fastballoon-dkms_*.deb >/build/out/dkms-autopkgtest 2>&1
