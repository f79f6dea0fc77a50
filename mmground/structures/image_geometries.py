from collections.abc import Sequence

from .geometry import Geometry
from .grounding_data_sample import GroundingDataSample


def image_geometries(count: int, data_samples: Sequence[GroundingDataSample]) -> list[Geometry]:
    """How each image of a batch lies on its canvas.

    Args:
        count: B, the number of images.
        data_samples: Samples with ``image_index`` and ``geometry``, at least one for each image.

    Returns:
        B geometries.

    Raises:
        ValueError: If an image has no sample.
    """
    geometries = {sample.image_index: sample.geometry for sample in data_samples}
    if len(geometries) != count:
        raise ValueError(
            f'a part needs to know the padding, but data_samples place {len(geometries)} of '
            f'{count} images'
        )
    return [geometries[index] for index in range(count)]
