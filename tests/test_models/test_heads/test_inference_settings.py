import pytest

from mmground.models.heads.inference_settings import fill_test_cfg


def test_what_is_set_and_what_is_not():
    assert fill_test_cfg(dict(b=3), a=1, b=2) == dict(a=1, b=3)
    assert fill_test_cfg(None, a=1) == dict(a=1)
    with pytest.raises(ValueError, match=r"test_cfg has no \['refin'\]; it takes \['refine'\]"):
        fill_test_cfg(dict(refin=False), refine=True)
