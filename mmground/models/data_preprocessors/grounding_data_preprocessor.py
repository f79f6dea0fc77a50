import torch
from mmengine.model import ImgDataPreprocessor
from torch import Tensor

from mmground.registry import MODELS
from mmground.structures import Geometry


@MODELS.register_module()
class GroundingDataPreprocessor(ImgDataPreprocessor):
    """Normalise, pad and stack the unique images of a batch.

    Images are padded at the bottom and right to the largest of the batch, rounded up
    to a multiple of ``pad_size_divisor``; the padding is zero after normalisation. An image
    whose geometry has an ``offset`` or a ``canvas_shape`` (see
    :class:`~mmground.datasets.transforms.Letterbox`) is put at that place, on a canvas of at
    least that size. Samples of one image share its row: each gets its ``image_index`` and a
    ``geometry`` that knows the canvas.

    Two samples are of one image if ``img_path``, ``img_id``, geometry and pixels are equal; an
    image without a path, which was given as an array, is known by its ``img_id`` and the rest, and
    one with neither is never shared. So samples whose pipeline changed an image each in its own
    way, its place or its colours, have rows of their own; with ``same_draws`` of
    :class:`~mmground.datasets.samplers.ImageGroupSampler` they are changed alike and share.

    Args:
        **kwargs: As for mmengine's ``ImgDataPreprocessor``: ``mean``, ``std``,
            ``pad_size_divisor``, ``bgr_to_rgb`` and the rest.
    """

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare a batch.

        Args:
            data: ``inputs``, a list of T uint8 images (3, h, w), and ``data_samples``.
            training: Unused: both modes are prepared alike.

        Returns:
            ``inputs``, (B, 3, H, W), and the ``data_samples`` on the same device.
        """
        rows, images, image_index, geometries = {}, [], [], []
        for image, sample in zip(data['inputs'], data['data_samples'], strict=True):
            identity = (sample.img_path, sample.get('img_id'))
            same = rows.setdefault((*identity, sample.geometry), []) if any(identity) else []
            # Colours may have been changed at random.
            row = next((row for row in same if torch.equal(images[row], image)), len(images))
            if row == len(images):
                same.append(row)
                images.append(image)
                geometries.append(sample.geometry)
            image_index.append(row)
        data = super().forward(dict(inputs=images, data_samples=data['data_samples']), training)
        data['inputs'] = self._place(data['inputs'], geometries)
        canvas_shape = tuple(data['inputs'].shape[-2:])
        for sample, index in zip(data['data_samples'], image_index, strict=True):
            sample.set_metainfo(
                dict(image_index=index, geometry=sample.geometry.on_canvas(canvas_shape))
            )
        return data

    def _place(self, images: Tensor, geometries: list[Geometry]) -> Tensor:
        """Put stacked images (B, 3, h, w), each at the upper left, at their places."""
        needed = torch.tensor(
            [
                geometry.canvas_shape or [area.stop for area in geometry.image_area]
                for geometry in geometries
            ]
        )
        divisor = self.pad_size_divisor
        shape = [-(-side // divisor) * divisor for side in needed.amax(0).tolist()]
        if shape == list(images.shape[-2:]) and not any(any(g.offset) for g in geometries):
            return images
        canvas = images.new_full((*images.shape[:2], *shape), self.pad_value)
        for row, image, geometry in zip(canvas, images, geometries, strict=True):
            height, width = geometry.img_shape
            rows, columns = geometry.image_area
            row[:, rows, columns] = image[:, :height, :width]
        return canvas

    def raw_canvas(self, inputs: Tensor) -> Tensor:
        """Undo the normalisation, for parts that have one of their own.

        Args:
            inputs: A prepared batch. Shape (B, 3, H, W).

        Returns:
            The images as the pipeline packed them, whole numbers from 0 to 255, float, channels
            in that order (BGR as loaded); on the padding no value in particular. Shape
            (B, 3, H, W).
        """
        images = inputs.float()
        if self._enable_normalize:
            images = images * self.std + self.mean
        if self._channel_conversion:
            images = images.flip(1)
        return images.round().clamp(0, 255)
