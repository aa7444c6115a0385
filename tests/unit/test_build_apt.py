from fastballoon_cli.build.apt import choose_mirror, reason, stanzas

_BOOKWORM = """\
http://mirror.example/debian/|Debian|Debian|main|bookworm-updates
http://mirror.example/debian/|Debian|Debian|main|bookworm
http://mirror.example/debian-security/|Debian|Debian-Security|main|bookworm-security
"""


def test_mirror_of_an_updated_machine() -> None:
    assert choose_mirror(_BOOKWORM, distribution="debian", codename="bookworm") == "http://mirror.example/debian/"


def test_the_release_comes_before_its_updates() -> None:
    targets = (
        "http://updates.example/|Debian|Debian|main|trixie-updates\nhttp://main.example/|Debian|Debian|main|trixie\n"
    )
    assert choose_mirror(targets, distribution="debian", codename="trixie") == "http://main.example/"


def test_mirror_before_the_first_update() -> None:
    targets = (
        "http://mirror.example/debian-security/|||main|trixie-security\nhttp://mirror.example/debian/|||main|trixie\n"
    )
    assert choose_mirror(targets, distribution="debian", codename="trixie") == "http://mirror.example/debian/"


def test_mirror_list() -> None:
    targets = "mirror+file:/etc/apt/mirrors/debian.list|Debian|Debian|main|trixie\n"
    assert (
        choose_mirror(targets, distribution="debian", codename="trixie") == "mirror+file:/etc/apt/mirrors/debian.list"
    )


def test_others_are_no_mirror() -> None:
    targets = "http://archive.example/ubuntu/|Ubuntu|Ubuntu|main|noble\nhttp://node.example/|node|node|main|nodistro\n"
    assert choose_mirror(targets, distribution="ubuntu", codename="noble") is None


def test_unknown_origin_on_another_distribution() -> None:
    assert choose_mirror("http://archive.example/|||main|noble\n", distribution="ubuntu", codename="noble") is None


def test_noise_is_ignored() -> None:
    assert choose_mirror("W: something odd\n\n" + _BOOKWORM, distribution="debian", codename="bookworm") is not None
    assert choose_mirror("", distribution="debian", codename="bookworm") is None


def test_reason() -> None:
    output = "Err:1 http://m trixie InRelease\n  Temporary failure\nE: Failed to fetch http://m/InRelease  no\n"
    assert reason(output + "E: Some index files failed") == "Failed to fetch http://m/InRelease  no"
    assert reason("E: Unable to locate package x") == "Unable to locate package x"
    assert reason("Get:1 http://m") is None


def test_stanzas() -> None:
    text = "Package: a\nVersion: 1\nChecksums-Sha256:\n 11 5 a.dsc\n 22 7 a.tar.xz\n\nPackage: b\nVersion: 2\n"
    assert stanzas(text) == [
        {"Package": "a", "Version": "1", "Checksums-Sha256": "\n11 5 a.dsc\n22 7 a.tar.xz"},
        {"Package": "b", "Version": "2"},
    ]
