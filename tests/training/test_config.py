"""Configurations are read strictly."""

import pytest

from unsay.errors import BadInput
from unsay.training.config import load_config
from unsay.training.inpaint_config import InpaintConfig


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return path


def test_nested_values_and_defaults(tmp_path):
    config = load_config(write(tmp_path, "network: {width: 0.5}\nlr: 1\nfolders: [a, b]\n"), InpaintConfig)
    assert (config.network.width, config.network.levels, config.lr, config.folders) == (0.5, 7, 1.0, ("a", "b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 3", "unknown key 'stepz'"),
        ("steps: many", "expected int"),
        ("network: 3", "expected keys and values"),
        ("[", "cannot read"),
        ("steps: true", "expected int"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        load_config(write(tmp_path, text), InpaintConfig)
