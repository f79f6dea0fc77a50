import io
from pathlib import Path

import numpy as np
from mmcv import rgb2bgr
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

from mmground.registry import TRANSFORMS
from mmground.structures import decode_mask, decode_segment_ids

# Formats whose grey images may have more than 8 bits.
_DEEP_FORMATS = ('.png', '.tif', '.tiff')


def sample_name(results: dict) -> str:
    """How an error names the sample that ``results`` belongs to."""
    return f'sample {results["sample_id"]!r}' if 'sample_id' in results else 'the sample'


def read_error(error: Exception) -> str:
    """Why an image cannot be read; Pillow would name an object in memory."""
    if isinstance(error, UnidentifiedImageError):
        return 'it is no image of a known format'
    return str(error)


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
            if Path(path).suffix.lower() in _DEEP_FORMATS:
                self._check_depth(path)
            results = super().transform(results)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{path}: the image of {sample_name(results)} does not exist; check '
                "data_root and data_prefix['img_path'], or download the image"
            ) from error
        except Exception as error:
            # The decoders raise whatever they like and never name the file.
            raise ValueError(
                f'{path}: the image of {sample_name(results)} cannot be read '
                f'({read_error(error)}); replace the file if it is truncated or no image'
            ) from error
        img = results['img']
        if not img.flags.c_contiguous:
            # Pillow's RGB, read backwards: every later step would be slower than this copy.
            results['img'] = rgb2bgr(img[..., ::-1])
        stated = (results.get('height'), results.get('width'))
        if None not in stated and stated != results['ori_shape']:
            raise ValueError(
                f'{path}: the image is {results["ori_shape"]} (height, width), but the '
                f'annotations of {sample_name(results)} state {stated}; the file is not the '
                'one that was annotated: download it again'
            )
        return results

    def _check_depth(self, path: str) -> None:
        """Refuse what Pillow would clip to 8 bits."""
        with Image.open(io.BytesIO(fileio.get(path, self.backend_args))) as image:
            if image.mode[0] in 'IF':
                raise ValueError('it has more than 8 bits per pixel: convert it to 8 bits first')


@TRANSFORMS.register_module()
class LoadGroundingMasks(BaseTransform):
    """Read the masks of a sample's regions.

    A region's mask is its ``mask``: a COCO run-length code, polygons, or a file in which
    what is not 0 (black) belongs to the region. A region without one is the segment
    ``segment_id`` of the sample's COCO panoptic PNG, in which a pixel holds the id of its
    segment, ``R + 256 G + 65536 B``. The masks keep the size of the original image: what
    is resized, mirrored or padded later finds its way to them through
    :class:`~mmground.structures.Geometry`.

    Required Keys:

    - regions (list[dict]): each with ``mask`` or ``segment_id`` (int).
    - seg_map_path (str): the panoptic PNG, if a region is one of its segments.
    - ori_shape (tuple[int, int]): (H, W), set when the image is loaded.
    - sample_id (optional)

    Added Keys:

    - gt_region_masks (np.ndarray): bool, shape (R, H, W), one mask per region.

    Modified Keys:

    - regions: a region without ``bbox`` gets that of its mask.

    Args:
        backend_args: File backend of :mod:`mmengine.fileio`. Defaults to local files.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file or a code cannot be decoded or has another size than the
            image, the panoptic PNG is not RGB, or a region has no pixel or nothing to make a
            mask of.
    """

    def __init__(self, backend_args: dict | None = None):
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Read the masks of the record's regions; see the class."""
        shape, regions = tuple(results['ori_shape']), results['regions']
        masks = np.zeros((len(regions), *shape), dtype=bool)
        segments = [i for i, region in enumerate(regions) if 'mask' not in region]
        if segments:
            masks[segments] = self._segments(results, segments)
        for i, region in enumerate(regions):
            if 'mask' in region:
                masks[i] = self._mask(region['mask'], i, results)
        results['gt_region_masks'] = masks
        results['regions'] = [
            region if 'bbox' in region else {**region, 'bbox': _box(mask)}
            for region, mask in zip(regions, masks, strict=True)
        ]
        return results

    def _mask(self, mask, i: int, results: dict) -> np.ndarray:
        """The mask that a region brings, from a file or a code."""
        name = f'the mask of region {i} of {sample_name(results)}'
        shape = tuple(results['ori_shape'])
        if isinstance(mask, str):
            where = f'{mask}: '
            pixels = self._read(
                mask, name, "data_root, data_prefix['mask_path'] and the annotation"
            )
            if pixels.ndim == 3:
                # An alpha channel says nothing of what is black.
                pixels = pixels[..., : pixels.shape[2] - (pixels.shape[2] in (2, 4))].any(-1)
            if pixels.shape != shape:
                raise ValueError(
                    f'{where}{name} is {pixels.shape} (height, width), but its image '
                    f'{results.get("img_path")} is {shape}; draw it in the size of the image'
                )
            decoded = pixels != 0
        else:
            where = ''
            try:
                decoded = decode_mask(mask, shape)
            except ValueError as error:
                raise ValueError(
                    f'{name} cannot be decoded ({error}); image {results.get("img_path")}: '
                    'correct the annotation'
                ) from error
        if not decoded.any():
            raise ValueError(
                f'{where}{name} has no pixel in its image {results.get("img_path")}; correct the '
                'annotation or leave the region out'
            )
        return decoded

    def _segments(self, results: dict, indices: list[int]) -> np.ndarray:
        """The masks of those regions that are segments of the panoptic PNG."""
        regions = [results['regions'][i] for i in indices]
        lacking = [i for i, r in zip(indices, regions, strict=True) if 'segment_id' not in r]
        if lacking or 'seg_map_path' not in results:
            raise ValueError(
                f'region(s) {lacking or indices} of {sample_name(results)} have nothing to make a '
                'mask of; annotate masks, or leave LoadGroundingMasks out of a pipeline for boxes'
            )
        path = results['seg_map_path']
        segment_map = self._load_segment_map(path, results)
        if segment_map.shape != tuple(results['ori_shape']):
            raise ValueError(
                f'{path}: the panoptic PNG of {sample_name(results)} is {segment_map.shape} '
                f'(height, width), but its image {results.get("img_path")} is '
                f'{tuple(results["ori_shape"])}; the two files do not belong together: check '
                "data_prefix['img_path'] and data_prefix['seg_map_path']"
            )
        segment_ids = np.array([region['segment_id'] for region in regions], dtype=np.int64)
        # Compared in the 32 bits of the map, where no pixel is negative.
        in_range = np.where(segment_ids < 2**24, segment_ids, -1).astype(np.int32)
        masks = segment_map == in_range[:, None, None]
        found = masks.any(axis=(1, 2))
        if not found.all():
            raise ValueError(
                f'{path}: {sample_name(results)} refers to segment(s) '
                f'{segment_ids[~found].tolist()}, of which the panoptic PNG has no pixel; the '
                'PNG and the panoptic JSON are not of the same release: download both again'
            )
        return masks

    def _load_segment_map(self, path: str, results: dict) -> np.ndarray:
        name = f'the panoptic PNG of {sample_name(results)}'
        rgb = self._read(path, name, "data_root and data_prefix['seg_map_path']")
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(
                f'{path}: a panoptic PNG has three 8-bit channels, but that of '
                f'{sample_name(results)} is {rgb.dtype} of shape {rgb.shape}; convert it to '
                'RGB with id = R + 256 G + 65536 B'
            )
        return decode_segment_ids(rgb)

    def _read(self, path: str, name: str, to_check: str) -> np.ndarray:
        """The pixels as the file has them: of colours RGB, of a palette the indices."""
        try:
            content = fileio.get(path, backend_args=self.backend_args)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f'{path}: {name} does not exist; check {to_check}, or unpack the file there'
            ) from error
        try:
            with Image.open(io.BytesIO(content)) as image:
                return np.array(image)
        except Exception as error:
            # The decoders raise whatever they like and never name the file.
            raise ValueError(
                f'{path}: {name} cannot be read ({read_error(error)}); the file is truncated or '
                'no image: replace it'
            ) from error

    def __repr__(self) -> str:
        return f'{type(self).__name__}(backend_args={self.backend_args})'


def _box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """xyxy around a mask that is not empty: pixel i covers [i, i + 1)."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
