"""Fetches, patches and builds what a guest needs, into a cache named by content.

A build that was done before is found in milliseconds; one that is cut short leaves nothing that a later one takes for
good.
"""

from fastballoon_cli.build.distribution import Distribution, check_guest_kernel, guest_kernel, plan_guest_kernel
from fastballoon_cli.build.guest_packages import guest_packages, plan_guest_packages
from fastballoon_cli.build.image import ImageArtifact, image, plan_image
from fastballoon_cli.build.kernel import KernelArtifact, kernel, plan_kernel
from fastballoon_cli.build.paths import series_dir
from fastballoon_cli.build.qemu import QemuArtifact, QtestArtifact, plan_qemu, qemu, qtest
from fastballoon_cli.build.qemu_package import plan_qemu_package, qemu_package
from fastballoon_cli.build.tool_package import plan_tool_package, tool_package
from fastballoon_cli.build.upstream_tests import UpstreamTests, upstream_tests
from fastballoon_cli.build.variants import BOOTABLE, COMMON, Plan, Variant, variants_of
from fastballoon_cli.build.zeros import zeros

__all__ = [
    "BOOTABLE",
    "COMMON",
    "Distribution",
    "ImageArtifact",
    "KernelArtifact",
    "Plan",
    "QemuArtifact",
    "QtestArtifact",
    "UpstreamTests",
    "Variant",
    "check_guest_kernel",
    "guest_kernel",
    "guest_packages",
    "image",
    "kernel",
    "plan_guest_kernel",
    "plan_guest_packages",
    "plan_image",
    "plan_kernel",
    "plan_qemu",
    "plan_qemu_package",
    "plan_tool_package",
    "qemu",
    "qemu_package",
    "qtest",
    "series_dir",
    "tool_package",
    "upstream_tests",
    "variants_of",
    "zeros",
]
