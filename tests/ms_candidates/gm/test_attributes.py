"""What is read from, measured in and set on cells of the original's kinds."""

import numpy as np
import pytest

pytestmark = pytest.mark.mindspore


class Cells:
    """Cells of the kinds and names that the original has, made of MindSpore's own."""

    def __init__(self):
        import mindspore as ms
        from mindspore import nn, ops

        ms.set_context(mode=ms.PYNATIVE_MODE)
        module = type("Module", (), {})  # stands for the module that the class is defined in
        module.ops = ops

        class Downsample(nn.Cell):
            def __init__(self):
                super().__init__()
                self.with_conv = True
                self.conv = nn.Conv2d(2, 2, 3, stride=2, padding=0, pad_mode="pad", has_bias=True)

            def construct(self, x):
                batch, channels, height, width = x.shape
                right = module.ops.ones((batch, channels, height, 1), x.dtype)
                x = ops.concat([x, right], axis=3)
                bottom = module.ops.ones((batch, channels, 1, width + 1), x.dtype)
                return self.conv(ops.concat([x, bottom], axis=2))

        self.module, self.downsample = module, Downsample()


@pytest.fixture(scope="module")
def cells():
    return Cells()


def test_norms_and_convolutions_report_under_the_reference_s_names():
    from mindspore import nn

    from ms_candidates.gm.attributes import attributes_of

    assert attributes_of(nn.LayerNorm([4], epsilon=1e-5)) == {"eps": 1e-5}
    assert attributes_of(nn.GroupNorm(2, 4, eps=1e-6)) == {"num_groups": 2, "eps": 1e-6}
    convolution = nn.Conv2d(2, 2, 3, stride=2, padding=1, pad_mode="pad")
    assert attributes_of(convolution) == {"stride": [2, 2], "padding": [1, 1], "dilation": [1, 1], "groups": 1}
    assert attributes_of(nn.GELU(approximate=False))["approximate"] == "none"
    assert attributes_of(nn.GELU())["approximate"] == "tanh"
    assert attributes_of(nn.Dense(2, 2)) == attributes_of(None) == {}


def test_a_downsampling_s_padding_is_measured(cells):
    from ms_candidates.gm.attributes import attributes_of

    assert attributes_of(cells.downsample) == {"pad": [0, 1, 0, 1], "pad_value": 1.0}


def test_a_downsampling_pads_with_the_value_that_is_set(cells, monkeypatch):
    import sys

    from mindspore import Tensor

    from ms_candidates.gm.attributes import attributes_of, set_attribute

    monkeypatch.setitem(sys.modules, type(cells.downsample).__module__, cells.module)
    image = Tensor(np.ones((1, 2, 4, 4), np.float32))
    before = cells.downsample(image).asnumpy()
    assert set_attribute(cells.downsample, "pad_value", 0.0)
    assert attributes_of(cells.downsample)["pad_value"] == 0.0
    after = cells.downsample(image).asnumpy()
    assert np.array_equal(before[..., :-1, :-1], after[..., :-1, :-1])
    assert not np.allclose(before[..., -1, -1], after[..., -1, -1])


def test_an_attribute_is_set_by_its_canonical_name_only_where_the_cell_has_it():
    from mindspore import nn

    from ms_candidates.gm.attributes import set_attribute

    norm = nn.LayerNorm([4], epsilon=1e-5)
    assert set_attribute(norm, "eps", 1e-6)
    assert norm.epsilon == 1e-6
    assert not set_attribute(norm, "heads", 2)
