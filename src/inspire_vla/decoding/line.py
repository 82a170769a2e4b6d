"""One row of a batch while it is being decoded: which tokens are fixed, guessed, or still to be chosen."""

from collections.abc import Callable, Mapping

import numpy as np

from inspire_vla.action_tokenizers import ActionTokenizer, ActionVocabulary, UndecodableAction
from inspire_vla.decoding.choices import AnswerSet, Choice
from inspire_vla.decoding.decision import Decision
from inspire_vla.dialogue import Dialogue, TextTokenizer, render

Chooser = Callable[[np.ndarray, np.ndarray], Choice]
"""(scores over the vocabulary, allowed token ids) → the choice."""


class Line:
    """A dialogue being spoken: text · answer · text · answer · text · action codes.

    `propose` gives the tokens of the next pass, guesses included; `hear` compares the guesses with what the model
    says and keeps what agrees. Without guesses this is plain constrained decoding.
    """

    def __init__(
        self,
        dialogue: Dialogue,
        tokenizer: TextTokenizer,
        answers: AnswerSet,
        action_tokenizer: ActionTokenizer,
        action_vocabulary: ActionVocabulary,
        *,
        guesses: Mapping[str, str],
        forced: Mapping[str, str],
    ) -> None:
        self.dialogue, self.answer_set = dialogue, answers
        self.action_tokenizer, self.action_vocabulary = action_tokenizer, action_vocabulary
        self.texts = _texts_between(dialogue, tokenizer, answers)
        self.forced = [forced.get(m) for m in dialogue.mentions]
        self.guesses = [guesses.get(m) for m in dialogue.mentions]
        self.said: list[str] = []
        self.confidences: list[float] = []
        self.agreed: list[bool] = []
        self.token_ids: list[int] = []
        self.codes: list[int] = []
        self._spelled: list[int] = []  # tokens of the answer being said
        self._confidence = 1.0
        self._agreed = True
        self._next: list[int] = list(self.texts[0])  # decided, but not yet through the backbone
        self.done = False

    @property
    def _answering(self) -> bool:
        return len(self.said) < len(self.dialogue.mentions)

    def propose(self) -> tuple[list[int], list[int]]:
        """The tokens of the next pass, and the places in it whose scores `hear` needs.

        Place i means the scores after the first i + 1 tokens. The last place is always among them.
        """
        tokens, places = list(self._next), []
        spelled = list(self._spelled)
        for number in range(len(self.said), len(self.dialogue.mentions)):
            word = self.forced[number] or self.guesses[number]
            ids = self.answer_set.token_ids_of[word] if word is not None else ()
            if ids[: len(spelled)] != tuple(spelled) or not ids:
                break
            for token in ids[len(spelled) :]:
                places.append(len(tokens) - 1)
                tokens.append(token)
            tokens += self.texts[number + 1]
            spelled = []
        places.append(len(tokens) - 1)
        return tokens, places

    def hear(self, tokens: list[int], places: list[int], scores: np.ndarray, choose: Chooser) -> int:
        """Check guesses against `scores` (one row per place) and choose what comes next.

        Returns how many of the proposed tokens stand.
        """
        for place, row in zip(places, scores, strict=True):
            proposed = tokens[place + 1] if place + 1 < len(tokens) else None
            said = self._say(row, proposed, choose)
            if self.done:
                return place + 1
            if proposed is None or said != proposed:
                self._next = [said, *self._text_after()]
                return place + 1
        raise AssertionError("the last place has no proposal")

    def _say(self, scores: np.ndarray, proposed: int | None, choose: Chooser) -> int:
        """Choose one token: of an answer, or of the action."""
        if not self._answering:
            return self._act(scores, choose)
        number = len(self.said)
        allowed = self.answer_set.allowed(self._spelled)
        assert allowed is not None
        forced = self.forced[number]
        if forced is not None:
            token = self.answer_set.token_ids_of[forced][len(self._spelled)]
            choice = Choice(token, _probability(scores, allowed, token))
        else:
            choice = choose(scores, allowed)
        self._agreed &= forced is None and choice.token_id == proposed
        self._confidence *= choice.probability
        self._spelled.append(choice.token_id)
        self.token_ids.append(choice.token_id)
        if self.answer_set.allowed(self._spelled) is None:
            self.said.append(self.answer_set.word(self._spelled))
            self.confidences.append(self._confidence)
            self.agreed.append(self._agreed)
            self._spelled, self._confidence, self._agreed = [], 1.0, True
        return choice.token_id

    def _act(self, scores: np.ndarray, choose: Chooser) -> int:
        allowed = self.action_tokenizer.allowed_codes(len(self.codes), self.codes)
        if allowed is None:
            self.done = True
            return -1
        choice = choose(scores, self.action_vocabulary.to_ids(np.flatnonzero(allowed)))
        self.codes.append(int(self.action_vocabulary.to_codes(choice.token_id)))
        self.token_ids.append(choice.token_id)
        self.done = self.action_tokenizer.allowed_codes(len(self.codes), self.codes) is None
        return choice.token_id

    def _text_after(self) -> tuple[int, ...]:
        """The fixed text behind the answer that was just completed, if one was."""
        return self.texts[len(self.said)] if not self._spelled and not self.codes else ()

    def decision(self, passes: int) -> Decision:
        """The finished row. `actions` is None where the codes stand for no action."""
        try:
            actions = self.action_tokenizer.decode(np.array(self.codes))
        except UndecodableAction:
            actions = None
        return Decision(
            actions,
            mentions=self.dialogue.mentions,
            answers=tuple(self.said),
            confidences=tuple(self.confidences),
            forced=tuple(word is not None for word in self.forced),
            guessed=tuple(self.agreed),
            token_ids=tuple(self.token_ids),
            passes=passes,
        )


def _texts_between(
    dialogue: Dialogue, tokenizer: TextTokenizer, answers: AnswerSet
) -> tuple[tuple[int, ...], ...]:
    """The ids before each answer and, last, before the action. The one renderer makes them."""
    filled = dialogue.with_answers([answers.words[0]] * len(dialogue.mentions))
    rendered = render(filled, tokenizer)
    ids, start, texts = rendered.ids.tolist(), 0, []
    for begin, end in rendered.answer_spans:
        texts.append(tuple(ids[start:begin]))
        start = end
    return (*texts, tuple(ids[start:]))


def _probability(scores: np.ndarray, allowed: np.ndarray, token: int) -> float:
    kept = scores[allowed].astype(np.float64)
    kept = np.exp(kept - kept.max())
    return float(kept[np.flatnonzero(allowed == token)[0]] / kept.sum())
