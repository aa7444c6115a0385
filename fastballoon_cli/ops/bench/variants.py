"""The ways to take a guest's memory, or to migrate it, that a bench compares."""

from dataclasses import dataclass

from fastballoon_cli.build import Distribution

__all__ = ["CHOICES", "DEFAULTS", "VARIANTS", "Variant"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A way to take a guest's memory.

    :ivar kernel, qemu: which builds.
    :ivar guest: a distribution whose kernel it is, with our module or its own driver; empty for none.
    :ivar method: what guest and QEMU must have agreed on, ``page-bitmap`` or ``pfn``.
    :ivar pluggable: the memory is lent by virtio-mem, and a target is reached by unplugging.
    :ivar drops_cache: the guest drops its cache first.
    :ivar reclaims: the guest reclaims what is wanted of its cache first, the coldest of it.
    :ivar skips_free: a migration leaves out what the guest tells to be free.
    """

    kernel: str
    qemu: str
    guest: str = ""
    method: str = "pfn"
    balloon_options: str = ""
    pluggable: bool = False
    drops_cache: bool = False
    reclaims: bool = False
    skips_free: bool = False


VARIANTS = {
    "fast": Variant(kernel="fast", qemu="fast", method="page-bitmap", skips_free=True),
    "stock": Variant(kernel="stock", qemu="stock"),
    # The PFN path of the instrumented build: it has the phases that an unmodified pair can't tell.
    "fast-pfn": Variant(
        kernel="fast", qemu="fast", balloon_options="x-page-bitmap=off,x-drop-cache=off,x-free-pages=off"
    ),
    "stock-reporting": Variant(kernel="stock", qemu="stock", balloon_options="free-page-reporting=on"),
    "stock-hint": Variant(kernel="stock", qemu="stock", balloon_options="free-page-hint=on", skips_free=True),
    "virtio-mem": Variant(kernel="stock", qemu="stock", pluggable=True),
    "fast-drop": Variant(kernel="fast", qemu="fast", method="page-bitmap", drops_cache=True, skips_free=True),
    "fast-reclaim": Variant(kernel="fast", qemu="fast", method="page-bitmap", reclaims=True),
    "stock-drop": Variant(kernel="stock", qemu="stock", drops_cache=True),
    **{
        guest.value: Variant(guest=guest, kernel="fast", qemu="fast", method="page-bitmap", skips_free=True)
        for guest in Distribution
    },
    **{f"{guest}-stock": Variant(guest=guest, kernel="stock", qemu="stock") for guest in Distribution},
}

_DISTRIBUTIONS = tuple(name for name, variant in VARIANTS.items() if variant.guest)

#: Scenario -> the variants that it compares unless told otherwise.
DEFAULTS = {
    "inflate": ("stock", "fast-pfn", "fast"),
    "deflate": ("stock", "fast-pfn", "fast"),
    "drop-cache": ("stock", "stock-drop", "fast", "fast-drop", "fast-reclaim"),
    "migrate": ("stock", "stock-hint", "fast"),
}

_MOVING = ("fast", "stock", "fast-pfn", "stock-reporting", "virtio-mem", *_DISTRIBUTIONS)
#: Scenario -> the variants that it can compare.
CHOICES = {
    "inflate": _MOVING,
    "deflate": _MOVING,
    "drop-cache": (*_MOVING, "fast-drop", "fast-reclaim", "stock-drop"),
    "migrate": ("fast", "stock", "stock-hint", "fast-drop", "stock-drop", *_DISTRIBUTIONS),
}
