"""JSON and lists after a shell took them apart: what arrives is what was meant."""

import pytest
from shell_words import words_of

from eyas.rwkv_peft.mangled import list_of, settings_of

PISSA = {"pissa_load": "", "pissa_init": "", "pissa_r": 32, "svd_niter": 4}
LORA = {"lora_load": "/my models/a, b.pth", "lora_r": 8, "lora_dropout": 0.01}


def arrived(script: str, shell: str, flag: str) -> list[str]:
    words = words_of(script, shell)
    begin = words.index(flag) + 1
    rest = [at for at, word in enumerate(words[begin:], begin) if word.startswith("--")]
    return words[begin : rest[0] if rest else None]


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    "line",
    [
        """c='{"pissa_load":"","pissa_init":"","pissa_r":32,"svd_niter":4}'; @ "$c" """,
        """c='{"pissa_load":"","pissa_init":"","pissa_r":32,"svd_niter":4}'; @ $c""",
        """c='{"pissa_load":"", "pissa_init":"", "pissa_r":32, "svd_niter":4}'; @ $c""",
        """c='{ "pissa_load" : "", "pissa_init" : "",  "pissa_r" : 32, "svd_niter": 4 }'; @ $c""",
        """c="{"pissa_load":"","pissa_init":"","pissa_r":32,"svd_niter":4}"; @ $c""",
        """@ {"pissa_load":"","pissa_init":"","pissa_r":32,"svd_niter":4}""",
        """@ {"pissa_load":"", "pissa_init":"", "pissa_r":32, "svd_niter":4}""",
        """@ {"pissa_load": "", "pissa_init": "", "pissa_r": 32, "svd_niter": 4}""",
        """@ "{'pissa_load':'','pissa_init':'','pissa_r':32,'svd_niter':4}" """,
        """@ \\{\\"pissa_load\\":,\\"pissa_init\\":,\\"pissa_r\\":32,\\"svd_niter\\":4\\}""",
    ],
)
def test_settings_through_a_shell(folder, shell: str, line: str) -> None:  # noqa: ARG001
    script = line.replace("@", "python train.py --peft pissa --pissa_config") + " --fla"
    assert settings_of(arrived(script, shell, "--pissa_config")) == PISSA


@pytest.mark.parametrize("words", [["{pissa_r:4}"], ["pissa_r:4"], ["'{\"pissa_r\":4}'"]])
def test_one_setting(words: list[str]) -> None:
    assert settings_of(words) == {"pissa_r": 4}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (['{"lora_load":"/my', "models/a,", 'b.pth","lora_r":8,"lora_dropout":0.01}'], LORA),
        (["{lora_load:/my", "models/a,", "b.pth,lora_r:8,lora_dropout:0.01}"], LORA),
        (["{load:C:/a.pth,r:8}"], {"load": "C:/a.pth", "r": 8}),
        (["load:C:\\a.pth", "r:8"], {"load": "C:\\a.pth", "r": 8}),
        (["{lora_parts:att,ffn,time}"], {"lora_parts": "att,ffn,time"}),
        (["lora_parts:att", "ffn", "lora_r:2"], {"lora_parts": "att ffn", "lora_r": 2}),
        (["{mode:bone,load:,r:64}"], {"mode": "bone", "load": "", "r": 64}),
        (['{"mask0":"User:","mask1":"Assistant:"}'], {"mask0": "User:", "mask1": "Assistant:"}),
        (["{}"], {}),
    ],
)
def test_values_that_are_paths_lists_or_empty(
    words: list[str], expected: dict[str, object]
) -> None:
    assert settings_of(words) == expected


@pytest.mark.parametrize("words", [["32"], ["[1, 2]"], ["pissa"], ["out", "r:3"]])
def test_what_is_no_object(words: list[str]) -> None:
    with pytest.raises(ValueError, match="is no JSON object"):
        settings_of(words)


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    "written", ["time ln", '["time","ln"]', '["time", "ln"]', """'["time","ln"]'""", "time,ln"]
)
def test_lists_through_a_shell(folder, shell: str, written: str) -> None:  # noqa: ARG001
    words = arrived(f"python train.py --train_parts {written} --fla", shell, "--train_parts")
    assert list_of(words) == ("time", "ln")


def test_an_empty_list() -> None:
    assert list_of([]) == list_of(["[]"]) == ()
