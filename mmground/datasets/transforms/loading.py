import numpy as np
from mmcv import imfrombytes
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio

from mmground.registry import TRANSFORMS


def sample_name(results: dict) -> str:
    """How an error names the sample that ``results`` belongs to."""
    return f'sample {results["sample_id"]!r}' if 'sample_id' in results else 'the sample'


@TRANSFORMS.register_module()
class LoadGroundingImage(LoadImageFromFile):
    """Load the image of a grounding sample, or say which file cannot be loaded.

    The image is always three channels, **BGR**, turned upright by its EXIF tag;
    grey and palette images are converted, an alpha channel is dropped. What the
    parent class leaves unnamed (a file that does not decode, a truncated one) is
    an error that names file and sample here.

    Required Keys:

    - img_path (str)
    - sample_id, height, width (optional)

    Added Keys:

    - img (np.ndarray): BGR, uint8, shape (H, W, 3).
    - img_shape, ori_shape (tuple[int, int]): (H, W).

    Args:
        imdecode_backend: Decoder of :func:`mmcv.imfrombytes`. The default is the one
            that the published panoptic narrative grounding systems used; OpenCV
            decodes JPEG to slightly different values.
        backend_args: File backend of :mod:`mmengine.fileio`. Defaults to local files.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be decoded, or its size is not the record's
            ``height`` and ``width``.
    """

    def __init__(self, imdecode_backend: str = 'pillow', backend_args: dict | None = None):
        super().__init__(imdecode_backend=imdecode_backend, backend_args=backend_args)

    def transform(self, results: dict) -> dict:
        """Load the image; see the class."""
        path = results['img_path']
        try:
            results = super().transform(results)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{path}: the image of {sample_name(results)} does not exist; check '
                "data_root and data_prefix['img_path'], or download the image"
            ) from error
        except Exception as error:
            # The decoders raise whatever they like and never name the file.
            raise ValueError(
                f'{path}: the image of {sample_name(results)} cannot be read ({error}); the '
                'file is truncated or no image: replace it'
            ) from error
        stated = (results.get('height'), results.get('width'))
        if None not in stated and stated != results['ori_shape']:
            raise ValueError(
                f'{path}: the image is {results["ori_shape"]} (height, width), but the '
                f'annotations of {sample_name(results)} state {stated}; the file is not the '
                'one that was annotated: download it again'
            )
        return results


@TRANSFORMS.register_module()
class LoadGroundingMasks(BaseTransform):
    """Cut the masks of a sample's regions out of its COCO panoptic PNG.

    A pixel of such a file holds the id of its segment, ``R + 256 G + 65536 B``. The
    masks keep the size of the original image: what is resized, mirrored or padded
    later finds its way to them through :class:`~mmground.structures.Geometry`.

    Required Keys:

    - seg_map_path (str)
    - regions (list[dict]): each with ``segment_id`` (int).
    - ori_shape (tuple[int, int]): (H, W), set when the image is loaded.
    - sample_id (optional)

    Added Keys:

    - gt_region_masks (np.ndarray): bool, shape (R, H, W), one mask per region.

    Args:
        backend_args: File backend of :mod:`mmengine.fileio`. Defaults to local files.

    Raises:
        FileNotFoundError: If the PNG does not exist.
        ValueError: If it cannot be decoded, is not RGB, has another size than the
            image, or has no pixel of a region.
    """

    def __init__(self, backend_args: dict | None = None):
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Cut the masks of the record's regions; see the class."""
        path = results['seg_map_path']
        segment_map = self._load_segment_map(path, results)
        if segment_map.shape != tuple(results['ori_shape']):
            raise ValueError(
                f'{path}: the panoptic PNG of {sample_name(results)} is {segment_map.shape} '
                f'(height, width), but its image {results.get("img_path")} is '
                f'{tuple(results["ori_shape"])}; the two files do not belong together: check '
                "data_prefix['img_path'] and data_prefix['seg_map_path']"
            )
        segment_ids = np.array([r['segment_id'] for r in results['regions']], dtype=np.int64)
        masks = segment_map == segment_ids[:, None, None]
        found = masks.any(axis=(1, 2))
        if not found.all():
            raise ValueError(
                f'{path}: {sample_name(results)} refers to segment(s) '
                f'{segment_ids[~found].tolist()}, of which the panoptic PNG has no pixel; the '
                'PNG and the panoptic JSON are not of the same release: download both again'
            )
        results['gt_region_masks'] = masks
        return results

    def _load_segment_map(self, path: str, results: dict) -> np.ndarray:
        try:
            content = fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{path}: the panoptic PNG of {sample_name(results)} does not exist; check '
                "data_root and data_prefix['seg_map_path'], or unpack the panoptic PNGs there"
            ) from error
        try:
            bgr = imfrombytes(content, flag='unchanged', backend='pillow')
        except Exception as error:
            raise ValueError(
                f'{path}: the panoptic PNG of {sample_name(results)} cannot be read ({error}); '
                'the file is truncated or no image: unpack it again'
            ) from error
        if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3:
            raise ValueError(
                f'{path}: a panoptic PNG has three 8-bit channels, but that of '
                f'{sample_name(results)} is {bgr.dtype} of shape {bgr.shape}; convert it to '
                'RGB with id = R + 256 G + 65536 B'
            )
        # 256 and 65536 do not fit into uint8.
        blue, green, red = np.moveaxis(bgr, -1, 0).astype(np.int64)
        return red + 256 * green + 65536 * blue

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'
