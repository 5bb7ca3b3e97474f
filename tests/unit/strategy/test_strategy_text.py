"""The syntax of strategy files: YAML without its surprises, and JSON."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidRequest
from holdfast.strategy._text import MAX_BYTES, read_text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "nothing"),
        ("- a", "a list"),
        ("a: 1\nb: 2\na: 3", "line 3: key 'a' a second time is not allowed; it stands on line 1"),
        ('{"a": 1, "a": 2}', "a: a key that stands twice"),
        ("a: {b: 1, b: 2}", "key 'b' a second time"),
        ("a: !!python/object/apply:os.system [ls]", "no tags that make objects"),
        ("a: !mine x", "no tags that make objects"),
        ("a: &x [*x]", "contains itself"),
        ("a: *b", "undefined alias"),
        ("a: b: c", "line 1, column 5"),
        ("? [1]\n: 2", "keys are plain text"),
        ("a: 1\n---\nb: 2", "another document"),
        ("[" * 5000, "nesting without end"),
        ('{"a":' * 5000, "nesting without end"),
        ('{"a":' * 60 + "1" + "}" * 60, "nesting without end"),
        ("a: \x00", "unacceptable character"),
        ("a: " + "x" * MAX_BYTES, "characters"),
        ("a: \t- b\n\tc", "line"),
    ],
)
def test_bad_syntax_is_refused_in_one_line(text: str, told: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_text(text, "s.yaml")
    assert told in str(caught.value)
    assert str(caught.value).startswith("s.yaml")
    assert "\n" not in str(caught.value)


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InvalidRequest, match="values is not allowed"):
        read_text("\n".join(lines), "s.yaml")


def test_anchors_and_merges_work() -> None:
    text = "a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3\nc: *base"
    assert read_text(text, "s") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


def test_scalars_mean_what_they_look_like() -> None:
    text = "a: NO\nb: on\nc: 1e-3\nd: 2018-01-01\ne: 12:30\nf: true\ng: ~\nh: 1_000\n7: x\ni: 010\nj: -.5\nk: 'yes'"
    assert read_text(text, "s") == {
        "a": "NO",
        "b": "on",
        "c": 0.001,
        "d": "2018-01-01",
        "e": "12:30",
        "f": True,
        "g": None,
        "h": 1000,
        "7": "x",
        "i": 10,
        "j": -0.5,
        "k": "yes",
    }


def test_json_and_flow_yaml_are_both_read() -> None:
    assert read_text('{"a": [1, 2.5, null, true]}', "s") == {"a": [1, 2.5, None, True]}
    assert read_text("{a: [1, 2.5, null, true]}", "s") == {"a": [1, 2.5, None, True]}
