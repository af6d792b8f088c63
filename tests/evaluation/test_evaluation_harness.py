"""eyas as a model of lm-evaluation-harness, on tasks that lie here."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from documents import jsonl
from weights import write_model

import eyas
from eyas.data import tokenizer_for
from eyas.demo.tasks import FOLDER
from eyas.evaluation import open_work
from eyas.generation.sampling import GREEDY
from eyas.generation.stream import generate

pytest.importorskip("lm_eval", reason="lm_eval (lm-evaluation-harness) is not installed")
pytestmark = pytest.mark.filterwarnings("default")  # other people's

BASE = FOLDER / "base.pth"
CHOICES = [
    {"text": "once upon a", "choices": [" time", " zebra", " nine"], "answer": 0},
    {"text": "two and two is", "choices": [" four", " blue"], "answer": 0},
    {"text": "a b c d e f", "choices": [" q", " g"], "answer": 1},
    {"text": "ab ab ab ab", "choices": [" ab", " cd"], "answer": 1},
]
TASKS = {
    "choice": """
        task: eyas_choice
        output_type: multiple_choice
        doc_to_text: "{{text}}"
        doc_to_choice: "{{choices}}"
        doc_to_target: "{{answer}}"
        target_delimiter: ""
        metric_list: [{metric: acc}, {metric: acc_norm}]
    """,
    "text": """
        task: eyas_text
        output_type: loglikelihood_rolling
        doc_to_text: ""
        doc_to_target: "{{text}}"
        metric_list: [{metric: bits_per_byte}]
    """,
    "written": """
        task: eyas_written
        output_type: generate_until
        doc_to_text: "{{text}}"
        doc_to_target: "{{text}}"
        generation_kwargs: {until: ["\\n"], max_gen_toks: 12, do_sample: false}
        metric_list: [{metric: exact_match}]
    """,
}


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder of tasks over one jsonl file."""
    data = jsonl(tmp_path, *CHOICES)
    for name, lines in TASKS.items():
        body = "\n".join(line.strip() for line in lines.strip().splitlines())
        files = f"dataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(f"{body}\n{files}test_split: test\n")
    return tmp_path


def evaluated(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    import lm_eval
    from lm_eval.tasks import TaskManager

    import eyas.evaluation.harness  # noqa: F401

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tasks / "cache"))
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model="eyas",
        model_args={"model": str(BASE), "rows": 3, "chunk": 5},
        tasks=["eyas_choice", "eyas_text", "eyas_written"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
    )
    return found


@torch.no_grad()
def test_it_finds_what_we_find(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = evaluated(tasks, monkeypatch)
    model = eyas.load(BASE)
    tokens = tokenizer_for(model.vocab_size, BASE, None)
    ours = open_work(tasks / "data.jsonl", tokens, model.vocab_size).measures(model)
    choice = found["results"]["eyas_choice"]
    assert choice["acc,none"] == ours["accuracy"].value
    assert 0 < choice["acc,none"] < 1
    bits = 0.0
    for record in CHOICES:
        ids = torch.tensor([[0, *tokens.encode(record["text"])]])
        logits, _ = model(ids[:, :-1])
        bits += torch.nn.functional.cross_entropy(logits[0], ids[0, 1:], reduction="sum").item()
    bits /= torch.log(torch.tensor(2.0)).item() * sum(len(r["text"]) for r in CHOICES)
    assert found["results"]["eyas_text"]["bits_per_byte,none"] == pytest.approx(bits, rel=1e-5)
    for sample in found["samples"]["eyas_written"]:
        pieces = generate(model, tokens, sample["doc"]["text"], GREEDY, 12, ("\n",), 0)
        assert sample["resps"][0][0] == "".join(pieces)


def test_log_likelihoods_are_those_of_the_samples(tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.api.registry import get_model

    import eyas.evaluation.harness

    path = write_model(tmp_path / "m.pth")
    harness = get_model("eyas")(model=str(path), tokenizer="bytes", batch_size=4, device="cpu")
    pairs = [("ab", "cde"), ("", "xyz"), ("abcdefgh ", "i")]
    asked = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    model = eyas.load(path)
    for (context, rest), (total, _) in zip(pairs, harness.loglikelihood(asked), strict=True):
        # The harness moves blanks at the end of a context to what follows.
        rest = context[len(context.rstrip()) :] + rest
        ids = torch.tensor([[*(context.rstrip().encode() or [0]), *rest.encode()]])
        logits, _ = model(ids[:, :-1])
        found = logits[0].log_softmax(-1).gather(1, ids[0, 1:, None])[-len(rest) :].sum().item()
        assert total == pytest.approx(found, rel=1e-5)
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    assert harness.apply_chat_template(chat) == "System: s\n\nUser: q\n\nAssistant:"


def test_the_command_line(tasks: Path) -> None:
    out = tasks / "out"
    command = [sys.executable, "-m", "eyas.evaluation.harness", "run", "--model", "eyas"]
    command += ["--model_args", f"model={BASE}", "--tasks", "eyas_choice"]
    command += ["--include_path", str(tasks), "--output_path", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tasks)
    assert done.returncode == 0, done.stderr
    (results,) = out.rglob("results*.json")
    assert json.loads(results.read_text())["results"]["eyas_choice"]["acc,none"] > 0
