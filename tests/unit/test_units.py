import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastballoon_cli.errors import UsageError
from fastballoon_cli.units import format_duration, format_size, parse_duration, parse_rate, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("3G", 3221225472),
        ("3g", 3221225472),
        ("3GiB", 3221225472),
        ("3 GB", 3221225472),
        ("1.5G", 1610612736),
        ("512M", 536870912),
        ("4k", 4096),
        ("2T", 2199023255552),
        (" 7 ", 7),
    ],
)
def test_reads_sizes_as_people_write_them(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "3X", "G", "three", "1e9", "0x10", "3GG", "3G 4M", "--3", "nan", "1.", ".5", "٣x"]
)
def test_refuses_what_is_no_size(text):
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


def test_refuses_negative_sizes_and_parts_of_bytes():
    with pytest.raises(UsageError, match="negative"):
        parse_size("-1G")
    with pytest.raises(UsageError, match="whole number of bytes"):
        parse_size("0.3")


@given(st.integers(min_value=0, max_value=1 << 60))
def test_a_bare_number_is_bytes(size):
    assert parse_size(str(size)) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (3221225472, "3 GiB"), (1610612736, "1.50 GiB"), (4096, "4 KiB"), (-3221225472, "-3 GiB")],
)
def test_writes_sizes_in_the_largest_fitting_unit(size, text):
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0142, "14.2 ms"), (2.1, "2.10 s"), (185, "3 min 05 s"), (0, "0.0 ms")]
)
def test_writes_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize("text", ["256M", "256MiB/s", "256MB/s", "256m", "268435456", "0.25G/s", "256Mps"])
def test_reads_rates(text):
    assert parse_rate(text) == 256 << 20


@pytest.mark.parametrize(
    ("text", "seconds"), [("300ms", 0.3), ("2s", 2.0), ("2", 2.0), ("0.5 s", 0.5), ("1.5min", 90.0), ("0ms", 0.0)]
)
def test_reads_durations(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "ms", "-1s", "2h", "1e3", "3 0s"])
def test_refuses_what_is_no_duration(text):
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)
