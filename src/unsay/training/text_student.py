"""The starter's own sentence encoder, learned from a large one (ours; distillation after Hinton et al. 2015).

Run as `python -m unsay.training.text_student --config src/unsay/training/configs/text-student.yaml`; it prints how near
the student came on held-out phrases and where its checkpoint is. The large encoder's answers are kept beside it, so a
second run with other settings only learns.

Legend: N phrases, V tokens, E = 384 channels of the large encoder.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from unsay.models.text_student import StudentConfig, TextStudent
from unsay.training.config import config_from, load_config
from unsay.training.nouns import Embed
from unsay.training.phrases import PhraseConfig, collect, held_out
from unsay.training.segment_files import fingerprint, write_atomically
from unsay.training.segment_networks import minilm
from unsay.training.text_export import lexicon_words, prune, text_folder

KIND = "text-student"
TEMPLATE = "a photo of a {}."
"""What the starter asks with, and so what most phrases are learned in."""
BARE = ("pieces", "sentences")
"""Kinds of phrases that are learned as they are."""
BUNCH = 16
"""Steps whose phrases are sorted by length together, so that few tokens are padding."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextConfig:
    """A student and how it learns; see `configs/text-student.yaml`.

    `teacher`: folder of the large encoder (empty: the installed package's). `table_rate`: learning rate of the table
    of tokens, as a multiple of `rate`. `bf16`: the teacher answers in bf16 arithmetic.
    """

    out: str = "runs/text-student"
    teacher: str = ""
    phrases: PhraseConfig = field(default_factory=PhraseConfig)
    network: StudentConfig = field(default_factory=StudentConfig)
    steps: int = 3000
    batch: int = 256
    rate: float = 1e-3
    table_rate: float = 5.0
    bf16: bool = True
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Lesson:
    """`texts` [N] as they are put to both encoders, of which `kinds` [N], and the teacher's `answers` [N, E] fp16."""

    texts: list[str]
    kinds: list[str]
    answers: Tensor
    held: Tensor

    def part(self, held: bool) -> Tensor:
        """The numbers of the phrases that are held out, or of the others."""
        return torch.nonzero(self.held == held)[:, 0]


def train_student(config: TextConfig, tokenizer: dict[str, Any], embed: Embed) -> Path:
    """Learn from `embed` (the teacher, whose `tokenizer.json` is `tokenizer`); returns the checkpoint's path.

    The checkpoint holds plain data: `kind`, `config`, `weights`, `tokenizer` (JSON text), `scores`.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    out, whole = Path(config.out), list(tokenizer["model"]["vocab"])
    small, _ = prune(tokenizer, lexicon_words())
    small["post_processor"] = None  # a bag of words with light layers needs no marks of beginning and end
    text = json.dumps(small, ensure_ascii=False)
    lesson = prepare(config, whole, embed)
    ids, lengths = tokens(text, lesson.texts)
    sizes = dataclasses.replace(config.network, vocabulary=len(small["model"]["vocab"]))
    student = TextStudent(sizes)
    pieces = [TEMPLATE.format(t.removeprefix("##")) for t in small["model"]["vocab"]]
    counts = torch.bincount(ids[lesson.part(False)].flatten(), minlength=sizes.vocabulary)
    student.begin(_answers(config, pieces, embed).float(), 1.0 + counts.clamp(max=1000))
    learn(student, ids, lengths, lesson, config)
    scores = judge(student, ids, lengths, lesson)
    stored = dataclasses.asdict(dataclasses.replace(config, network=sizes))
    state = {"kind": KIND, "config": stored, "weights": student.state_dict(), "tokenizer": text, "scores": scores}
    path = out / "last.ckpt"
    write_atomically(path, lambda stream: torch.save(state, stream))
    log.info("%s", json.dumps(scores))
    return path


def load_student(checkpoint: Path) -> tuple[TextStudent, dict[str, Any]]:
    """The student of a checkpoint, in evaluation mode, and its tokenizer (the object that `tokenizer.json` holds)."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = config_from(state["config"], TextConfig, str(checkpoint))
    student = TextStudent(config.network)
    student.load_state_dict(state["weights"])
    return student.eval().requires_grad_(False), json.loads(state["tokenizer"])


def prepare(config: TextConfig, whole: Sequence[str], embed: Embed) -> Lesson:
    """The phrases and the teacher's answers."""
    found = collect(config.phrases, whole)
    rows = [(p, kind) for kind, phrases in found.items() for p in phrases]
    log.info("phrases: %s", {kind: len(phrases) for kind, phrases in found.items()})
    texts = [p if kind in BARE else TEMPLATE.format(p) for p, kind in rows]
    held = torch.tensor([held_out(p) for p, _ in rows])
    return Lesson(texts, [kind for _, kind in rows], _answers(config, texts, embed), held)


def tokens(tokenizer: str, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids [N, T] int64, padded with 0, and the number of tokens of each text [N]."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(tokenizer)
    made.enable_padding(pad_id=0)
    encoded = made.encode_batch(list(texts))
    lengths = torch.tensor([sum(e.attention_mask) for e in encoded])
    return torch.tensor([e.ids for e in encoded]), lengths


def learn(student: TextStudent, ids: Tensor, lengths: Tensor, lesson: Lesson, config: TextConfig) -> None:
    """Bring the student's embeddings of the phrases that are not held out near the teacher's: 1 - cosine, Adam."""
    table = list(student.words.parameters())
    others = [p for name, p in student.named_parameters() if not name.startswith("words.")]
    rates = [{"params": table, "lr": config.rate * config.table_rate}, {"params": others, "lr": config.rate}]
    optimiser = torch.optim.Adam(rates)
    warmup = max(1, min(100, config.steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda s: min(1.0, (s + 1) / warmup) * 0.5 * (1 + math.cos(math.pi * s / config.steps)),
    )
    seen, generator, since = lesson.part(False), torch.Generator().manual_seed(config.seed), time.monotonic()
    student.train()
    for step, rows in enumerate(_batches(seen, lengths, config, generator)):
        loss = 1 - (_embeddings(student, ids, lengths, rows) * F.normalize(lesson.answers[rows].float())).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            log.info("step %d, loss %.4f, %.0f s", step, loss.item(), time.monotonic() - since)
    student.eval()


@torch.no_grad()
def judge(student: TextStudent, ids: Tensor, lengths: Tensor, lesson: Lesson) -> dict[str, float]:
    """On held-out phrases: mean and 5th percentile of the cosine to the teacher, in all and by kind; and `nearest`, the
    share of held-out words whose nearest noun of the sentences, by the teacher's own embeddings, is the teacher's.
    """
    held = lesson.part(True)
    ours = torch.cat([_embeddings(student, ids, lengths, rows) for rows in held.split(512)])
    theirs = F.normalize(lesson.answers[held].float())
    cosine, kinds = (ours * theirs).sum(1), np.array([lesson.kinds[i] for i in held.tolist()])
    scores = {"cosine": float(cosine.mean()), "cosine, 5th percentile": float(cosine.quantile(0.05))}
    for kind in dict.fromkeys(kinds.tolist()):
        scores[f"cosine, {kind}"] = float(cosine[torch.from_numpy(kinds == kind)].mean())
    nouns = torch.tensor([k == "nouns" for k in lesson.kinds]) & ~lesson.held
    words = torch.from_numpy(np.isin(kinds, ("nouns", "words", "plurals", "attributes")))
    list_ = F.normalize(lesson.answers[nouns].float()).T
    if words.any() and list_.numel():
        same = (ours[words] @ list_).argmax(1) == (theirs[words] @ list_).argmax(1)
        scores["nearest"] = float(same.float().mean())
    return {name: round(value, 4) for name, value in scores.items()}


def _embeddings(student: TextStudent, ids: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
    longest = int(lengths[rows].max())
    mask = torch.arange(longest)[None] < lengths[rows][:, None]
    found: Tensor = student(ids[rows][:, :longest], mask.long())
    return found


def _batches(seen: Tensor, lengths: Tensor, config: TextConfig, generator: torch.Generator) -> Any:
    """Rows of each step; phrases of like length go together, else much of the work would be padding."""
    left = config.steps
    while left:
        order = seen[torch.randperm(len(seen), generator=generator)]
        for bunch in order.split(BUNCH * config.batch):
            rows = bunch[lengths[bunch].argsort(stable=True)].split(config.batch)
            for index in torch.randperm(len(rows), generator=generator)[:left].tolist():
                yield rows[index]
                left -= 1


def _answers(config: TextConfig, texts: list[str], embed: Embed) -> Tensor:
    """The teacher's embeddings [N, E] fp16, kept in `out` from run to run; the long texts are asked last."""
    path = Path(config.out) / f"answers-{fingerprint(config.teacher, config.bf16, texts)}.npy"
    if not path.is_file():
        order, since = sorted(range(len(texts)), key=lambda i: len(texts[i])), time.monotonic()
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            found = embed([texts[i] for i in order]).half()
        rows = np.empty(found.shape, np.float16)
        rows[order] = found.numpy()
        write_atomically(path, lambda stream: np.save(stream, rows))
        log.info("the teacher answered %d texts in %.0f s", len(texts), time.monotonic() - since)
    return torch.from_numpy(np.load(path, allow_pickle=False))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Train the starter's sentence encoder from a large one.")
    parser.add_argument("--config", type=Path, required=True)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config = load_config(parser.parse_args().config, TextConfig)
    torch.set_num_threads(config.threads)
    folder = text_folder(config.teacher)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    print(train_student(config, tokenizer, minilm(config.teacher)))


if __name__ == "__main__":
    main()
