import numpy as np
from mmcv.transforms import BaseTransform

from mmground.registry import TRANSFORMS

from ..proposal_store import ProposalStore
from .loading import sample_name


def clip_proposals(boxes: np.ndarray, shape: tuple[int, int], image: str) -> np.ndarray:
    """Clip proposals to their image.

    Args:
        boxes: xyxy in pixels of the original image, (n, 4), float32.
        shape: Its height and width.
        image: What the error calls it.

    Raises:
        ValueError: If one lies outside.
    """
    height, width = shape
    clipped = boxes.clip(0, np.array([width, height] * 2, np.float32))
    if not (clipped[:, :2] < clipped[:, 2:]).all():
        raise ValueError(
            f'a proposal lies outside of {image}, which has {width} x {height} pixels: are the '
            'proposals of another image?'
        )
    return clipped


@TRANSFORMS.register_module()
class LoadProposals(BaseTransform):
    """Look up the proposals of a detector for the image of a sample.

    Required Keys:

    - img_id (str)
    - height, width (int, optional): Of the original image; boxes are clipped to it.
    - sample_id (optional)

    Added Keys:

    - proposals (dict): ``boxes`` xyxy in pixels of the original image, (n, 4), float32; ``labels``
      (n, ), int64; ``scores`` (n, ), float32; at most ``num``, the first of the
      file, which are the best, unless its header says otherwise.

    Args:
        path: A file of :class:`ProposalStore`.
        num: M, how many are used. The default is the paper's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If ``num`` is not positive, the file is no store, it has no proposals of the
            image, or one lies outside of it.
    """

    def __init__(self, path: str, num: int = 50) -> None:
        if num < 1:
            raise ValueError(f'num must be at least 1, got {num}')
        self.path = path
        self.num = num
        self._store: ProposalStore | None = None

    @property
    def store(self) -> ProposalStore:
        """The file, opened when it is first needed: a config can be built without it."""
        if self._store is None:
            self._store = ProposalStore(self.path)
        return self._store

    def transform(self, results: dict) -> dict:
        """Add the proposals; see the class."""
        try:
            found = self.store[results['img_id']]
        except KeyError as error:
            raise ValueError(
                f'{self.path}: there are no proposals for image {results["img_id"]!r} of '
                f'{sample_name(results)}; run tools/dataset_converters/extract_proposals.py with '
                'the same arguments for the images of this split: it goes on where it stopped'
            ) from error
        proposals = {key: value[: self.num] for key, value in found.items()}
        if 'height' in results and 'width' in results:
            shape = (results['height'], results['width'])
            name = f'image {results["img_id"]!r} ({self.path})'
            proposals['boxes'] = clip_proposals(proposals['boxes'], shape, name)
        results['proposals'] = proposals
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(path={self.path!r}, num={self.num})'
