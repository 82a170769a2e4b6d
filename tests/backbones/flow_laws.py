"""Tests that every flow expert passes with its backbone. A new one inherits them:

class TestMine(FlowLaws):
    def make(self, seed): return MyBackbone(…).eval(), MyExpert(…).eval(), images, state    # tiny, random weights
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.backbones.backbone_laws import ROWS, TEXTS
from torch import Tensor
from torch.nn.functional import cross_entropy

from inspire_vla.action_tokenizers import ActionVocabulary, UniformBins
from inspire_vla.backbones.attention import PAD, PREFIX, make_attention_mask
from inspire_vla.backbones.base import Backbone
from inspire_vla.backbones.flow import FlowContext, FlowExpert, denoise, flow_loss
from inspire_vla.decoding import AnswerSet, Decision, FlowHead, Grammar, decode
from inspire_vla.dialogue import TokenType, build_dialogue, render
from inspire_vla.spatial import answer_words

HIDDEN = [(), (TokenType.ANSWER,), (TokenType.ANSWER, TokenType.QUESTION)]
ANSWERS = ["left", "grasped"]
CODES = UniformBins(horizon=1, action_dim=3, bins=16)
CHUNKS = ([3, 0, 15, 7, 7], [8], [1, 2, 3])
"""Action codes of each row; their number may differ, as FAST's does."""


class FlowLaws:
    """Inherit it, name the class Test…, and implement `make`."""

    tolerance = 1e-4
    robot_dim = 3

    def make(self, seed: int) -> tuple[Backbone, FlowExpert, Tensor, Tensor | None]:
        """A tiny random backbone and expert, images (3, camera, 3, height, width) and states (3, dim)."""
        raise NotImplementedError

    @pytest.fixture
    def given(self) -> tuple[Backbone, FlowExpert, Tensor, Tensor | None]:
        return self.make(0)

    def close(self, actual: Tensor, expected: Tensor) -> None:
        scale = expected.abs().max().clamp(min=1.0)
        torch.testing.assert_close(actual / scale, expected / scale, rtol=0, atol=self.tolerance)

    def state_text(self, backbone: Backbone) -> str | None:
        return "1 2 3" if backbone.template.needs_state else None

    def code_ids(self, backbone: Backbone) -> ActionVocabulary:
        return ActionVocabulary.last_ids(backbone.vocabulary_size, CODES.vocabulary_size)

    def demonstrations(
        self,
        given: tuple,
        answers: list[str],
        rows: list[int],
        hide: tuple[TokenType, ...] = (),
        codes: Sequence[Sequence[int]] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor]:
        """A training batch, padded on the right: embeddings, which of them predict a token of the loss, the attention
        mask, token ids and token types. `codes`: of each row; None: none are trained."""
        backbone, _, images, state = given
        sequences = []
        for i, row in enumerate(rows):
            dialogue = build_dialogue(
                TEXTS[row], template=backbone.template, state_text=self.state_text(backbone)
            )
            sequences.append(
                render(
                    dialogue.with_answers(answers[: len(dialogue.mentions)]),
                    backbone.text_tokenizer,
                    None if codes is None else self.code_ids(backbone).to_ids(codes[i]),
                )
            )
        longest = max(map(len, sequences)) + 2
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        types = torch.full((len(rows), longest), PAD)
        for i, sequence in enumerate(sequences):
            ids[i, : len(sequence)] = torch.from_numpy(sequence.ids)
            types[i, : len(sequence)] = torch.from_numpy(sequence.token_types.astype(np.int64))
        state = None if state is None else state[rows]
        prefix = backbone.encode_observation(images[rows], state)
        embeddings = backbone.embed_sequence(ids, types, backbone.encode_state(state))
        every = torch.cat([torch.full(prefix.shape[:2], PREFIX), types], 1)
        loss_mask = (every[:, 1:] == TokenType.ANSWER) | (every[:, 1:] == TokenType.ACTION)
        mask = make_attention_mask(every, bidirectional_prefix=backbone.bidirectional_prefix, hide=hide)
        embeddings = torch.cat([prefix, embeddings], 1)
        return embeddings, torch.nn.functional.pad(loss_mask, (0, 1)), mask, ids, every

    def training(
        self,
        given: tuple,
        answers: list[str],
        rows: list[int],
        hide: tuple[TokenType, ...] = (),
        codes: Sequence[Sequence[int]] | None = None,
    ) -> tuple[Tensor, FlowContext]:
        """Logits of answers and codes, row by row, and the expert's context. See `demonstrations`."""
        backbone, expert = given[:2]
        embeddings, loss_mask, mask, _, every = self.demonstrations(given, answers, rows, hide, codes)
        logits, key_values = backbone.forward_with_key_values(embeddings, loss_mask, attention_mask=mask)
        return logits, FlowContext.of(key_values, every, expert.horizon, hide)

    def decoded(
        self, given: tuple, rows: list[int], noise: Tensor, reasoning: bool = True, **options
    ) -> list[Decision]:
        backbone, expert, images, state = given
        answers = AnswerSet(answer_words("direction"), backbone.text_tokenizer, backbone.template)
        state = None if state is None else state[rows]
        with torch.inference_mode():
            prefix, states = backbone.encode_observation(images[rows], state), backbone.encode_state(state)
        dialogues = [
            build_dialogue(
                TEXTS[row],
                template=backbone.template,
                state_text=self.state_text(backbone),
                reasoning=reasoning,
            )
            for row in rows
        ]
        flow = FlowHead(expert, noise, self.robot_dim, 3)
        grammar = Grammar(backbone.text_tokenizer, answers)
        return decode(backbone, prefix, dialogues, grammar, states=states, flow=flow, **options)

    def noise(self, expert: FlowExpert, rows: int = ROWS, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(rows, expert.horizon, expert.action_dim, generator=generator)

    def loss(self, expert: FlowExpert, context: FlowContext, actions: Tensor, seed: int = 0) -> Tensor:
        rng = np.random.default_rng(seed)
        drawn = expert.sample_noise(len(actions), rng), expert.sample_time(len(actions), rng)
        noise, time = (torch.from_numpy(values.astype(np.float32)) for values in drawn)
        return flow_loss(expert, context, actions, noise=noise, time=time)

    @pytest.mark.parametrize("hide", HIDDEN)
    def test_decoding_acts_as_trained(self, given: tuple, hide: tuple[TokenType, ...]) -> None:
        """The expert sees the same in a training pass and over the cache of decoding: masks and positions are equal."""
        expert, noise = given[1], self.noise(given[1])
        words = ["left", "grasped"]
        overrides = [
            dict(zip(build_dialogue(text).mentions, words, strict=False)) for text in TEXTS
        ]  # in training the answers are given
        decisions = self.decoded(given, [0, 1, 2], noise, overrides=overrides, hide=hide)
        with torch.inference_mode():
            _, context = self.training(given, words, [0, 1, 2], hide)
            expected = denoise(expert, context, noise, 3)[..., : self.robot_dim]
        self.close(torch.from_numpy(np.stack([d.actions for d in decisions])), expected)

    @pytest.mark.parametrize("hide", HIDDEN)
    def test_the_expert_sees_what_is_not_hidden(self, given: tuple, hide: tuple[TokenType, ...]) -> None:
        noise = self.noise(given[1], 1)
        (dialogue,) = [build_dialogue(TEXTS[0])]
        one, two = (
            self.decoded(given, [0], noise, overrides=[dict.fromkeys(dialogue.mentions, word)], hide=hide)
            for word in ("left", "grasped")
        )
        assert np.allclose(one[0].actions, two[0].actions, atol=1e-6) == (TokenType.ANSWER in hide)
        (base,) = self.decoded(given, [0], noise, reasoning=False)
        assert not np.allclose(one[0].actions, base.actions, atol=1e-4)

    def test_drafts_change_no_action_and_save_passes(self, given: tuple) -> None:
        noise = self.noise(given[1])
        plain = self.decoded(given, [0, 1, 2], noise)
        words = answer_words("direction")
        right = [d.answers_by_mention for d in plain]
        wrong = [{m: words[words.index(w) - 1] for m, w in of_row.items()} for of_row in right]
        mixed = [wrong[0], right[1], {}]
        for drafts in (right, wrong, mixed):
            decisions = self.decoded(given, [0, 1, 2], noise, drafts=drafts)
            assert [d.answers for d in decisions] == [d.answers for d in plain]
            for one, two in zip(decisions, plain, strict=True):
                self.close(torch.from_numpy(one.actions), torch.from_numpy(two.actions))
        drafted = self.decoded(given, [0, 1, 2], noise, drafts=right)
        base = self.decoded(given, [0, 1, 2], noise, reasoning=False)
        assert {d.forward_passes for d in (*drafted, *base)} == {1}
        assert {d.forward_passes for d in self.decoded(given, [0, 1, 2], noise, drafts=wrong)} <= {2, 3}

    def test_rows_are_independent(self, given: tuple) -> None:
        noise = self.noise(given[1])
        together = self.decoded(given, [0, 1, 2], noise)
        for row in range(ROWS):
            (alone,) = self.decoded(given, [row], noise[[row]])
            assert alone.answers == together[row].answers
            self.close(torch.from_numpy(alone.actions), torch.from_numpy(together[row].actions))

    def test_the_gradient_of_an_insulated_expert_stops_at_the_backbone(self, given: tuple) -> None:
        backbone, expert = given[:2]
        actions = torch.randn(ROWS, expert.horizon, self.robot_dim).clamp(-1, 1)

        def gradients(insulated: bool) -> tuple[float, float]:
            for module in (backbone, expert):
                module.zero_grad()
            logits, context = self.training(given, ["left", "up"], [0, 1, 2])
            loss = self.loss(expert, context.detached() if insulated else context, actions)
            (loss + 0 * logits.sum()).backward()
            sums = [
                sum(float(p.grad.abs().sum()) for p in module.parameters() if p.grad is not None)
                for module in (backbone, expert)
            ]
            return sums[0], sums[1]

        through, insulated = gradients(False), gradients(True)
        assert through[0] > 0
        assert insulated[0] == 0
        assert min(through[1], insulated[1]) > 0

    @pytest.mark.parametrize("hide", HIDDEN)
    def test_codes_change_nothing_for_the_expert(self, given: tuple, hide: tuple[TokenType, ...]) -> None:
        """Its positions, loss and actions are those without codes in the sequence."""
        expert, noise = given[1], self.noise(given[1])
        actions = torch.randn(ROWS, expert.horizon, self.robot_dim)
        with torch.inference_mode():
            _, plain = self.training(given, ANSWERS, [0, 1, 2], hide)
            _, coded = self.training(given, ANSWERS, [0, 1, 2], hide, CHUNKS)
            assert torch.equal(coded.positions, plain.positions)
            assert torch.equal(coded.visible.sum(1), plain.visible.sum(1))
            self.close(self.loss(expert, coded, actions), self.loss(expert, plain, actions))
            self.close(denoise(expert, coded, noise, 3), denoise(expert, plain, noise, 3))

    @pytest.mark.parametrize("hide", HIDDEN)
    def test_codes_are_trained_as_by_the_head_tokens(self, given: tuple, hide: tuple[TokenType, ...]) -> None:
        """The logits are those of the same weights without an expert, in training and in decoding, row by row."""
        backbone, _, images, state = given
        vocabulary = self.code_ids(backbone)
        answers = AnswerSet(answer_words("direction"), backbone.text_tokenizer, backbone.template)
        dialogues = [
            build_dialogue(text, template=backbone.template, state_text=self.state_text(backbone))
            for text in TEXTS
        ]
        with torch.inference_mode():
            decisions = decode(
                backbone,
                backbone.encode_observation(images, state),
                dialogues,
                Grammar(backbone.text_tokenizer, answers, CODES, vocabulary),
                overrides=[dict(zip(dialogue.mentions, ANSWERS, strict=False)) for dialogue in dialogues],
                states=backbone.encode_state(state),
                hide=hide,
            )
            count = CODES.max_codes
            codes = [vocabulary.to_codes(decision.token_ids[-count:]).tolist() for decision in decisions]
            logits, _ = self.training(given, ANSWERS, [0, 1, 2], hide, codes)
            embeddings, loss_mask, mask, *_ = self.demonstrations(given, ANSWERS, [0, 1, 2], hide, codes)
            self.close(logits, backbone(embeddings, loss_mask, attention_mask=mask))
            of_rows = logits.split(loss_mask.sum(1).tolist())
            for row, of_row in enumerate(of_rows):
                alone, _ = self.training(given, ANSWERS, [row], hide, [codes[row]])
                self.close(alone, of_row)
                ids = vocabulary.to_ids(np.arange(vocabulary.size))
                assert of_row[-count:, ids].argmax(-1).tolist() == codes[row]

    def test_an_insulated_backbone_learns_from_codes_and_answers_alone(self, given: tuple) -> None:
        backbone, expert = given[:2]
        actions = torch.randn(ROWS, expert.horizon, self.robot_dim).clamp(-1, 1)

        def gradient(codes: Sequence[Sequence[int]] | None, *, flow: bool, insulated: bool = True) -> Tensor:
            for module in (backbone, expert):
                module.zero_grad()
            embeddings, loss_mask, _, ids, _ = self.demonstrations(given, ANSWERS, [0, 1, 2], codes=codes)
            logits, context = self.training(given, ANSWERS, [0, 1, 2], codes=codes)
            targets = torch.nn.functional.pad(ids, (embeddings.shape[1] - ids.shape[1], 0)).roll(-1, 1)
            loss = cross_entropy(logits, targets[loss_mask])
            if flow:
                loss = loss + self.loss(expert, context.detached() if insulated else context, actions)
            loss.backward()
            return torch.cat(
                [
                    torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                    for p in backbone.parameters()
                ]
            )

        expected = gradient(CHUNKS, flow=False)
        self.close(gradient(CHUNKS, flow=True), expected)
        for other in (gradient(None, flow=False), gradient(CHUNKS, flow=True, insulated=False)):
            assert (other - expected).abs().max() > 1e-3 * expected.abs().max()

    def test_every_part_of_the_expert_is_trained(self, given: tuple) -> None:
        expert = given[1]
        _, context = self.training(given, ["left", "up"], [0, 1, 2])
        self.loss(expert, context, torch.randn(ROWS, expert.horizon, self.robot_dim)).backward()
        assert not [n for n, p in expert.named_parameters() if p.requires_grad and p.grad is None]

    def test_gradient_checkpointing_changes_nothing(self, given: tuple) -> None:
        backbone, expert = given[:2]
        noise, time = self.noise(expert), torch.tensor([0.2, 0.5, 0.9])
        actions = torch.zeros(ROWS, expert.horizon, self.robot_dim)

        def losses() -> tuple[Tensor, Tensor]:
            backbone.zero_grad()
            logits, context = self.training(given, ["left", "up"], [0, 1, 2], codes=CHUNKS)
            loss = flow_loss(expert, context, actions, noise=noise, time=time) + logits.logsumexp(-1).mean()
            loss.backward()
            gradient = torch.cat([p.grad.flatten() for p in backbone.parameters() if p.grad is not None])
            return loss.detach(), gradient

        backbone.train()
        expected = losses()
        backbone.gradient_checkpointing_enable()
        for one, two in zip(losses(), expected, strict=True):
            self.close(one, two)

    def test_the_draws_of_a_row_are_independent(self, given: tuple) -> None:
        """Several draws of noise for each row have the loss and the gradients of as many rows with one draw."""
        expert, draws = given[1], 3
        _, context = self.training(given, ["left", "grasped"], [0, 1])
        actions = torch.rand(2, expert.horizon, self.robot_dim, generator=torch.Generator().manual_seed(1))
        is_pad = torch.zeros(2, expert.horizon, dtype=torch.bool)
        is_pad[0, -1] = True
        noise = self.noise(expert, 2 * draws)
        time = torch.linspace(0.05, 0.95, 2 * draws)

        def losses(context: FlowContext, actions: Tensor, is_pad: Tensor) -> list[Tensor]:
            loss = flow_loss(expert, context, actions, is_pad, noise=noise, time=time)
            keys, values = context.key_values[0]
            return [loss, *torch.autograd.grad(loss, [keys, values], retain_graph=True)]

        shared = losses(context, actions, is_pad)
        repeated = losses(
            context.repeated(draws), *(x.repeat_interleave(draws, 0) for x in (actions, is_pad))
        )
        self.close(shared[0], repeated[0])
        for one, many in zip(shared[1:], repeated[1:], strict=True):
            assert one.abs().max() > 0
            self.close(one, many.unflatten(0, (2, draws)).sum(1))

    def test_it_overfits_two_chunks(self, given: tuple) -> None:
        """Trained on one chunk for each of two observations, it denoises noise into the chunk of the observation."""
        expert = given[1]
        torch.manual_seed(0)
        targets = torch.rand(2, expert.horizon, self.robot_dim) * 2 - 1
        with torch.no_grad():
            _, context = self.training(given, ["left", "grasped"], [0, 1])
        optimizer = torch.optim.Adam(expert.parameters(), lr=3e-3)
        many = FlowContext(
            [(k.repeat(16, 1, 1, 1), v.repeat(16, 1, 1, 1)) for k, v in context.key_values],
            context.visible.repeat(16, 1),
            context.positions.repeat(16, 1),
        )
        for step in range(self.steps_to_overfit):
            optimizer.zero_grad()
            self.loss(expert, many, targets.repeat(16, 1, 1), seed=step).backward()
            optimizer.step()
        with torch.inference_mode():
            actions = denoise(expert, context, self.noise(expert, 2), 10)[..., : self.robot_dim]
        error = float((actions - targets).abs().mean())
        assert error < 0.15
        assert error < 0.4 * float((actions.flip(0) - targets).abs().mean())

    steps_to_overfit = 150
