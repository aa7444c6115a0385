"""Fetches, patches and builds what a guest needs, into a cache named by content.

A build that was done before is found in milliseconds; one that is cut short leaves nothing that a later one takes for
good.
"""

from fastballoon_cli.build.image import ImageArtifact, image, plan_image
from fastballoon_cli.build.kernel import KernelArtifact, kernel, plan_kernel
from fastballoon_cli.build.paths import series_dir
from fastballoon_cli.build.qemu import QemuArtifact, QtestArtifact, plan_qemu, qemu, qtest
from fastballoon_cli.build.upstream_tests import UpstreamTests, upstream_tests
from fastballoon_cli.build.variants import BOOTABLE, COMMON, Plan, Variant, variants_of
from fastballoon_cli.build.zeros import zeros

__all__ = [
    "BOOTABLE",
    "COMMON",
    "ImageArtifact",
    "KernelArtifact",
    "Plan",
    "QemuArtifact",
    "QtestArtifact",
    "UpstreamTests",
    "Variant",
    "image",
    "kernel",
    "plan_image",
    "plan_kernel",
    "plan_qemu",
    "qemu",
    "qtest",
    "series_dir",
    "upstream_tests",
    "variants_of",
    "zeros",
]
