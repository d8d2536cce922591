"""CLIP's text tower and tokenizer in the form of a bundle: for ONNX, and as tokenizer.json.

The tower of open_clip always takes 77 tokens. This one takes as many as the longest text of a batch
has, with the same result. Its vectors are not normalised, since VIP-ANT's zero-shot scores depend
on their norms.
"""

from __future__ import annotations

from typing import Any

import tokenizers
import torch
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from torch import Tensor, nn

from soundsearch.errors import SoundsearchError

START, END = "<start_of_text>", "<end_of_text>"
#: How CLIP splits a text before merging byte pairs. Source: open_clip, `tokenizer.py`.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
#: Control characters that ftfy removes, apart from spaces.
CONTROLS = r"[\x00-\x08\x0b\x0e-\x1f\x7f\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"
#: HTML entities that are unescaped; "&amp;" first, since open_clip unescapes twice.
ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&nbsp;": " "} | dict.fromkeys(
    ("&apos;", "&#39;", "&#x27;"), "'"
)


class ClipText(nn.Module):
    """The text tower of an open_clip model, for any number of tokens up to its context.

    Raises SoundsearchError if the model does not pool at the end token.
    """

    mask: Tensor

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        tower: Any = getattr(model, "text", model)  # newer models have a module of the text tower
        pool = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
        mask = getattr(tower, "attn_mask", None)
        if pool != "argmax" or mask is None or tower.text_projection is None:
            raise SoundsearchError(
                f"{type(model).__name__}: a text tower that pools by {pool!r} cannot be exported, "
                "expected CLIP's own kind (causal, read at the end of the text)"
            )
        self.tokens, self.positions = tower.token_embedding, tower.positional_embedding
        self.transformer, self.norm = tower.transformer, tower.ln_final
        self.projection = tower.text_projection
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, input_ids: Tensor) -> Tensor:
        """(n, n_tokens) int64 -> (n, dim), not normalised.

        The vector is read at the largest id, the end token, so padding after it has no effect.
        """
        n, n_tokens = input_ids.shape
        x = self.tokens(input_ids) + self.positions[:n_tokens]  # (n, n_tokens, width)
        x = self.norm(self.transformer(x, attn_mask=self.mask[:n_tokens, :n_tokens]))
        ends = x[torch.arange(n), input_ids.argmax(dim=-1)]  # (n, width)
        vectors: Tensor = (
            self.projection(ends)
            if isinstance(self.projection, nn.Module)
            else ends @ self.projection
        )
        return vectors


def clip_tokenizer(original: Any) -> tokenizers.Tokenizer:
    """Convert open_clip's byte-pair tokenizer to the `tokenizers` library, with the same ids.

    Differs from ftfy, with which open_clip cleans texts, in three things: text decoded with the
    wrong encoding is not repaired, entities other than ENTITIES are not unescaped, and a Greek final
    sigma becomes an ordinary one.

    Args:
        original: An `open_clip.tokenizer.SimpleTokenizer` that lower-cases.

    Raises:
        SoundsearchError: It is any other tokenizer.
    """
    import ftfy.chardata
    from open_clip import tokenizer as of_clip

    if (
        not isinstance(original, of_clip.SimpleTokenizer)
        or original.clean_fn is not of_clip.get_clean_fn("lower")
        or original.reduction_fn is not None
    ):
        raise SoundsearchError(
            f"{type(original).__name__}: only CLIP's own tokenizer, lower-casing, can be exported"
        )
    tokenizer = tokenizers.Tokenizer(
        models.BPE(
            vocab=original.encoder,
            merges=list(original.bpe_ranks),
            end_of_word_suffix="</w>",
        )
    )
    letters = ftfy.chardata.LIGATURES | ftfy.chardata.WIDTH_MAP  # "ﬁ" to "fi", "Ａ" to "A"
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(entity, text) for entity, text in ENTITIES.items()),
            *(normalizers.Replace(chr(code), text) for code, text in letters.items()),
            normalizers.Replace(Regex("[\u02bc\u2018-\u201b]"), "'"),
            normalizers.Replace(Regex("[\u201c-\u201f]"), '"'),
            normalizers.Replace(Regex(CONTROLS), ""),
            normalizers.NFC(),
            normalizers.Lowercase(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    ids = [(token, original.encoder[token]) for token in (START, END)]
    tokenizer.add_special_tokens([AddedToken(token, normalized=True) for token, _ in ids])
    # A long text is truncated before its end token.
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=ids
    )
    tokenizer.enable_truncation(original.context_length)
    tokenizer.enable_padding(pad_id=0, pad_token="!")
    return tokenizer
