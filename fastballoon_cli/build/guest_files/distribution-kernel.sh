# Runs in a Debian that has one kernel, its headers and dkms: makes what QEMU boots, with the kernel's own balloon driver
# and with the module of fastballoon-dkms.
release=$(ls /lib/modules)

# Few and small, as a guest without KVM unpacks it. The root file system has no modules, so what it needs is loaded here.
echo MODULES=list >/etc/initramfs-tools/conf.d/fastballoon
echo COMPRESS=gzip >>/etc/initramfs-tools/conf.d/fastballoon
cat /build/initramfs-modules >>/etc/initramfs-tools/modules

update-initramfs -c -k "$release"
cp "/boot/initrd.img-$release" /build/out/initrd-stock

apt-get --yes --no-install-recommends install /build/fastballoon-dkms_*.deb
module=$(modinfo -k "$release" -F filename virtio_balloon)
case $module in
*/updates/dkms/*.ko) cp "$module" /build/out ;;
*/updates/dkms/*.ko.xz) xz -dc "$module" >/build/out/virtio_balloon.ko ;;
*)
    cat /var/lib/dkms/fastballoon/*/build/make.log
    exit 1
    ;;
esac

update-initramfs -u -k "$release"
cp "/boot/initrd.img-$release" /build/out/initrd
cp "/boot/vmlinuz-$release" /build/out/bzImage
cp "/boot/config-$release" /build/out/config
echo "$release" >/build/out/release
