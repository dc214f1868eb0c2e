"""The model: its file, and scoring in plain numpy as the reference of the compiled kernel.

Theory of operation. A message is a bag of gram hashes (`reading`). One table per language turns each hash into seven
small numbers, the *lanes*; summed over the message they are exact integers, so no order of summation matters:

    slot = table[hash >> shift]           uint64: byte 7 tag, bytes 0..6 lanes, uint8 biased by `LANE_BIAS`
    tag  = (hash >> (shift - 8)) & 0xFF   a slot with another tag means "never seen": the gram adds nothing

An empty slot holds tag 0 and neutral lanes (`EMPTY_SLOT`): a gram that meets it by its tag adds only to the count of
matched grams. Lane 0 is a linear model's log-odds; lanes 1..6 are a small embedding. The *head*, in float32 and in
written order, makes from the lane sums and from six proportions (`head_inputs`) one spam logit and five category
logits.

A message whose logit lies between `doubt_low` and `doubt_high` is looked at again by a *forest* of decision trees
over the counts of a few thousand grams and of a thousand characters as they were sent (code points, before anything is
normalised: 'ａ' is not 'a', a traditional letter is not its simplified one); its logit, clipped to that interval,
replaces the first. A piecewise linear, rising table turns the logit into the score: the share of messages with that
logit that are unwanted, on development data.

The two verdict thresholds are scores. Nothing here knows about evasion: a message is not worse for being oddly
written. The file is a zip of plain arrays (`numpy.savez`), never a pickle. `version` is the hash of all that a score
depends on.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from mingbai.engines.screening import alphabet, reading
from mingbai.engines.screening.grams import gram_rows
from mingbai.kernel.errors import BadValue, MingbaiError
from mingbai.kernel.verdicts import Category

F32 = npt.NDArray[np.float32]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]

FORMAT: Final = 2
LANES: Final = 7
LANE_BIAS: Final = 128
EMPTY_SLOT: Final = np.uint64(0x0080_8080_8080_8080)
PROPORTIONS: Final = 6
INPUTS: Final = LANES + PROPORTIONS
HIDDEN: Final = 24  # hidden units; fixed, so that the compiled loops are unrolled
OUTPUTS: Final = 1 + len(Category)  # the spam logit, then one logit a category in the order of `Category`
NO_FEATURE: Final = 0xFFFF
SHIPPED: Final = "model.npz"

LANGUAGES: Final = ("chinese", "english")


class ModelMismatch(MingbaiError):
    """The model was trained for another reading of text, or the file is of another format: train it again."""

    code = "model_mismatch"
    template = "model {path}: {field} is {value}, this program has {expected}; train the model again"


class LanguageModel(NamedTuple):
    """One language's arrays, as the compiled kernel takes them (numba reads named tuples).

    table            uint64[2**bits]    lanes by gram hash; `shift` = 64 - bits
    lane_scale       float32[7]         lane sum -> head input, before division by sqrt(1 + matched grams)
    hidden_weights   float32[13, H]     head inputs -> hidden units (ReLU); row = input
    hidden_bias      float32[H]
    output_weights   float32[H, 6]      hidden units -> spam logit, category logits; row = hidden unit
    output_bias      float32[6]
    skip             float32[6]         head input 0 (the linear model) -> outputs
    doubt_low, doubt_high               logits; the forest decides strictly between them (low >= high: never)
    forest_keys      uint32[2**k]       by the top k bits of a gram hash: (bits 24..39 of the hash) << 16 | feature;
                                        feature NO_FEATURE: none
    forest_points    uint16[65536]      by code point of the original text: feature, or NO_FEATURE; code points beyond
                                        the array (beyond the BMP; all, when it is empty) are not counted
    forest_counts    int64              features that are counts: of grams first, then of code points
    forest_roots     int32[T]           first node of each tree
    forest_feature   int16[N]           feature compared at a node: a count, or `forest_counts` + i: head input i, or
                                        `forest_counts` + 13: the first logit
    forest_threshold float32[N]         value <= threshold goes left
    forest_child     int32[N, 2]        left, right: a node, or ~leaf (negative)
    forest_leaf      float32[L]         summed in the order of the trees, starting from `forest_bias`
    The same forest by feature (`forest.with_masks`), for the kernel:
    forest_ends      int32[F + 1]       feature f has the comparisons forest_ends[f] .. forest_ends[f + 1], cuts rising
    forest_cut       float32[N]         a value above it ...
    forest_tree      uint16[N]          ... takes from this tree's leaves ...
    forest_mask      uint32[N]          ... those whose bit is 0 (the left branch); a tree has at most 32 leaves
    forest_start     uint32[T]          leaves that can be reached when nothing is counted
    forest_first     int32[T]           first leaf of each tree
    calibration_logit, calibration_score  float32[K], both rising: the score table, constant outside
    flag_at, block_at                   scores: a message at or above is flagged, blocked
    """

    table: U64
    shift: np.uint64
    lane_scale: F32
    hidden_weights: F32
    hidden_bias: F32
    output_weights: F32
    output_bias: F32
    skip: F32
    doubt_low: np.float32
    doubt_high: np.float32
    forest_keys: U32
    forest_shift: np.uint64
    forest_points: U16
    forest_counts: np.int64
    forest_bias: np.float32
    forest_roots: I32
    forest_feature: I16
    forest_threshold: F32
    forest_child: I32
    forest_leaf: F32
    forest_ends: I32
    forest_cut: F32
    forest_tree: U16
    forest_mask: U32
    forest_start: U32
    forest_first: I32
    calibration_logit: F32
    calibration_score: F32
    flag_at: np.float32
    block_at: np.float32


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model says of one text. category_logits: one a `Category`; second_look: the forest decided."""

    score: np.float32
    logit: np.float32
    category: Category
    category_logits: F32
    second_look: bool


@dataclass(frozen=True, slots=True)
class Model:
    """The two languages, and what they were made from. about: the training's own account, figures only (JSON)."""

    chinese: LanguageModel
    english: LanguageModel
    alphabet_version: str
    reading_version: str
    about: dict[str, object]

    @property
    def version(self) -> str:
        """12 hex digits: two models with the same version give every text the same score."""
        digest = hashlib.sha256(f"{FORMAT} {self.alphabet_version} {self.reading_version}".encode())
        for language in (self.chinese, self.english):
            for value in language:
                array = np.ascontiguousarray(value)
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(array.tobytes())
        return digest.hexdigest()[:12]

    def save(self, path: Path) -> None:
        """Write the file."""
        path.write_bytes(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The file, the same bytes for the same model (numpy stores no clock)."""
        head = {
            "format": FORMAT,
            "alphabet": self.alphabet_version,
            "reading": self.reading_version,
            "about": self.about,
        }
        arrays: dict[str, npt.NDArray[np.generic]] = {
            "head": np.frombuffer(json.dumps(head, sort_keys=True, ensure_ascii=False).encode(), np.uint8)
        }
        for name, language in zip(LANGUAGES, (self.chinese, self.english), strict=True):
            for field, value in language._asdict().items():
                arrays[f"{name}.{field}"] = np.asarray(value)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        return buffer.getvalue()

    @classmethod
    def load(cls, path: Path | None = None) -> Model:
        """Read a model file; None reads the shipped one. Raises BadValue (no model file) or ModelMismatch."""
        name = str(path) if path is not None else SHIPPED
        if path is None:
            content = (files(__package__) / "data" / SHIPPED).read_bytes()
        else:
            content = path.read_bytes()
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            head = json.loads(arrays.pop("head").tobytes())
        except (ValueError, OSError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise BadValue(field="model", value=name, expected="a model file written by `mingbai train`") from error
        for field, value, expected in (
            ("format", head["format"], FORMAT),
            ("alphabet version", head["alphabet"], alphabet.version()),
            ("reading version", head["reading"], reading_version()),
        ):
            if value != expected:
                raise ModelMismatch(path=name, field=field, value=value, expected=expected)
        languages = [_language(arrays, language, name) for language in LANGUAGES]
        return cls(languages[0], languages[1], head["alphabet"], head["reading"], head["about"])

    def language_of(self, is_chinese: bool) -> LanguageModel:
        return self.chinese if is_chinese else self.english

    def reference_score(self, text: str) -> Scored:
        """Score one text by the rules above, one gram at a time: slow, plain; the kernel must agree bit for bit."""
        grams, counts = read(text)
        model = self.language_of(bool(counts[0]))
        inputs, logits = _head(model, grams, counts)
        logit = logits[0]
        second_look = bool(model.doubt_low < logit < model.doubt_high)
        if second_look:
            logit = min(max(_forest(model, text, grams, inputs, logit), model.doubt_low), model.doubt_high)
        category = Category(int(np.argmax(logits[1:])))
        return Scored(calibrated(model, logit), logit, category, logits[1:], second_look)


def _language(arrays: dict[str, npt.NDArray[np.generic]], language: str, path: str) -> LanguageModel:
    values: list[object] = []
    for field in LanguageModel._fields:
        array = arrays.get(f"{language}.{field}")
        if array is None:
            raise BadValue(
                field=f"model {path}", value=f"no array {language}.{field}", expected="all arrays of LanguageModel"
            )
        values.append(array if array.ndim else array[()])
    return LanguageModel._make(values)


def read(text: str) -> tuple[U64, I32]:
    """Gram hashes of one text, and its counts (see `grams.gram_rows`)."""
    _, grams, counts = read_column(pa.array([text], pa.string()))
    return grams, counts[0]


def read_column(texts: pa.Array) -> tuple[I64, U64, I32]:
    """`grams.gram_rows` over an Arrow string column without nulls: row pointers, gram hashes, counts per row."""
    return gram_rows(*text_bytes(texts), reading.tables())


def text_bytes(texts: pa.Array) -> tuple[U8, I32]:
    """UTF-8 of a string column without nulls, and where its rows end: row r is bytes ends[r]..ends[r + 1]."""
    texts = texts.cast(pa.string())
    if texts.offset:
        texts = pa.concat_arrays([texts])
    _, offsets, data = texts.buffers()
    content = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return content, ends


@cache
def reading_version() -> str:
    """Hash of how a fixed text is read, 12 hex digits: changes when `reading` makes other grams of it."""
    probe = (
        "【某某银行】您尾号1234的账户9月1日转入1,000.00元，回T退订。"
        "加微信abc讠正 www.example.com/a?b=1 一三八零零一三八零零零",
        "Hi mum! Your parcel 400-800-8888 is held, pay £1.99 at http://example.com/x now. l3380O13800 fr33 95588",
    )
    digest = hashlib.sha256()
    for text in probe:
        grams, counts = read(text)
        digest.update(grams.tobytes())
        digest.update(counts.tobytes())
    return digest.hexdigest()[:12]


def proportions(chinese_letters: int, latin_letters: int, letters: int, marks: int, grams: int, matched: int) -> F32:
    """The six head inputs beside the lanes, each in 0..about 1; every operation is correctly rounded in float32."""
    one = np.float32(1.0)
    n = np.float32(letters)
    return np.array(
        [
            np.sqrt(np.float32(min(letters, 1024))) / np.float32(32.0),
            np.float32(marks) / (n + one),
            np.float32(chinese_letters) / (n + one),
            np.float32(latin_letters) / (n + one),
            np.float32(matched) / np.float32(grams + 1),
            one / np.sqrt(n + one),
        ],
        np.float32,
    )


def _head(model: LanguageModel, grams: U64, counts: I32) -> tuple[F32, F32]:
    """Head inputs and the six logits."""
    lanes = [0] * LANES
    matched = 0
    for gram in grams.tolist():
        slot = int(model.table[gram >> int(model.shift)])
        if slot >> 56 != (gram >> (int(model.shift) - 8)) & 0xFF:
            continue
        matched += 1
        for lane in range(LANES):
            lanes[lane] += ((slot >> (8 * lane)) & 0xFF) - LANE_BIAS
    shrink = np.float32(1.0) / np.sqrt(np.float32(matched + 1))
    inputs = np.empty(INPUTS, np.float32)
    for lane in range(LANES):
        inputs[lane] = np.float32(lanes[lane]) * model.lane_scale[lane] * shrink
    inputs[LANES:] = proportions(int(counts[4]), int(counts[5]), int(counts[1]), int(counts[2]), grams.size, matched)
    hidden = model.hidden_bias.copy()
    for i in range(INPUTS):
        hidden += inputs[i] * model.hidden_weights[i]
    hidden = np.maximum(hidden, np.float32(0.0))
    logits = model.output_bias + model.skip * inputs[0]
    for j in range(hidden.size):
        logits += hidden[j] * model.output_weights[j]
    return inputs, logits.astype(np.float32)


def _forest(model: LanguageModel, text: str, grams: U64, inputs: F32, logit: np.float32) -> np.float32:
    features = np.zeros(int(model.forest_counts) + INPUTS + 1, np.float32)
    for gram in grams.tolist():
        key = int(model.forest_keys[gram >> int(model.forest_shift)])
        if key & 0xFFFF != NO_FEATURE and key >> 16 == (gram >> 24) & 0xFFFF:
            features[key & 0xFFFF] += 1
    for point in map(ord, text):
        if point < model.forest_points.size and model.forest_points[point] != NO_FEATURE:
            features[model.forest_points[point]] += 1
    features[int(model.forest_counts) : -1] = inputs
    features[-1] = logit
    total = model.forest_bias
    for root in model.forest_roots.tolist():
        node = root
        while node >= 0:
            goes_right = features[model.forest_feature[node]] > model.forest_threshold[node]
            node = int(model.forest_child[node, int(goes_right)])
        total = np.float32(total + model.forest_leaf[~node])
    return np.float32(total)


def calibrated(model: LanguageModel, logit: np.float32) -> np.float32:
    """The score of a logit: linear between the knots of the table, constant outside."""
    x, y = model.calibration_logit, model.calibration_score
    if logit <= x[0]:
        return np.float32(y[0])
    for k in range(1, x.size):
        if logit <= x[k]:
            slope = np.float32((y[k] - y[k - 1]) / (x[k] - x[k - 1]))
            return np.float32(y[k - 1] + np.float32(np.float32(logit - x[k - 1]) * slope))
    return np.float32(y[-1])
