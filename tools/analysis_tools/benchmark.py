r"""Time and memory of a config's model on generated inputs: no data, no weights.

Parts that can be measured:

- ``head``: what follows the frozen encoders (trained encoders and necks, head), on their features,
  to the losses; and ``head-train``, the same with its backward pass. Of PBREC, which trains both
  encoders, that is all of its comprehension stage; with model.frozen=[backbone,text_encoder]
  it is the head alone;
- ``inference``: images and texts to masks and boxes on the original pixels, from the uint8 image
  on; with the model's localisers;
- ``train``: a step of the training, with the config's optimizer; and ``train-start``, of a system
  that moves boxes later in the training, a step before;
- ``metric``: the config's evaluator on generated predictions.

Each measurement is made in a process of its own. Beside its time stand the floating point
operations of its matrix products and convolutions, and the time that they would take at the rate
of a large convolution on this device, measured in the same run. Examples::

    python tools/analysis_tools/benchmark.py configs/ppmn/ppmn_r101-fpn_4xb12-14e_png.py
    python tools/analysis_tools/benchmark.py CONFIG --parts head --phrases 5 32 --dtypes fp32 bf16
    python tools/analysis_tools/benchmark.py CONFIG --parts metric --samples 8533

For systems of referring expressions ``--phrases`` are expressions of one image, which is encoded
once. The input is the canvas of the config's letterbox, and every expression has as many words as
the text encoder reads::

    python tools/analysis_tools/benchmark.py configs/pbrec/pbrec-mt_r101_4xb32-15e_refcoco.py \
        --parts inference --phrases 1 5 10

Systems that choose among proposals get 50 of each image. All steps have the same batch, so that
with a cache of its regions what is measured is what the cache leaves to do::

    python tools/analysis_tools/benchmark.py configs/reir/reir_r101_4xb10-80k_flickr30k.py \
        --parts train-start train --size 608 992 --phrases 4 --batch-size 10 \
        --cfg-options model.region_cache.path=cache model.region_cache.keep_maps=True
"""

import argparse
import inspect
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.optim import build_optim_wrapper
from mmengine.runner import set_random_seed
from mmengine.structures import InstanceData
from terminaltables import AsciiTable
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmground.datasets.word_vectors import WordVectors
from mmground.engine.hooks import checkpoint_activations
from mmground.registry import MODELS
from mmground.structures import Geometry, GroundingDataSample
from mmground.utils import register_all_modules
from mmground.utils.cli import add_cfg_options, check_device, check_file
from mmground.utils.config_options import merge_options
from mmground.utils.measure import call_in_process, peak_memory_mb, reset_peak_memory

_DTYPES = dict(fp32=None, bf16=torch.bfloat16, fp16=torch.float16)
# Network input over original image: a photo of 500 x 760 pixels becomes 800 x 1216.
_ENLARGEMENT = 1.6
# Words of the generated texts, a piece each.
_WORDS = ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j')
# Of an image, for systems that choose among them.
_NUM_PROPOSALS = 50
# As many as ReIR tells apart.
_NUM_RELATIONS = 88
_HEADER = ('part', 'phrases', 'dtype', 'median s', 'fastest s', 'GFLOP', 'limit s', 'before MB')


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('--parts', nargs='+', choices=PARTS, default=list(PARTS)[:4])
    parser.add_argument(
        '--size',
        nargs=2,
        type=int,
        metavar=('HEIGHT', 'WIDTH'),
        help='network input in pixels, multiples of 32; by default the canvas of the letterbox in '
        "the config's test pipeline, or without one 800 1216",
    )
    parser.add_argument(
        '--phrases',
        nargs='+',
        type=int,
        default=[8, 32],
        help='phrases of each image, each number in turn (8 32); of systems of referring '
        'expressions, expressions of each image',
    )
    parser.add_argument(
        '--words',
        type=int,
        help='words of each phrase, of a word piece each; by default 2, and in referring '
        'expressions as many as the text encoder reads',
    )
    parser.add_argument('--batch-size', type=int, default=1, help='images (%(default)s)')
    parser.add_argument('--dtypes', nargs='+', choices=_DTYPES, default=['fp32'], help='(fp32)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, help="CPU threads; by default PyTorch's choice")
    parser.add_argument(
        '--compile', action='store_true', help='torch.compile the image encoders and the head'
    )
    parser.add_argument(
        '--checkpoint-activations',
        nargs='+',
        metavar='PART',
        default=(),
        help='parts of the model that run once more in the backward pass, as with '
        "ActivationCheckpointHook, such as head.stages (parts 'head-train' and 'train')",
    )
    parser.add_argument('--warmup', type=int, default=2, help='runs not timed (%(default)s)')
    parser.add_argument('--repeats', type=int, default=5, help='runs timed (%(default)s)')
    parser.add_argument('--samples', type=int, default=200, help='of the metric (%(default)s)')
    parser.add_argument('--profile', action='store_true', help='also print the slowest operators')
    parser.add_argument('--out', metavar='FILE.json', help='also write the results to this file')
    add_cfg_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> list[dict]:
    """Measure and print a table.

    Args:
        argv: The command line without the name of the program. Defaults to the
            one of this process.

    Returns:
        A dict per measurement: ``part``, ``phrases``, ``dtype``, ``seconds`` (the median of the
        repeats), ``fastest``, ``gflop``, ``limit_seconds`` (both None for the metric),
        ``peak_mb`` and ``before_mb``: on the CPU the peak memory of the process while it was
        measured, and what of it was there before (outside Linux: the peak until then); on a GPU
        the same of what PyTorch allocated.

    Raises:
        SystemExit: If the config does not exist or the command line is wrong; status 2.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    check_device(parser, args.device)
    check_file(parser, args.config, 'config file')
    if args.size is None:
        args.size = _input_size(args)
    if any(side % 32 for side in args.size):
        parser.error(f'--size must be multiples of 32, got {args.size[0]} {args.size[1]}')
    rates = {
        dtype: call_in_process(convolution_rate, args.device, dtype, args.threads)
        for dtype in args.dtypes
    }
    results = []
    for part in args.parts:
        # The metric computes in float32 whatever the model does.
        for dtype in args.dtypes if part != 'metric' else ['fp32']:
            for phrases in args.phrases:
                result = call_in_process(measure, args, part, phrases, dtype)
                if result['gflop'] is not None:
                    result['limit_seconds'] = result['gflop'] / rates[dtype]
                results.append(result)
                print(' | '.join(_row(result)), flush=True)
    print(f'\n{args.config}, {args.batch_size} x {args.size[0]} x {args.size[1]} on {args.device}')
    for dtype, rate in rates.items():
        print(f'a 3x3 convolution of 256 channels runs at {rate / 1e3:.2f} TFLOP/s in {dtype}')
    print(AsciiTable([[*_HEADER, 'peak MB'], *map(_row, results)]).table)
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=2))
    return results


def _row(result: dict) -> list[str]:
    forms = dict(seconds='.3f', fastest='.3f', gflop='.0f', limit_seconds='.3f')
    forms.update(before_mb='.0f', peak_mb='.0f')
    row = [result['part'], str(result['phrases']), result['dtype']]
    return row + ['' if result[k] is None else format(result[k], f) for k, f in forms.items()]


def convolution_rate(device: str, dtype: str, threads: int | None) -> float:
    """What a large convolution reaches: 3x3, 256 to 256 channels, 100 x 152 cells.

    Args:
        device: Name of the device.
        dtype: ``'fp32'``, ``'bf16'`` or ``'fp16'``.
        threads: CPU threads; None is PyTorch's choice.

    Returns:
        GFLOP/s, the best of ten runs, without gradients.
    """
    if threads:
        torch.set_num_threads(threads)
    place = dict(device=device, dtype=_DTYPES[dtype], memory_format=torch.channels_last)
    conv = nn.Conv2d(256, 256, 3, padding=1).to(**place)
    image = torch.rand(1, 256, 100, 152).to(**place)
    with torch.no_grad():
        times = time_calls(lambda: conv(image), device, warmup=3, repeats=10)
    return 2 * 256 * 256 * 9 * 100 * 152 / min(times) / 1e9


def time_calls(function: Callable, device: str, warmup: int, repeats: int) -> list[float]:
    """Seconds of each of ``repeats`` calls, after ``warmup`` that are not timed."""
    wait = torch.cuda.synchronize if device.startswith('cuda') else (lambda: None)
    times = []
    for index in range(warmup + repeats):
        wait()
        start = time.perf_counter()
        function()
        wait()
        if index >= warmup:
            times.append(time.perf_counter() - start)
    return times


def measure(args: argparse.Namespace, part: str, phrases: int, dtype: str) -> dict:
    """Measure a part in this process.

    Args:
        args: The parsed command line.
        part: What to measure, a key of :data:`PARTS`.
        phrases: Phrases of each image.
        dtype: ``'fp32'``, or ``'bf16'`` or ``'fp16'`` for autocast.

    Returns:
        See :func:`main`; ``limit_seconds`` is None.
    """
    if args.threads:
        torch.set_num_threads(args.threads)
    register_all_modules()
    set_random_seed(0)
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        merge_options(cfg, args.cfg_options)
    run = PARTS[part](cfg, args, phrases)
    autocast = nullcontext()
    if part != 'metric' and dtype != 'fp32':
        autocast = torch.autocast(torch.device(args.device).type, _DTYPES[dtype])

    if args.device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats()
    else:
        reset_peak_memory()
    before = _memory_mb(args.device)
    with autocast:
        times = time_calls(run, args.device, args.warmup, args.repeats)
        peak = _memory_mb(args.device)
        gflop = None
        if part != 'metric':
            with FlopCounterMode(display=False) as counter:
                run()
            gflop = counter.get_total_flops() / 1e9
        if args.profile:
            _print_profile(run)
    return dict(
        part=part,
        phrases=phrases,
        dtype=dtype,
        seconds=statistics.median(times),
        fastest=min(times),
        gflop=gflop,
        limit_seconds=None,
        before_mb=before,
        peak_mb=peak,
    )


def _memory_mb(device: str) -> float:
    """Peak memory so far."""
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 1e6
    return peak_memory_mb()


def _print_profile(run: Callable) -> None:
    with torch.profiler.profile() as profile:
        run()
    print(profile.key_averages().table(sort_by='self_cpu_time_total', row_limit=20))


def random_batch(
    size: tuple[int, int],
    num_phrases: int,
    batch_size: int,
    num_words: int = 2,
    referring: bool = False,
    predictions: bool = False,
    num_proposals: int = 0,
) -> dict:
    """Generated photos and texts, as a data loader gives them.

    Args:
        size: Network input (height, width) in pixels.
        num_phrases: Phrases of each image.
        batch_size: Images.
        num_words: Words of each phrase.
        referring: Whether each phrase is a text of its own, a referring expression, and the photos
            are letterboxed: three quarters as high as the input, which they fill in width.
            Otherwise an image has one text of all its phrases, and fills the input.
        predictions: Whether the samples have predictions, too.
        num_proposals: Proposals of each image; 0 is none.

    Returns:
        ``inputs``, uint8 images (3, height, width), one for each of ``data_samples``, which have
        a rectangle as the region of each phrase.
    """
    images, samples = [], []
    for index in range(batch_size):
        phrases = [
            ' '.join(_WORDS[(number + 3 * shift) % len(_WORDS)] for shift in range(num_words))
            for number in range(num_phrases)
        ]
        texts = [[phrase] for phrase in phrases] if referring else [phrases]
        geometry = _photo_geometry(size, referring)
        image = torch.randint(256, (3, *geometry.img_shape), dtype=torch.uint8)
        for number, own in enumerate(texts):
            sample = _random_sample(own, f'{index}-{number}', str(index), geometry)
            if predictions:
                _add_predictions(sample, size)
            if num_proposals:
                _add_proposals(sample, num_proposals)
            images.append(image)
            samples.append(sample)
    return dict(inputs=images, data_samples=samples)


def _photo_geometry(size: tuple[int, int], letterboxed: bool) -> Geometry:
    """How a photo lies on the network input: enlarged to fill it, or letterboxed."""
    if not letterboxed:
        return Geometry(tuple(round(side / _ENLARGEMENT) for side in size), tuple(size))
    height, width = size[0] * 3 // 4, size[1]
    return Geometry(
        (height, width),
        (height, width),
        offset=((size[0] - height) // 2, 0),
        canvas_shape=tuple(size),
        ratio=1.0,
    )


def _random_sample(
    phrases: Sequence[str], sample_id: str, img_id: str, geometry: Geometry
) -> GroundingDataSample:
    """A text of phrases, each about a rectangle."""
    text, records = '', []
    for phrase in phrases:
        text += ', ' if text else ''
        span = (len(text), len(text) + len(phrase))
        records.append(dict(text=phrase, span=span, type='', phrase_id=str(len(records))))
        text += phrase
    sample = GroundingDataSample(
        metainfo=dict(
            sample_id=sample_id,
            img_id=img_id,
            img_path=f'{img_id}.jpg',
            text=text,
            phrases=records,
            ori_shape=geometry.ori_shape,
            img_shape=geometry.img_shape,
            geometry=geometry,
        )
    )
    count = len(phrases)
    masks = random_rectangles(count, geometry.ori_shape)
    sample.gt_regions = InstanceData(
        masks=masks, bboxes=masks_to_boxes(masks), is_thing=torch.arange(count) % 2 == 0
    )
    sample.links = torch.arange(count)[:, None].repeat(1, 2)
    return sample


def _add_predictions(sample: GroundingDataSample, size: tuple[int, int]) -> None:
    count = len(sample.phrases)
    sample.set_metainfo(dict(geometry=sample.geometry.on_canvas(size)))
    masks = random_rectangles(count, sample.ori_shape)
    sample.pred_phrases = InstanceData(
        masks=masks,
        bboxes=masks_to_boxes(masks),
        grid_probs=torch.rand(count, size[0] // 4, size[1] // 4),
    )


def _add_proposals(sample: GroundingDataSample, count: int) -> None:
    height, width = sample.ori_shape
    corners = torch.rand(count, 2, 2).sort(1).values * torch.tensor([width, height])
    # Wide enough for a cell of the map.
    sample.proposals = InstanceData(
        bboxes=torch.cat((corners[:, 0] / 2, (width + height) / 8 + corners[:, 1] / 2), dim=1),
        labels=torch.randint(len(_WORDS), (count,)),
        scores=torch.linspace(1, 0, count),
    )


def masks_to_boxes(masks: Tensor) -> Tensor:
    """Boxes around masks that are not empty. (count, height, width) -> (count, 4), xyxy."""
    boxes = []
    for mask in masks:
        rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return torch.tensor(boxes, dtype=torch.float32)


def random_rectangles(count: int, shape: tuple[int, int]) -> Tensor:
    """Masks of half the height and width of an image. Bool, (count, height, width)."""
    masks = torch.zeros(count, *shape, dtype=torch.bool)
    for mask in masks:
        top, left = (int(torch.randint(side // 2, ())) for side in shape)
        mask[top : top + shape[0] // 2, left : left + shape[1] // 2] = True
    return masks


def _is_referring(cfg: Config) -> bool:
    """Whether the whole text is the phrase, by the class of the config's head."""
    head = MODELS.get(cfg.model.head.type)
    return getattr(head, 'grounds_whole_text', False)


def _chooses_proposals(cfg: Config) -> bool:
    """Whether boxes are described that come with the samples."""
    return bool(cfg.model.get('region_encoder'))


def _input_size(args: argparse.Namespace) -> tuple[int, int]:
    """The network input of a config that ``--size`` does not give."""
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        merge_options(cfg, args.cfg_options)
    pipeline = cfg.get('test_dataloader', {}).get('dataset', {}).get('pipeline', ())
    for transform in pipeline:
        if transform['type'] == 'Letterbox':
            return transform['size'], transform['size']
    return 800, 1216


def _batch(cfg: Config, args: argparse.Namespace, phrases: int, **kwargs) -> dict:
    """A generated batch for a config's model."""
    referring, words = _is_referring(cfg), args.words
    if words is None:
        words = _longest_text(cfg) if referring else 2
    kwargs = dict(batch_size=args.batch_size, num_words=words, referring=referring) | kwargs
    if _chooses_proposals(cfg):
        kwargs['num_proposals'] = _NUM_PROPOSALS
    return random_batch(args.size, phrases, **kwargs)


def _longest_text(cfg: Config) -> int:
    """Words that the text encoder reads, if each is one piece."""
    default = _settings_of(cfg.model.text_encoder)['max_length'].default
    # Start and end are pieces, too.
    return cfg.model.text_encoder.get('max_length', default) - 2


def _settings_of(cfg: dict) -> Mapping[str, inspect.Parameter]:
    """What the class of a model's part can be told."""
    return inspect.signature(MODELS.get(cfg['type'])).parameters


def _build(cfg: Config, args: argparse.Namespace, phrases: int) -> tuple[nn.Module, dict]:
    """The model with random weights, and a batch."""
    with TemporaryDirectory() as folder:
        vocab_file = Path(folder) / 'vocab.txt'
        vocab_file.write_text('\n'.join(['[PAD]', '[UNK]', '[CLS]', '[SEP]', ',', *_WORDS]))
        if 'vocab_file' in _settings_of(cfg.model.text_encoder):
            cfg.model.text_encoder.vocab_file = str(vocab_file)
        if _chooses_proposals(cfg):
            model = _build_weak(cfg, vocab_file).to(args.device)
        else:
            model = MODELS.build(cfg.model).to(args.device)
    checkpoint_activations(model, args.checkpoint_activations)
    if args.compile:
        for module in (model.backbone, *model.neck, model.head):
            module.compile()
    return model, _batch(cfg, args, phrases)


def _build_weak(cfg: Config, vocab_file: Path) -> nn.Module:
    """A model that reads whole words, with random vectors of them."""
    words = [*_WORDS, *(f'{word},' for word in _WORDS)]
    vocab_file.write_text('\n'.join(words))
    cfg.model.head.decoder.vocab_file = str(vocab_file)
    # Names and counts of the relations are the data's.
    if isinstance(cfg.model.head.get('num_relations'), str):
        cfg.model.head.num_relations = _NUM_RELATIONS
    (cfg.model.head.get('loss_rel') or {}).pop('class_counts', None)
    model = MODELS.build(cfg.model)
    vectors = np.random.default_rng(0).random((len(words), 300), dtype=np.float32)
    model.head.similarity.use(WordVectors(words, vectors), _WORDS)
    return model


def _head(cfg: Config, args: argparse.Namespace, phrases: int) -> Callable:
    head = _head_losses(cfg, args, phrases)
    return torch.no_grad()(head)


def _head_train(cfg: Config, args: argparse.Namespace, phrases: int) -> Callable:
    head = _head_losses(cfg, args, phrases)
    return lambda: head().backward()


def _head_losses(cfg: Config, args: argparse.Namespace, phrases: int) -> Callable:
    """From the features of the frozen encoders to the sum of the losses."""
    model, batch = _build(cfg, args, phrases)
    model.train()
    data = model.data_preprocessor(batch, training=True)
    samples = data['data_samples']
    names = list(model.image_parts)
    with torch.no_grad():
        encoded = model.encode_text(samples) if 'text_encoder' in model.frozen else None
        feats = data['inputs']
        while names and names[0] in model.frozen:
            feats = model.get_submodule(names.pop(0))(feats)
    trained, head = [model.get_submodule(name) for name in names], model.head
    text_encoder = None if encoded else model.text_encoder
    texts = [sample.text for sample in samples]

    def losses() -> Tensor:
        maps = feats
        for part in trained:
            maps = part(maps)
        text = encoded or text_encoder(texts)
        extra = [partial(model.describe_regions, maps)] if _chooses_proposals(cfg) else []
        losses = head.loss(maps, text, samples, *extra)
        return sum(value for name, value in losses.items() if 'loss' in name)

    # The frozen encoders go out of memory with the model, unless it is to describe regions.
    model = model if _chooses_proposals(cfg) else None
    return losses


def _inference(cfg: Config, args: argparse.Namespace, phrases: int) -> Callable:
    model, batch = _build(cfg, args, phrases)
    model.eval()
    return torch.no_grad()(lambda: model.test_step(batch))


def _train(cfg: Config, args: argparse.Namespace, phrases: int, refining: bool = True) -> Callable:
    model, batch = _build(cfg, args, phrases)
    model.train()
    if hasattr(model.head, 'refining'):
        model.head.refining = refining
    elif not refining:
        raise ValueError(f'train-start: a {type(model.head).__name__} moves no boxes')
    # Precision is the command line's.
    cfg.optim_wrapper.type = 'OptimWrapper'
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    return lambda: model.train_step(batch, optim_wrapper)


def _train_start(cfg: Config, args: argparse.Namespace, phrases: int) -> Callable:
    return _train(cfg, args, phrases, refining=False)


def _metric(cfg: Config, args: argparse.Namespace, phrases: int) -> Callable:
    """The evaluator, on ``--samples`` samples that differ in their names only."""
    evaluator = Evaluator(cfg.test_evaluator)
    batch = _batch(cfg, args, phrases, batch_size=8, predictions=True)

    def evaluate() -> None:
        for start in range(0, args.samples, len(batch['data_samples'])):
            for index, sample in enumerate(batch['data_samples']):
                sample.set_metainfo(dict(sample_id=str(start + index)))
            evaluator.process(batch['data_samples'])
        evaluator.evaluate(args.samples)

    return evaluate


PARTS = {
    'head': _head,
    'head-train': _head_train,
    'inference': _inference,
    'train': _train,
    'metric': _metric,
    'train-start': _train_start,
}


if __name__ == '__main__':
    main()
