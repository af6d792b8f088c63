"""What `eyas doctor` says of this machine."""

from eyas import native


def test_it_says_what_is_in_use_and_times_it(eyas) -> None:
    code, out, err = eyas("doctor")
    assert (code, err) == (0, "")
    assert "GFLOP/s" in out
    assert "torch" in out
    serving = "chunked" if native.missing() else "native"
    assert f"WKV operators: {serving} on the CPU" in " ".join(out.split())
    assert " ".join(out.split()).count("ms:") == 2
