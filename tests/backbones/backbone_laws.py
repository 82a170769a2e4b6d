"""Tests that every backbone passes. A new one inherits them:

class TestMine(BackboneLaws):
    def make(self, seed): return MyBackbone(tiny sizes, random weights of that seed).eval(), images, state
"""

from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.backbones.tiny import mask_by_definition
from torch import Tensor

from inspire_vla.action_tokenizers import ActionVocabulary, UniformBins
from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.hf_decoder import attention_weights
from inspire_vla.decoding import AnswerSet, Grammar, decode
from inspire_vla.dialogue import TokenType, build_dialogue, render
from inspire_vla.errors import InspireError
from inspire_vla.spatial import answer_words

TEXTS = ("put the red cube on the blue plate", "open the top drawer of the cabinet", "close the drawer")
ROWS = len(TEXTS)


class BackboneLaws:
    """Inherit it, name the class Test…, and implement `make`."""

    tolerance = 1e-4
    seeds = 2
    static_cache = True
    """Whether the backbone supports a static cache."""

    def make(self, seed: int) -> tuple[Backbone, Tensor, Tensor | None]:
        """A tiny random backbone in eval mode, images (3, camera, 3, height, width) and states (3, dim) for it."""
        raise NotImplementedError

    @pytest.fixture(params=range(2))
    def given(self, request: pytest.FixtureRequest) -> tuple[Backbone, Tensor, Tensor | None]:
        if request.param >= self.seeds:
            pytest.skip("one seed is enough here")
        return self.make(request.param)

    def sequence(self, backbone: Backbone, row: int) -> tuple[Tensor, Tensor]:
        """The ids (time,) of a demonstration and their token types."""
        dialogue = build_dialogue(TEXTS[row], template=backbone.template)
        dialogue = dialogue.with_answers(["left", "grasped"][: len(dialogue.mentions)])
        rendered = render(dialogue, backbone.text_tokenizer, [5, 6, 7])
        return torch.from_numpy(rendered.ids), torch.from_numpy(rendered.token_types.astype(np.int64))

    def whole(self, backbone: Backbone, prefix: Tensor, ids: Tensor, token_types: Tensor) -> Tensor:
        """Hidden states (time, hidden) of one row in one pass, with `mask_by_definition`."""
        attention_mask = mask_by_definition(len(prefix), token_types.tolist(), backbone.bidirectional_prefix)
        elements = torch.cat([prefix, backbone.embed(ids[None])[0]])
        return backbone.extend(elements[None], attention_mask=attention_mask[None])[0]

    def close(self, actual: Tensor, expected: Tensor) -> None:
        scale = expected.abs().max().clamp(min=1.0)
        torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=self.tolerance)

    def test_sizes_are_as_declared(self, given: tuple) -> None:
        backbone, images, state = given
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)
            ids, token_types = self.sequence(backbone, 0)
            hidden = self.whole(backbone, prefix[0], ids, token_types)
            scores = backbone.logits(hidden)
            embedded = backbone.embed(ids[None])
        assert prefix.shape[0] == ROWS
        assert hidden.shape[1] == backbone.hidden_size
        assert prefix.shape[2] == embedded.shape[2] >= backbone.hidden_size
        assert len(hidden) == prefix.shape[1] + len(ids)
        assert scores.shape[1] == backbone.vocabulary_size
        assert torch.isfinite(scores).all()

    def test_the_mask_is_its_definition(self, given: tuple) -> None:
        backbone = given[0]
        for row in range(ROWS):
            _, token_types = self.sequence(backbone, row)
            every = torch.cat([torch.full((4,), PREFIX), token_types])[None]
            for hide in ((), (TokenType.ANSWER,), (TokenType.ANSWER, TokenType.QUESTION)):
                options = {"bidirectional_prefix": backbone.bidirectional_prefix, "hide": hide}
                expected = mask_by_definition(4, token_types.tolist(), **options)
                mask = make_attention_mask(every, **options)
                if mask is None:
                    mask = torch.ones_like(expected).tril()[None]
                assert torch.equal(mask[0], expected)

    @pytest.mark.parametrize("hide", [(), (TokenType.ANSWER,), (TokenType.ANSWER, TokenType.QUESTION)])
    def test_masks_of_training_and_decoding_are_equal(self, given: tuple, hide: tuple) -> None:
        """Decoding extends the cache by one generated token and the input behind it at a time.

        So no generated token attends to what comes after it: every input segment after an answer opens a new block.
        """
        backbone = given[0]
        options = {"bidirectional_prefix": backbone.bidirectional_prefix, "hide": hide}

        def mask(token_types: Tensor, past: int) -> Tensor:
            made = make_attention_mask(token_types, past=past, **options)
            total = token_types.shape[1]
            return torch.ones(1, total, total, dtype=torch.bool).tril()[:, past:] if made is None else made

        for row in range(ROWS):
            _, token_types = self.sequence(backbone, row)
            every = torch.cat([torch.full((4,), PREFIX), token_types])[None]
            generated = (every[0] == TokenType.ANSWER) | (every[0] == TokenType.ACTION)
            training = mask(every, 0)
            assert generated.sum() >= 3
            for start, stop in pairwise([0, *generated.nonzero().flatten().tolist(), every.shape[1]]):
                assert torch.equal(mask(every[:, :stop], start), training[:, start:stop, :stop])
                assert not training[:, start:stop, stop:].any()
                assert not start or not training[:, start, start + 1 :].any()

    def test_cache_equals_no_cache(self, given: tuple) -> None:
        """Passes cut at the ends of blocks equal one pass. A cropped cache equals the cache before."""
        backbone, images, state = given
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)[0]
            ids, token_types = self.sequence(backbone, 0)
            expected = self.whole(backbone, prefix, ids, token_types)
            elements = torch.cat([prefix, backbone.embed(ids[None])[0]])
            every = torch.cat([torch.full((len(prefix),), PREFIX), token_types])[None]
            generated = (token_types == TokenType.ANSWER) | (token_types == TokenType.ACTION)
            stops = [len(prefix) + position for position in generated.nonzero().flatten().tolist()] + [
                len(elements)
            ]
            cache, pieces = backbone.new_cache(), []
            for start, stop in pairwise([0, *stops]):
                extension = {
                    "positions": torch.arange(start, stop)[None],
                    "attention_mask": make_attention_mask(
                        every[:, :stop], past=start, bidirectional_prefix=backbone.bidirectional_prefix
                    ),
                    "cache": cache,
                }
                if start:  # a rejected draft: appended, then truncated
                    backbone.extend(torch.randn(1, stop - start, elements.shape[1]), **extension)
                    cache.crop(start)
                pieces.append(backbone.extend(elements[None, start:stop], **extension)[0])
            assert cache.get_seq_length() == len(elements)
        self.close(torch.cat(pieces), expected)

    def test_recording_attention_changes_nothing(self, given: tuple) -> None:
        """The weights are those of the same pass with its mask, one tensor per layer."""
        backbone, images, state = given
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)[0]
            ids, token_types = self.sequence(backbone, 0)
            expected = self.whole(backbone, prefix, ids, token_types)
            elements = torch.cat([prefix, backbone.embed(ids[None])[0]])[None]
            attention_mask = mask_by_definition(
                len(prefix), token_types.tolist(), backbone.bidirectional_prefix
            )
            with attention_weights(backbone) as layers:
                actual = backbone.extend(elements, attention_mask=attention_mask[None])[0]
            after = self.whole(backbone, prefix, ids, token_types)
        self.close(actual, expected)
        self.close(after, expected)
        assert len(layers) == backbone.decoder.config.num_hidden_layers
        unseen = ~attention_mask
        unseen[: len(prefix), : len(prefix)] = False  # images may attend to each other
        for weights in layers:
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
            assert (weights[:, :, unseen] == 0).all()

    def test_images_are_where_the_backbone_says(self, given: tuple) -> None:
        backbone, images, state = given
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)
            num_images = images.shape[1]
            for which in range(num_images):
                columns, (height, width) = backbone.image_tokens(prefix.shape[1], num_images, which)
                assert len(columns) == height * width
                assert set(columns) <= set(range(prefix.shape[1]))
                dark = images.clone()
                dark[:, which] = 0
                changed = (backbone.encode_observation(dark, state) != prefix).any(-1)[0]
                assert set(changed.nonzero().flatten().tolist()) == set(columns)

    def test_padding_side_does_not_matter(self, given: tuple) -> None:
        backbone, images, state = given
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)[1]
            ids, token_types = self.sequence(backbone, 1)
            expected = self.whole(backbone, prefix, ids, token_types)
            count = len(expected)
            elements = torch.cat([prefix, backbone.embed(ids[None])[0]])
            every = torch.cat([torch.full((len(prefix),), PREFIX), token_types])
            for before, after in ((3, 0), (0, 3), (2, 1)):
                content = slice(before, before + count)
                padded = torch.randn(before + count + after, elements.shape[1])
                padded[content] = elements
                kinds = torch.full((1, len(padded)), PAD)
                kinds[0, content] = every
                places = torch.zeros(1, len(padded), dtype=torch.long)
                places[0, content] = torch.arange(count)
                mask = make_attention_mask(kinds, bidirectional_prefix=backbone.bidirectional_prefix)
                self.close(
                    backbone.extend(padded[None], positions=places, attention_mask=mask)[0, content], expected
                )

    def test_a_batch_equals_singles(self, given: tuple) -> None:
        backbone, images, state = given
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)
            pairs = [self.sequence(backbone, row) for row in range(ROWS)]
            longest = max(len(ids) for ids, _ in pairs)
            ids = torch.stack([torch.nn.functional.pad(i, (0, longest - len(i))) for i, _ in pairs])
            token_types = torch.stack(
                [torch.nn.functional.pad(r, (0, longest - len(r)), value=PAD) for _, r in pairs]
            )
            kinds = torch.cat([torch.full(prefix.shape[:2], PREFIX), token_types], 1)
            mask = make_attention_mask(kinds, bidirectional_prefix=backbone.bidirectional_prefix)
            together = backbone.extend(torch.cat([prefix, backbone.embed(ids)], 1), attention_mask=mask)
            for row, (row_ids, kind) in enumerate(pairs):
                alone_prefix = backbone.encode_observation(
                    images[[row]], None if state is None else state[[row]]
                )[0]
                self.close(prefix[row], alone_prefix)
                alone = self.whole(backbone, alone_prefix, row_ids, kind)
                self.close(together[row, : len(alone)], alone)

    def test_forward_equals_a_whole_pass(self, given: tuple) -> None:
        """Scores and gradients, for rows of several lengths, with and without padding."""
        backbone, images, state = given
        pairs = [self.sequence(backbone, row) for row in range(ROWS)]
        longest = max(len(ids) for ids, _ in pairs)

        def gradients(whole: bool, rows: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
            prefix = backbone.encode_observation(images, state)[rows]
            ids = torch.zeros(len(rows), longest, dtype=torch.long)
            token_types = torch.full((len(rows), longest), PAD)
            for i, row in enumerate(rows):
                ids[i, : len(pairs[row][0])], token_types[i, : len(pairs[row][1])] = pairs[row]
            kinds = torch.cat([torch.full(prefix.shape[:2], PREFIX), token_types], 1)[:, :-1]
            loss_mask = torch.zeros_like(kinds, dtype=torch.bool)
            loss_mask[:, prefix.shape[1] - 1 :] = (token_types == TokenType.ANSWER) | (
                token_types == TokenType.ACTION
            )
            elements = torch.cat([prefix, backbone.embed(ids[:, :-1])], 1)
            attention_mask = make_attention_mask(kinds, bidirectional_prefix=backbone.bidirectional_prefix)
            backbone.zero_grad()
            if whole:
                scores = backbone.logits(backbone.extend(elements, attention_mask=attention_mask)[loss_mask])
            else:
                scores = backbone(elements, loss_mask, attention_mask=attention_mask)
            assert len(scores) == loss_mask.sum()
            targets = torch.arange(len(scores)) % backbone.vocabulary_size
            torch.nn.functional.cross_entropy(scores, targets).backward()
            named = backbone.named_parameters()
            return scores.detach(), {name: p.grad.clone() for name, p in named if p.grad is not None}

        for rows in (list(range(ROWS)), [max(range(ROWS), key=lambda row: len(pairs[row][0]))]):
            (expected, slopes), (actual, ours) = gradients(True, rows), gradients(False, rows)
            scale = expected.abs().max().clamp(min=1.0)
            torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=1e-5)
            assert ours.keys() == slopes.keys()
            for name, slope in slopes.items():
                scale = slope.abs().max().clamp(min=1.0)
                torch.testing.assert_close(ours[name] / scale, slope / scale, rtol=0, atol=1e-5, msg=name)

    def test_nothing_depends_on_what_comes_after_its_block(self, given: tuple) -> None:
        backbone, images, state = given
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)[0]
            ids, token_types = self.sequence(backbone, 0)
            before = self.whole(backbone, prefix, ids, token_types)
            for position in range(1, len(ids), 1 + len(ids) // 16):
                changed = ids.clone()
                changed[position] = (ids[position] + 1) % 200
                after = self.whole(backbone, prefix, changed, token_types)
                mask = mask_by_definition(len(prefix), token_types.tolist(), backbone.bidirectional_prefix)
                blind = ~mask[:, len(prefix) + position]
                torch.testing.assert_close(after[blind], before[blind], rtol=0, atol=1e-5)
                assert not torch.allclose(after[~blind], before[~blind], rtol=0, atol=1e-5)

    def test_saved_and_loaded_is_identical(self, given: tuple, tmp_path) -> None:
        backbone, images, state = given
        save_file(
            {k: v.contiguous().clone() for k, v in backbone.state_dict().items()}, tmp_path / "w.safetensors"
        )
        other, _, _ = self.make(99)
        other.load_state_dict(load_file(tmp_path / "w.safetensors"))
        ids, token_types = self.sequence(backbone, 0)
        with torch.inference_mode():
            one = backbone.logits(
                self.whole(backbone, backbone.encode_observation(images, state)[0], ids, token_types)
            )
            two = other.logits(
                self.whole(other, other.encode_observation(images, state)[0], ids, token_types)
            )
        assert torch.equal(one, two)

    def test_the_gradient_reaches_every_trainable_part(self, given: tuple) -> None:
        backbone, images, state = given
        ids, token_types = self.sequence(backbone, 0)
        hidden = self.whole(backbone, backbone.encode_observation(images, state)[0], ids, token_types)
        backbone.logits(hidden).logsumexp(-1).sum().backward()
        trainable = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
        unreached = [n for n, p in trainable.items() if p.grad is None or not p.grad.abs().sum() > 0]
        assert trainable
        assert not unreached

    def test_speculative_decoding_equals_greedy(self, given: tuple) -> None:
        backbone, images, state = given
        grammar, dialogues, drafts = self.language(backbone)
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)
        plain = decode(backbone, prefix, dialogues, grammar)
        for draft in drafts(plain):
            decisions = decode(backbone, prefix, dialogues, grammar, drafts=draft)
            assert [d.token_ids for d in decisions] == [d.token_ids for d in plain]

    def test_static_cache_decides_the_same(self, given: tuple) -> None:
        backbone, images, state = given
        if not self.static_cache:
            with pytest.raises(InspireError, match="set static_cache to 'off'"):
                backbone.use_static_cache(256)
            pytest.skip("this model refuses a static cache")
        grammar, dialogues, drafts = self.language(backbone)
        with torch.inference_mode():
            prefix = backbone.encode_observation(images, state)
        plain = decode(backbone, prefix, dialogues, grammar)
        backbone.use_static_cache(256)
        for draft in [None, *drafts(plain)]:  # every decision starts with what the last one left in the cache
            decisions = decode(backbone, prefix, dialogues, grammar, drafts=draft)
            assert [d.token_ids for d in decisions] == [d.token_ids for d in plain]
            for row in range(ROWS):
                alone = decode(backbone, prefix[[row]], dialogues[row : row + 1], grammar)
                assert alone[0].token_ids == plain[row].token_ids

    def language(self, backbone: Backbone) -> tuple:
        """A grammar, dialogues for ROWS rows, and a function: decisions → drafts that are right, wrong, and mixed."""
        bins = UniformBins(horizon=1, action_dim=2, bins=16)
        vocabulary = ActionVocabulary.last_ids(backbone.vocabulary_size, bins.vocabulary_size)
        answers = AnswerSet(answer_words("direction"), backbone.text_tokenizer, backbone.template)
        grammar = Grammar(backbone.text_tokenizer, answers, bins, vocabulary)
        dialogues = [build_dialogue(text, template=backbone.template) for text in TEXTS]
        other = {word: answers.words[i - 1] for i, word in enumerate(answers.words)}

        def drafts(decisions: list) -> tuple:
            right = [d.answers_by_mention for d in decisions]
            wrong = [{m: other[w] for m, w in words.items()} for words in right]
            mixed = [{m: other[w] if i else w for i, (m, w) in enumerate(words.items())} for words in right]
            return right, wrong, mixed

        return grammar, dialogues, drafts
