from fastballoon_cli.results.curve import POINTS, Curve, thinned


def test_few_points_are_kept_as_they_are():
    assert thinned("left", [(0.0, 4), (0.25, 1)]) == Curve("left", [0.0, 0.25], [4, 1])
    assert thinned("free", []) is None


def test_of_many_points_the_lowest_and_the_last_stay():
    points = [(n / 10, 1000 - n) for n in range(1000)]
    points[537] = (53.7, 3)
    curve = thinned("free", points)
    assert len(curve.seconds) == len(curve.bytes) <= POINTS
    assert (53.7, 3) in zip(curve.seconds, curve.bytes, strict=True)
    assert (curve.seconds[-1], curve.bytes[-1]) == (99.9, 1)
    assert curve.seconds == sorted(curve.seconds)
