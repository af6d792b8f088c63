"""The first signal asks, the second one acts; one that was ignored stays so."""

import os
import signal
import threading

import pytest

from eyas.training.interrupt import Asked, interruptible


def test_the_first_asks_and_the_second_acts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as stop:
        assert stop() == Asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop().signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interruptible() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert stop() == Asked()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop().signal == signal.SIGTERM
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_checkpoint_is_asked_for_once() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with interruptible() as asked:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert asked() == Asked(0, save=True)
        assert asked() == Asked()
    assert signal.getsignal(signal.SIGUSR1) is before


def test_a_thread_catches_nothing() -> None:
    said = []

    def inside() -> None:
        with interruptible() as stop:
            said.append(stop())

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert said == [Asked()]
