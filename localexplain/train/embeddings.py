"""Token embeddings to begin training with: what tokens mean and how they are spelled, before any gradient step.

    texts ──pairs of near tokens──> PPMI ──leading singular vectors──> meaning ┐
    token strings ──character n-grams, case, signs──> hashed ──SVD──> spelling ├──> [vocabulary, width]
                                                                               ┘
A small model that starts from random embeddings spends most of a short training on finding out which tokens are alike;
these start it there. Source of the first half: Levy & Goldberg 2014, word vectors as a factorised PPMI matrix.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import Tensor

REACH = 20  # tokens to each side that count as near: wide windows tell topics (docs/log.md)
SPELLING_SHARE = 0.375  # of the width
HASHED_FEATURES = 4096
LONGEST_NGRAM = 4
CONTEXT_EXPONENT = 0.75  # of the context's frequency, against rare contexts. Source: Levy et al. 2015
EMBEDDING_STD = 0.05


def near_counts(stream: Int64[Tensor, " tokens"], vocabulary: int) -> Float32[Tensor, "vocabulary vocabulary"]:
    """How often each pair of tokens stands within REACH of each other."""
    counts = torch.zeros(vocabulary * vocabulary)
    for distance in range(1, REACH + 1):
        codes = stream[:-distance] * vocabulary + stream[distance:]
        counts += torch.bincount(codes, minlength=vocabulary * vocabulary).float()
    square = counts.view(vocabulary, vocabulary)
    return square + square.T


def leading_vectors(matrix: Float32[Tensor, "rows columns"], width: int, seed: int) -> Float32[Tensor, "rows width"]:
    """The rows in the space of the leading singular vectors, each axis scaled by the square root of its value."""
    torch.manual_seed(seed)
    left, values, _ = torch.svd_lowrank(matrix, q=min(width + 16, *matrix.shape), niter=3)
    found: Tensor = left[:, :width] * values[:width].sqrt()
    return found


def meaning_vectors(
    stream: Int64[Tensor, " tokens"], vocabulary: int, width: int, seed: int
) -> Float32[Tensor, "vocabulary width"]:
    """Leading vectors of the positive pointwise mutual information of near tokens."""
    counts = near_counts(stream, vocabulary)
    rows = counts.sum(1, keepdim=True).clamp(min=1e-9)
    columns = counts.sum(0, keepdim=True).clamp(min=1e-9) ** CONTEXT_EXPONENT
    ppmi = (counts / rows / (columns / columns.sum())).clamp(min=1e-9).log().clamp(min=0.0)
    return leading_vectors(ppmi, width, seed)


def spelling_features(text: str) -> dict[str, float]:
    """Weighted features of a token's text: n-grams of its lower-case form with its borders marked, and its shape."""
    bare = text.strip()
    bordered = f"<{bare.lower()}>"
    found: dict[str, float] = {}
    for size in range(1, LONGEST_NGRAM + 1):
        for start in range(len(bordered) - size + 1):
            ngram = bordered[start : start + size]
            at_border = ngram.startswith("<") or ngram.endswith(">")
            found[ngram] = found.get(ngram, 0.0) + (1.5 if at_border else 0.7)
    shape = {
        "space": text.startswith(" "),
        "capital": bare[:1].isupper(),
        "capitals": len(bare) > 1 and bare.isupper(),
        "letters": bare.isalpha(),
        "digits": bare.isdigit(),
        "sign": bool(bare) and not any(character.isalnum() for character in bare),
        f"length {min(len(bare), 12)}": True,
        f"whole {bare.lower()}": True,
    }
    return found | {f"shape {name}": 2.5 for name, holds in shape.items() if holds}


def spelling_vectors(texts: Sequence[str], width: int, seed: int) -> Float32[Tensor, "vocabulary width"]:
    """Leading vectors of the hashed spelling features, rare features counting more."""
    matrix = np.zeros((len(texts), HASHED_FEATURES), dtype=np.float32)
    for row, text in enumerate(texts):
        for feature, weight in spelling_features(text).items():
            matrix[row, zlib.crc32(feature.encode("utf-8", "backslashreplace")) % HASHED_FEATURES] += weight
    rarity = np.log(len(texts) / (1.0 + (matrix > 0).sum(axis=0)))
    return leading_vectors(torch.from_numpy(matrix * rarity.clip(min=0.1).astype(np.float32)), width, seed)


def unit_rows(vectors: Float32[Tensor, "rows width"]) -> Float32[Tensor, "rows width"]:
    """Centred, each row of length 1 (or 0)."""
    centred = vectors - vectors.mean(0)
    found: Tensor = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return found


def initial_embeddings(
    stream: Int64[np.ndarray, " tokens"], texts: Sequence[str], width: int, seed: int
) -> Float32[Tensor, "vocabulary width"]:
    """Embeddings [vocabulary, width] of standard deviation EMBEDDING_STD from a token stream and the tokens' texts."""
    spelling_width = int(width * SPELLING_SHARE)
    meaning_width = width - spelling_width
    meaning = unit_rows(meaning_vectors(torch.from_numpy(stream), len(texts), meaning_width, seed))
    spelling = unit_rows(spelling_vectors(texts, spelling_width, seed))
    joined = torch.cat([meaning * meaning_width**0.5, spelling * spelling_width**0.5], dim=1)
    noise = torch.randn(joined.shape, generator=torch.Generator().manual_seed(seed)) * 0.1
    found: Tensor = (joined + noise) * EMBEDDING_STD
    return found
