import os
import os.path as osp
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby, islice
from math import ceil
from pathlib import Path
from typing import ClassVar

import mmcv
import mmengine
import numpy as np
import torch
from mmengine import fileio
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.infer import BaseInferencer
from mmengine.structures import BaseDataElement, InstanceData
from rich.progress import track
from torch import nn

from mmground.datasets.relation_parsing import related_phrases, spacy_parser
from mmground.datasets.transforms.loading import read_error
from mmground.registry import INFERENCERS, TRANSFORMS, VISUALIZERS
from mmground.structures import (
    GroundingDataSample,
    encode_masks,
    merge_panoptic,
    resolve_expression,
    resolve_phrases,
)
from mmground.utils.config_options import check_config_name

from .coco_panoptic import coco_panoptic
from .inference import changed_test_cfg, init_model
from .proposal_extractor import ProposalExtractor
from .proposal_source import ProposalSource

IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif', '.tiff', '.webp')

_ANNOTATION_LOADERS = ('LoadGroundingMasks',)
# What texts of an image do not share.
_OF_A_TEXT = {'sample_id', 'text', 'phrases', 'relations', 'num_predicates'}
_PROPOSAL_LOADERS = ('LoadProposals',)
_IMAGE_LOADERS = ('LoadGroundingImage', 'LoadImageFromFile')


@INFERENCERS.register_module()
class GroundingInferencer(BaseInferencer):
    """Finds what the phrases of a text refer to in an image. For every task and system.

    The images go through the config's test pipeline, without its loader of
    annotations.

    Args:
        model: Config, or its file. None takes the config from ``weights``, which needs
            ``trust_checkpoint=True``.
        weights: Checkpoint file, see :func:`~mmground.apis.init_model`.
        device: Device to run on. None takes a GPU if there is one.
        scope: Registry scope in which the config's types are looked up.
        show_progress: Show a progress bar when there is more than one batch.
        cfg_options: Settings that replace the config's.
        trust_checkpoint: See :func:`~mmground.apis.init_model`.
        proposals: For a model that chooses among proposals, such as ReIR (``LoadProposals`` is in
            its test pipeline): a :class:`~mmground.apis.ProposalExtractor`, a detector that runs on
            the images; or a file of
            :class:`~mmground.datasets.proposal_store.ProposalStore`, in which an image is looked up
            by its name without suffix. None: they come with each call.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If the checkpoint does not fit, the model takes no proposals, or the detector
            has other categories than the model.

    Example:
        >>> inferencer = GroundingInferencer('ppmn_r18-fpn_1xb16_shapes.py', 'ppmn.pth')
        >>> result = inferencer('photo.jpg', 'A [man] throws [a red frisbee].', out_dir='out')
        >>> [(phrase['text'], phrase['area']) for phrase in result['predictions'][0]['phrases']]
        >>> inferencer('photo.jpg', ['[a man] walks', '[the grass]'])  # the image runs once
        >>> referring = GroundingInferencer('pbrec-mt_r18_shapes.py', 'pbrec.pth')
        >>> referring('photo.jpg', ['the left dog', 'the smaller cat'])  # whole texts
        >>> detector = ProposalExtractor('faster-rcnn_r18_shapes.py', 'detector.pth')
        >>> choosing = GroundingInferencer('reir_r18_shapes.py', 'reir.pth', proposals=detector)
        >>> choosing('photo.jpg', '[a man] throws [a red frisbee]', relations=[(0, 1)])
    """

    preprocess_kwargs: ClassVar[set[str]] = {'texts', 'phrases', 'proposals', 'relations'}
    forward_kwargs: ClassVar[set[str]] = {'panoptic', 'candidates'}
    visualize_kwargs: ClassVar[set[str]] = {
        'return_vis',
        'show',
        'wait_time',
        'draw_pred',
        'vis_out_dir',
    }
    postprocess_kwargs: ClassVar[set[str]] = {'pred_out_dir', 'panoptic_out_dir'}

    def __init__(
        self,
        model: str | Path | Config | ConfigDict | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        scope: str = 'mmground',
        show_progress: bool = True,
        cfg_options: dict | None = None,
        trust_checkpoint: bool = False,
        proposals: str | Path | ProposalExtractor | None = None,
    ) -> None:
        self.cfg_options = cfg_options
        self.trust_checkpoint = trust_checkpoint
        self._num_arrays = 0
        if isinstance(model, str | Path):
            if not osp.isfile(model):
                raise FileNotFoundError(f'config {model} does not exist')
            check_config_name(model)
            model = str(model)
        super().__init__(model, weights, device, scope, show_progress)
        self._proposals = self._init_proposals(proposals)
        self._parse = None

    def __call__(
        self,
        inputs: str | Path | np.ndarray | Sequence[str | Path | np.ndarray],
        texts: str | Sequence[str] | Sequence[str | Sequence[str]],
        phrases: Sequence | None = None,
        batch_size: int = 1,
        return_datasamples: bool = False,
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        draw_pred: bool = True,
        panoptic: bool = False,
        candidates: bool = False,
        out_dir: str | Path = '',
        no_save_vis: bool = False,
        no_save_pred: bool = False,
        proposals: dict | Sequence[dict | None] | None = None,
        relations: str | Sequence | None = None,
    ) -> dict:
        r"""Ground texts in images.

        Args:
            inputs: An image file, an image (BGR, (H, W, 3) uint8), a list of those, or
                a folder, of which all images are taken in the order of their names.
            texts: For one image: its text, or a list of texts about it. For a list of
                images or a folder: one text for all of them, or a list with, for each
                image, its text or a list of texts about it. Brackets mark the phrases:
                ``'A [man] throws [a red frisbee]'``; a literal bracket is written ``\[``.
                For a system of referring expressions, such as PBREC, each whole text is the
                phrase, see :func:`~mmground.structures.resolve_expression`.
            phrases: In place of brackets: a list of phrases, as they stand in the text, that
                holds for every text; or a list of the form of ``texts`` in which each
                text's place has such a list (or None; or, for one text for all images, a
                list with an entry for each image). With neither, the noun phrases that
                spaCy finds. To ground a whole expression, list it.
            batch_size: Images in one pass of the model. All texts of an image go with it,
                so that it is encoded once; of an image that is listed several times in a
                row, too (the same file name or the same array object).
            return_datasamples: Return the data samples in place of dicts.
            return_vis: Return the pictures as well.
            show: Show each picture in a window.
            wait_time: Seconds for which it is shown; 0 waits for a key.
            draw_pred: Draw the predictions. Without it, pictures show image and text.
            panoptic: Also merge the phrases of each text into a panoptic segmentation, in
                which a pixel belongs to one segment at most, see
                :func:`~mmground.structures.merge_panoptic`. Pictures show it beside the
                masks. For systems that keep the phrases' probabilities.
            candidates: Also give the candidates that box and mask were chosen from. For systems
                with localisers. Masks of all candidates, k for each expression, are made at
                the size of the image.
            out_dir: Folder to write ``vis/<name>.png``, ``preds/<name>.json`` and, with
                ``panoptic``, ``panoptic/<name>.png`` and ``.json`` to, the last two in the
                format of COCO, see :func:`~mmground.apis.coco_panoptic`. The name is the
                image file's, arrays are numbered; where a call has a name again, for
                another text or image, it gets ``_1``, ``_2``, ... Empty writes nothing.
            no_save_vis: Do not write pictures.
            no_save_pred: Do not write predictions.
            proposals: For a model that chooses among proposals, those of the image, or a list with
                those of each image (None: of the inferencer's source): dicts of ``boxes``,
                ``labels`` and ``scores``, see :meth:`ProposalSource.check`.
            relations: For a model with an object graph, which phrases of a text are related: pairs
                (subject, object) of their indices, from 0, that hold for every text; or a list of
                the form of ``texts`` in which each text's place has such pairs (or None); or
                ``'parse'``, what spaCy's dependency parse says. None: there are none, and the
                graph has no effect.

        Returns:
            ``predictions``: per text, image by image, a dict that JSON can hold, with

            - ``img_path`` (str, or None for an array), ``text`` (without mark-up),
              ``height``, ``width``
            - ``phrases``: per phrase ``text``, ``span`` (characters of ``text``), and
              what the system predicts: ``score``; ``mask`` (COCO run-length encoding
              in the size of the image) and its ``area`` in pixels; ``bbox`` (xyxy in
              pixels; the box around the mask where the system predicts no box, None
              if the mask is empty). Of systems that score points also ``points``, the
              best point by task (``'rec'``: for the box; ``'res'``: for the mask), xy in
              pixels; ``mask_score``, that of the mask where ``score`` is the box's; and
              ``truncated``, whether the encoder cut off the end of the text. Of systems that
              choose among proposals also ``bbox_initial``, the proposal that ``bbox`` came from,
              and ``unmatched``, whether the phrase is similar to none of them.
            - of a phrase with ``candidates``: ``box_candidates``, dicts with ``bbox`` and
              ``score``, and ``mask_candidates``, dicts with ``mask`` and ``score``, best
              score first; ``box_choice`` and ``mask_choice``, which of them is the result.
            - ``segments``: with ``panoptic`` the segments, each with ``id``, ``phrases``
              (indices), ``score``, ``mask``, ``area`` and ``bbox``.

            ``visualization``: with ``return_vis`` the pictures, RGB uint8 (h, w, 3).

            With ``out_dir``, ``files``: the paths written.

        Raises:
            FileNotFoundError: If an image does not exist.
            TypeError: If images, texts or phrases are not of the types above.
            ValueError: If an image cannot be read, a folder has none, the numbers of
                images, texts and phrase lists differ, a text is not marked correctly,
                has no phrase, or has one that the text encoder cannot read; or if the
                system has no probabilities that ``panoptic`` could merge, or no
                ``candidates``; or if proposals or relations are missing, malformed, or given to a
                system that takes none. All but unreadable images and phrases, and images without
                proposals, are noticed before the model runs.
        """
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        records = self._records(inputs, texts, phrases, proposals, relations)
        vis_dir = osp.join(out_dir, 'vis') if out_dir and not no_save_vis else ''
        pred_dir = osp.join(out_dir, 'preds') if out_dir and not no_save_pred else ''
        panoptic_dir = osp.join(out_dir, 'panoptic') if out_dir and panoptic else ''

        self._check_options(panoptic, candidates)
        results: dict = dict(predictions=[], visualization=[], files=[])
        batches = self._batches(records, batch_size)
        count = ceil(sum(1 for _ in _by_image(records)) / batch_size)
        if self.show_progress and count > 1:
            batches = track(batches, description='Grounding', total=count)
        for batch_records, data in batches:
            samples = self.forward(data, panoptic=panoptic, candidates=candidates)
            _refuse_unread_phrases(samples)
            _note_points_only(samples)
            self._check_matched(samples)
            pictures = self.visualize(
                batch_records,
                samples,
                return_vis=return_vis,
                show=show,
                wait_time=wait_time,
                draw_pred=draw_pred,
                vis_out_dir=vis_dir,
            )
            batch_results = self.postprocess(
                samples,
                pictures,
                return_datasamples,
                pred_out_dir=pred_dir,
                panoptic_out_dir=panoptic_dir,
            )
            results['predictions'] += batch_results['predictions']
            results['visualization'] += batch_results['visualization']
            for record in batch_records:
                name = record['sample_id']
                if vis_dir:
                    results['files'].append(osp.join(vis_dir, f'{name}.png'))
                if pred_dir:
                    results['files'].append(osp.join(pred_dir, f'{name}.json'))
                if panoptic_dir:
                    results['files'].append(osp.join(panoptic_dir, f'{name}.png'))
                    results['files'].append(osp.join(panoptic_dir, f'{name}.json'))
        return results

    def preprocess(
        self,
        inputs,
        batch_size: int = 1,
        texts=(),
        phrases=None,
        proposals=None,
        relations=None,
    ):
        """Turn images and texts into batches for the model.

        Args:
            inputs: See :meth:`__call__`.
            batch_size: Images in a batch, each with all its texts.
            texts: See :meth:`__call__`.
            phrases: See :meth:`__call__`.
            proposals: See :meth:`__call__`.
            relations: See :meth:`__call__`.

        Yields:
            What ``model.test_step`` takes.
        """
        records = self._records(inputs, texts, phrases, proposals, relations)
        for _, data in self._batches(records, batch_size):
            yield data

    def forward(
        self, inputs: dict, panoptic: bool = False, candidates: bool = False
    ) -> list[GroundingDataSample]:
        """Run the model.

        Args:
            inputs: What :meth:`preprocess` yields.
            panoptic: Also set ``pred_panoptic``, see :meth:`__call__`.
            candidates: Also keep the candidates in ``pred_phrases``, see :meth:`__call__`.

        Returns:
            The samples with ``pred_phrases``.

        Raises:
            ValueError: If the system has no probabilities or no candidates and they are asked for.
        """
        self._check_options(panoptic, candidates)
        settings = {}
        if panoptic:
            settings['keep_grid_probs'] = True
        if candidates:
            settings['keep_candidates'] = True
        with ExitStack() as stack:
            if settings:
                stack.enter_context(changed_test_cfg(self.model, **settings))
            samples = super().forward(inputs)
        if panoptic:
            for sample in samples:
                self._merge_panoptic(sample)
        return samples

    def _check_options(self, panoptic: bool, candidates: bool) -> None:
        """Raise a ValueError if the model cannot give what is asked for."""
        head = getattr(self.model, 'head', None)
        test_cfg, name = getattr(head, 'test_cfg', None) or {}, type(head or self.model).__name__
        if panoptic and 'keep_grid_probs' not in test_cfg:
            raise ValueError(
                f'a panoptic segmentation is merged from probabilities of the phrases, and {name} '
                'keeps none (its test_cfg has no keep_grid_probs)'
            )
        if candidates and not ('keep_candidates' in test_cfg and len(self.model.localisers)):
            raise ValueError(
                'candidates are what localisers propose at the best points, and the model has '
                f'none (its head is {name}; model.localisers are those of the config)'
            )

    @torch.no_grad()
    def _merge_panoptic(self, sample: GroundingDataSample) -> None:
        probs = sample.geometry.inverse_masks(sample.pred_phrases.grid_probs)
        segment_map, segments = merge_panoptic(probs, self.model.head.test_cfg['threshold'])
        sample.pred_panoptic = BaseDataElement(
            metainfo=dict(segments=segments), segment_map=segment_map
        )

    def visualize(
        self,
        inputs: list[dict],
        preds: list[GroundingDataSample],
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        draw_pred: bool = True,
        vis_out_dir: str = '',
    ) -> list[np.ndarray]:
        """Draw predictions.

        Args:
            inputs: Per prediction a dict with ``img``, the original image (BGR, (H, W, 3)
                uint8), and ``sample_id``, the name of its picture.
            preds: Predictions of the model.
            return_vis: Return the pictures.
            show: Show each in a window.
            wait_time: Seconds for which it is shown; 0 waits for a key.
            draw_pred: Draw the predictions.
            vis_out_dir: Folder to write the pictures to. Empty writes none.

        Returns:
            The pictures, RGB uint8, with ``return_vis``.
        """
        if not (return_vis or show or vis_out_dir):
            return []
        pictures = []
        for record, sample in zip(inputs, preds, strict=True):
            image = np.ascontiguousarray(record['img'][..., ::-1])
            picture = self.visualizer.draw(image, sample, draw_gt=False, draw_pred=draw_pred)
            if show:
                self.visualizer.show(picture, win_name=record['sample_id'], wait_time=wait_time)
            if vis_out_dir:
                path = osp.join(vis_out_dir, f'{record["sample_id"]}.png')
                mmcv.imwrite(picture[..., ::-1], path)
            if return_vis:
                pictures.append(picture)
        return pictures

    def postprocess(
        self,
        preds: list[GroundingDataSample],
        visualization: list[np.ndarray],
        return_datasamples: bool = False,
        pred_out_dir: str = '',
        panoptic_out_dir: str = '',
    ) -> dict:
        """Turn predictions into dicts and write them.

        Args:
            preds: Predictions of the model.
            visualization: Pictures of :meth:`visualize`.
            return_datasamples: Return ``preds`` as they are.
            pred_out_dir: Folder to write ``<sample_id>.json`` to. Empty writes none.
            panoptic_out_dir: Folder to write ``<sample_id>.png`` and ``.json`` to, the
                panoptic segmentations. Empty writes none.

        Returns:
            ``predictions`` and ``visualization``, see :meth:`__call__`.
        """
        predictions = []
        for sample in preds:
            as_dict = prediction_to_dict(sample)
            if pred_out_dir:
                _write_json(as_dict, osp.join(pred_out_dir, f'{sample.sample_id}.json'))
            if panoptic_out_dir:
                rgb, annotations = coco_panoptic(sample)
                path = osp.join(panoptic_out_dir, str(sample.sample_id))
                mmcv.imwrite(rgb[..., ::-1], f'{path}.png')
                _write_json(annotations, f'{path}.json')
            predictions.append(sample if return_datasamples else as_dict)
        return dict(predictions=predictions, visualization=visualization)

    def _records(self, inputs, texts, phrases, proposals, relations) -> list[dict]:
        """One record per text, checked: the files exist, the phrases are in the texts."""
        self._check_takes(proposals, relations)
        images = self._inputs_to_list(inputs)
        one_image = not isinstance(inputs, list | tuple) and not _is_folder(inputs)
        if one_image and not isinstance(texts, str):
            # A list of texts is about the one image, and so are their phrases.
            texts = [texts]
            phrases = phrases if _is_one_list(phrases) else [phrases]
            relations = relations if _is_one_graph(relations) else [relations]
        texts = _one_for_each(texts, len(images), 'texts', isinstance(texts, str))
        phrases = _one_for_each(phrases, len(images), 'phrase lists', _is_one_list(phrases))
        relations = _one_for_each(
            relations, len(images), 'lists of relations', _is_one_graph(relations)
        )
        if one_image and proposals is not None:
            proposals = [proposals]
        proposals = _one_for_each(proposals, len(images), 'proposals', proposals is None)
        records: list[dict] = []
        names: set[str] = set()
        image_ids: dict[str | int, str] = {}
        given: dict[str | int, dict | None] = {}
        whole = getattr(getattr(self.model, 'head', None), 'grounds_whole_text', False)
        resolve = resolve_expression if whole else resolve_phrases
        for image, own_texts, own_phrases, own_proposals, own_relations in zip(
            images, texts, phrases, proposals, relations, strict=True
        ):
            from_file = isinstance(image, str)
            key = image if from_file else id(image)
            stem = Path(image).stem if from_file else image_ids.get(key) or self._array_name()
            if given.setdefault(key, own_proposals) is not own_proposals:
                raise ValueError(
                    f'image {stem} is listed several times with different proposals: list it once, '
                    'with its texts in a list'
                )
            if own_proposals is not None:
                own_proposals = self._proposals.check(own_proposals, f'image {stem}')
            listed_texts = list(_texts_with_phrases(own_texts, own_phrases))
            graphs = _one_for_each(
                own_relations,
                len(listed_texts),
                'lists of relations of texts',
                _is_one_graph(own_relations),
            )
            for (text, listed), graph in zip(listed_texts, graphs, strict=True):
                plain, found = resolve(text, listed)
                name = _unused_name(stem, names)
                record = dict(sample_id=name, text=plain, phrases=found)
                if graph is not None:
                    record |= self._relations(plain, found, graph)
                if own_proposals is not None:
                    record['proposals'] = own_proposals
                # The name of an image's first record is no other image's.
                record['img_id'] = image_ids.setdefault(key, name)
                record['img_path'] = image if from_file else None
                if not from_file:
                    record['img'] = image
                records.append(record)
        return records

    def _check_takes(self, proposals, relations) -> None:
        """Raise a ValueError if the model takes no proposals or relations and they are given."""
        head = getattr(self.model, 'head', None)
        name = type(head or self.model).__name__
        if proposals is not None and self._proposals is None:
            raise ValueError(_no_use_for_proposals(name))
        if relations is not None and getattr(head, 'graph', None) is None:
            raise ValueError(
                f'relations are given, but the model ({name}) has no object graph that they could '
                'be edges of: leave them out'
            )

    def _relations(self, text: str, phrases: list[dict], relations) -> dict:
        """What the pipeline packs; predicates are learned from, and do not matter here."""
        if relations == 'parse':
            if self._parse is None:
                self._parse = spacy_parser()
            pairs = related_phrases(text, [phrase['span'] for phrase in phrases], self._parse)
        else:
            pairs = [tuple(int(index) for index in pair) for pair in relations]
        for pair in pairs:
            if pair[0] == pair[1] or not all(0 <= index < len(phrases) for index in pair):
                first, second = (index + 1 for index in pair)
                raise ValueError(
                    f'the relation {first}-{second} (in Python {pair}, from 0) is not between two '
                    f'of the {len(phrases)} phrases of the text {text!r}'
                )
        return dict(relations=[(*pair, []) for pair in pairs], num_predicates=0)

    def _init_proposals(self, source) -> ProposalSource | None:
        head = getattr(self.model, 'head', None)
        if self.pipeline.num_proposals is None:
            if source is not None:
                raise ValueError(_no_use_for_proposals(type(head or self.model).__name__))
            return None
        try:
            names = head.similarity.names
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        return ProposalSource(source, names, self.pipeline.num_proposals)

    def _check_matched(self, samples: list[GroundingDataSample]) -> None:
        """Nobody should take the first proposal for what a phrase refers to."""
        for sample in samples:
            unmatched = sample.pred_phrases.get('unmatched')
            for index in [] if unmatched is None else unmatched.nonzero()[:, 0].tolist():
                phrase = sample.phrases[index]['text']
                about = f'the phrase {phrase!r} in {sample.text!r} is similar to the category of no'
                if self.model.head.unmatched == 'scores':
                    warnings.warn(f'{about} proposal, and matched without categories', stacklevel=3)
                    continue
                words = [word for word, _ in self.model.text_encoder.vocabulary.split(phrase)]
                if not self.model.head.similarity.knows(words):
                    raise ValueError(
                        f'no word of the phrase {phrase!r} in {sample.text!r} is known (has a '
                        'vector in model.head.similarity.word_vectors): say it in other words'
                    )
                warnings.warn(f'{about} proposal: its box is a guess', stacklevel=3)

    def _array_name(self) -> str:
        self._num_arrays += 1
        return f'{self._num_arrays - 1:08d}'

    def _inputs_to_list(self, inputs) -> list[str | np.ndarray]:
        """Files and arrays, a folder resolved to its images, each checked."""
        if _is_folder(inputs):
            folder = str(inputs)
            inputs = sorted(
                osp.join(folder, name)
                for name in fileio.list_dir_or_file(folder, list_dir=False)
                if name.lower().endswith(IMAGE_EXTENSIONS)
            )
            if not inputs:
                raise ValueError(f'folder {folder} holds no image ({", ".join(IMAGE_EXTENSIONS)})')
        elif not isinstance(inputs, list | tuple):
            inputs = [inputs]
        if len(inputs) == 0:
            raise ValueError('the list of images is empty')
        return [_check_input(image) for image in inputs]

    def _batches(self, records: list[dict], batch_size: int) -> Iterator[tuple[list[dict], dict]]:
        """Pairs of a batch's records, with their images, and what the model takes."""
        images = _by_image(records)
        while batch := list(islice(images, batch_size)):
            images_of_batch = [self.pipeline.load(own_records[0]) for own_records in batch]
            if self._proposals is not None:
                found = self._proposals(images_of_batch)
                for image, own in zip(images_of_batch, found, strict=True):
                    image['proposals'] = own
            loaded = []
            for image, own_records in zip(images_of_batch, batch, strict=True):
                shared = {key: image[key] for key in image.keys() - _OF_A_TEXT}
                loaded += [{**record, **shared} for record in own_records]
            yield loaded, self.collate_fn([self.pipeline(record) for record in loaded])

    def _init_model(self, cfg, weights: str | None, device: str) -> nn.Module:
        model = init_model(
            cfg or None, weights, device, self.cfg_options, trust_checkpoint=self.trust_checkpoint
        )
        # The parent class goes on with its own object.
        cfg.update(model.cfg._cfg_dict)
        return model

    def _init_pipeline(self, cfg) -> Callable:
        return InferencePipeline(_test_pipeline(cfg))

    def _init_visualizer(self, cfg):
        settings = dict(cfg.get('visualizer') or dict(type='GroundingVisualizer'))
        # Pictures go to ``out_dir`` or to the caller, not to back ends.
        for key in ('vis_backends', 'save_dir', 'name'):
            settings.pop(key, None)
        kind = settings.pop('type')
        # Not through ``build``, which would make it the current visualizer of the
        # process and so take the place of a running training's.
        visualizer_class = VISUALIZERS.get(kind) if isinstance(kind, str) else kind
        return visualizer_class(name='grounding_inferencer', **settings)


class InferencePipeline:
    """A test pipeline that takes images without annotations, from files or memory.

    Args:
        transforms: Configs of the test pipeline's transforms. Loaders of annotations and of
            proposals are left out, and the loader of images used for files only.

    Attributes:
        num_proposals (int | None): How many proposals the pipeline loads; None if it loads none.

    Raises:
        ValueError: If the pipeline has no loader of images at its beginning.
    """

    def __init__(self, transforms: Sequence[dict]) -> None:
        left_out = _ANNOTATION_LOADERS + _PROPOSAL_LOADERS
        kept = [t for t in transforms if _type_name(t) not in left_out]
        loaders = [t for t in transforms if _type_name(t) in _PROPOSAL_LOADERS]
        self.num_proposals = TRANSFORMS.build(loaders[0]).num if loaders else None
        if not kept or _type_name(kept[0]) not in _IMAGE_LOADERS:
            raise ValueError(
                f'a test pipeline must begin with one of {", ".join(_IMAGE_LOADERS)}, got '
                f'{[_type_name(t) for t in transforms]}'
            )
        self.loader = TRANSFORMS.build(kept[0])
        self.transforms = Compose([TRANSFORMS.build(t) for t in kept[1:]])

    def __call__(self, record: dict) -> dict:
        """Load and transform one image.

        Args:
            record: ``sample_id, img_id, img_path, text, phrases`` and, for an image in
                memory, ``img`` (BGR, (H, W, 3) uint8).

        Returns:
            ``inputs`` and ``data_samples`` as the pipeline packs them.
        """
        return self.transforms(self.load(record))

    def load(self, record: dict) -> dict:
        """The record with ``img``, ``img_shape`` and ``ori_shape``.

        Raises:
            ValueError: If the file cannot be decoded.
        """
        record = dict(record)
        if 'img' in record:
            record['img_shape'] = record['ori_shape'] = record['img'].shape[:2]
            return record
        path = record['img_path']
        try:
            return self.loader(record)
        except Exception as error:
            # Decoders raise what they like, and do not name the file.
            reason = read_error(error.__cause__ or error)
            raise ValueError(f'image {path} cannot be read: {reason}') from error


def prediction_to_dict(sample: GroundingDataSample) -> dict:
    """A prediction as data that JSON can hold.

    Args:
        sample: A data sample with ``pred_phrases`` and, where it was asked for,
            ``pred_panoptic``.

    Returns:
        See :meth:`GroundingInferencer.__call__`.
    """
    predicted = sample.pred_phrases
    height, width = sample.ori_shape
    phrases = []
    for index, phrase in enumerate(sample.phrases):
        entry: dict = dict(text=phrase['text'], span=[int(place) for place in phrase['span']])
        if 'scores' in predicted:
            entry['score'] = float(predicted.scores[index])
        if 'masks' in predicted:
            mask = predicted.masks[index].cpu().numpy().astype(bool)
            entry['mask'] = encode_masks(mask[None])[0]
            entry['area'] = int(mask.sum())
            entry['bbox'] = _box_around(mask)
        if 'bboxes' in predicted:
            entry['bbox'] = _floats(predicted.bboxes[index])
        if 'bboxes_initial' in predicted:
            entry['bbox_initial'] = _floats(predicted.bboxes_initial[index])
        if 'unmatched' in predicted:
            entry['unmatched'] = bool(predicted.unmatched[index])
        entry.update(_point_fields(predicted, index))
        phrases.append(entry)
    result = dict(
        img_path=sample.img_path,
        text=sample.text,
        height=int(height),
        width=int(width),
        phrases=phrases,
    )
    if 'pred_panoptic' in sample:
        segment_map = sample.pred_panoptic.segment_map.cpu().numpy()
        result['segments'] = [
            {**segment, 'mask': encode_masks((segment_map == segment['id'])[None])[0]}
            for segment in sample.pred_panoptic.segments
        ]
    return result


def _point_fields(predicted: InstanceData, index: int) -> dict:
    """What systems that score points predict besides, of one phrase."""
    fields: dict = {}
    points = {
        name.removeprefix('points_'): _floats(own[index])
        for name, own in sorted(predicted.items())
        if name.startswith('points_')
    }
    if points:
        fields['points'] = points
    if 'mask_scores' in predicted and 'bboxes' in predicted:
        fields['mask_score'] = float(predicted.mask_scores[index])
    if 'truncated' in predicted:
        fields['truncated'] = bool(predicted.truncated[index])
    for name, key in (('box', 'bbox'), ('mask', 'mask')):
        if f'{name}_candidates' not in predicted:
            continue
        own = predicted[f'{name}_candidates'][index]
        values = map(_floats, own) if name == 'box' else encode_masks(own.cpu().numpy())
        scores = _floats(predicted[f'{name}_candidate_scores'][index])
        fields[f'{name}_candidates'] = [
            {key: value, 'score': score} for value, score in zip(values, scores, strict=True)
        ]
        fields[f'{name}_choice'] = int(predicted[f'{name}_choice'][index])
    return fields


def _floats(values: torch.Tensor) -> list[float]:
    return [float(value) for value in values]


def _box_around(mask: np.ndarray) -> list[float] | None:
    """xyxy in continuous pixels: pixel i covers [i, i + 1). None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    return [float(value) for value in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


def _test_pipeline(cfg) -> list[dict]:
    """The test pipeline of a config, inside any wrappers of the data set."""
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    while dataset is not None and 'pipeline' not in dataset:
        dataset = dataset['datasets'][0] if 'datasets' in dataset else dataset.get('dataset')
    if dataset is None:
        raise ValueError(
            'the config has no test_dataloader.dataset.pipeline, which says how images are prepared'
        )
    return list(dataset['pipeline'])


def _type_name(transform: dict) -> str:
    """Name of a transform's class, from a class or a name with or without scope."""
    kind = transform['type']
    return kind.split('.')[-1] if isinstance(kind, str) else kind.__name__


def _check_input(image: str | Path | np.ndarray) -> str | np.ndarray:
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ValueError(
                f'an image array must be BGR, (H, W, 3) uint8, got {image.dtype} '
                f'{tuple(image.shape)}'
            )
        return image
    if not isinstance(image, str | Path):
        raise TypeError(f'an image must be a file or an array, got {type(image).__name__}')
    if not osp.isfile(image):
        raise FileNotFoundError(f'image {image} does not exist')
    return str(image)


def _no_use_for_proposals(name: str) -> str:
    return (
        f'proposals are given, but the model ({name}) does not choose among any (its test pipeline '
        'has no LoadProposals): leave them out'
    )


def _is_one_graph(relations) -> bool:
    """Whether ``relations`` holds for every text: none, ``'parse'``, or pairs of indices."""
    if relations is None or (isinstance(relations, str) and relations == 'parse'):
        return True
    if not isinstance(relations, list | tuple):
        raise TypeError(
            "relations must be pairs of indices of phrases, such as [(0, 1)], or 'parse', got "
            f'{relations!r}'
        )
    return all(
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(index, int) and not isinstance(index, bool) for index in pair)
        for pair in relations
    )


def _refuse_unread_phrases(samples: list[GroundingDataSample]) -> None:
    """An empty mask would pass for "not in the picture"."""
    for sample in samples:
        dropped = sample.pred_phrases.get('dropped')
        if dropped is not None and dropped.any():
            phrase = sample.phrases[int(dropped.nonzero()[0])]['text']
            raise ValueError(
                f'the text encoder reads no piece of the phrase {phrase!r} in {sample.text!r}: '
                'shorten the text, raise model.text_encoder.max_length, or leave the phrase out '
                'if all its characters are invisible'
            )


def _note_points_only(samples: list[GroundingDataSample]) -> None:
    """Nobody should look for a box or a mask that no part of the model makes."""
    predicted = samples[0].pred_phrases
    if 'masks' not in predicted and 'bboxes' not in predicted:
        warnings.warn(
            'the model has no localisers: it finds the best point for each expression, but no '
            'box and no mask. Use a config with model.localisers, and a checkpoint with their '
            'weights',
            stacklevel=3,
        )


def _is_folder(inputs) -> bool:
    return isinstance(inputs, str | Path) and osp.isdir(inputs)


def _is_one_list(phrases) -> bool:
    """Whether ``phrases`` holds for every text: no list, or one of strings."""
    if isinstance(phrases, str):
        raise TypeError(f'phrases must be a list of strings, got the string {phrases!r}')
    return phrases is None or all(isinstance(phrase, str) for phrase in phrases)


def _texts_with_phrases(texts, phrases) -> Iterator[tuple[str, Sequence[str] | None]]:
    """Pair the texts of one image with their lists of phrases."""
    if isinstance(texts, str):
        texts = [texts]
        phrases = phrases if _is_one_list(phrases) else [phrases]
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise TypeError(
            f'the texts of an image must be a string or a list of strings, got {texts!r}'
        )
    if not texts:
        raise ValueError('the list of texts of an image is empty')
    if _is_one_list(phrases):
        phrases = [phrases] * len(texts)
    if len(phrases) != len(texts):
        raise ValueError(
            f'{len(phrases)} phrase lists are given for the {len(texts)} texts {texts}'
        )
    for listed in phrases:
        if not _is_one_list(listed):
            raise TypeError(f'the phrases of a text must be a list of strings, got {listed!r}')
    return zip(texts, phrases, strict=True)


def _by_image(records: Sequence[dict]) -> Iterator[list[dict]]:
    """Runs of records that are about the same image."""
    return (list(own) for _, own in groupby(records, key=lambda record: record['img_id']))


def _unused_name(stem: str, names: set[str]) -> str:
    name, repeats = stem, 0
    while name in names:
        repeats += 1
        name = f'{stem}_{repeats}'
    names.add(name)
    return name


def _write_json(content: dict, path: str) -> None:
    os.makedirs(osp.dirname(path), exist_ok=True)
    mmengine.dump(content, path, indent=2, ensure_ascii=False)


def _one_for_each(values, count: int, what: str, for_all: bool) -> list:
    if for_all:
        return [values] * count
    if not isinstance(values, list | tuple):
        raise TypeError(f'{what} must be a list or a tuple, got {type(values).__name__}')
    if len(values) != count:
        raise ValueError(
            f'{len(values)} {what} are given for {count} image(s): give one for all, or as many '
            'as there are images; several texts about one image in a list are a list themselves'
        )
    return list(values)
