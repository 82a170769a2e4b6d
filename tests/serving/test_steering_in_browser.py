"""The steering page in a real browser, when its server hangs, ends and comes back.

Part of `make e2e`; skipped where there is no Chromium. With IMAGES=folder the images are kept, to be looked at.
"""

import os
import threading
from pathlib import Path

import pytest
from tests.reports.browser import DESKTOP, PHONE, Page, browser, chromium
from tests.serving.test_steering import BENCHMARK
from tests.serving.toy_server import Running, ToyAgent, until

from inspire_vla.serving.steering.server import SteeringServer

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(chromium() is None, reason="needs Chromium")]
KEEP = os.environ.get("IMAGES")
SAID = "document.getElementById('lost').checkVisibility() && document.getElementById('lost').textContent"
DISABLED = "[...document.querySelectorAll('button, input, select')].every((e) => e.matches(':disabled'))"
STEPS = "document.getElementById('steps').textContent"
FIELD = "document.getElementById('instruction')"
TYPED = "document.getElementById('instruct').classList.contains('typed')"


def serve(port: int = 0) -> Running:
    return Running(SteeringServer(ToyAgent(), BENCHMARK, port=port, hz=100))


def is_lost(tab: Page) -> bool:
    return "lost" in (tab.evaluate(SAID) or "") and tab.evaluate(DISABLED)


def is_live(tab: Page) -> bool:
    return not tab.evaluate(SAID) and not tab.evaluate(DISABLED)


def step(tab: Page, expected: str) -> None:
    tab.evaluate("document.getElementById('step').click()")
    until(lambda: tab.evaluate(STEPS) == expected)


def write(tab: Page, text: str) -> None:
    """As with the keyboard: into what has the focus."""
    tab.call("Input.insertText", text=text)


def press(tab: Page, key: str, code: int) -> None:
    for kind in ("keyDown", "keyUp"):
        tab.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            windowsVirtualKeyCode=code,
            text="\r" * (key == "Enter"),
        )


@pytest.fixture(scope="module")
def tab():
    with browser() as page:
        yield page


def test_a_server_that_ends_is_said_and_its_successor_is_found(tab: Page) -> None:
    with serve() as server:
        tab.show().open(f"http://127.0.0.1:{server.port}/")
        until(lambda: is_live(tab))
        step(tab, "step 1")
        server.stop()
        until(lambda: is_lost(tab))
        for name, size, dark in (("desktop", DESKTOP, False), ("phone", PHONE, True)):
            tab.show(size=size, dark=dark)
            assert tab.overflow() == []
            if KEEP:
                tab.image(Path(KEEP, f"steer_lost_{name}.png"), whole=False)
        with serve(server.port):
            until(lambda: is_live(tab))
            assert tab.evaluate(STEPS) == "step 0"  # of the new session
            step(tab, "step 1")
            if KEEP:
                tab.show().image(Path(KEEP, "steer_back.png"), whole=False)


def test_a_server_that_hangs_is_said_though_it_closes_nothing(tab: Page) -> None:
    with serve() as server:
        tab.show().open(f"http://127.0.0.1:{server.port}/")
        until(lambda: is_live(tab))
        goes_on = threading.Event()
        server.loop.call_soon_threadsafe(goes_on.wait, 60)
        try:
            until(lambda: is_lost(tab))
        finally:
            goes_on.set()
        until(lambda: is_live(tab))
        step(tab, "step 1")


def test_a_half_typed_instruction_outlives_the_connection(tab: Page) -> None:
    with serve() as server:
        tab.show().open(f"http://127.0.0.1:{server.port}/")
        until(lambda: is_live(tab))
        tab.evaluate(f"{FIELD}.select()")
        write(tab, "open the")
        server.stop()
        until(lambda: is_lost(tab))
        with serve(server.port) as successor:
            until(lambda: is_live(tab))
            assert tab.evaluate(f"{FIELD}.value") == "open the"
            write(tab, " drawer")  # goes on where it stopped
            press(tab, "Enter", 13)
            until(lambda: successor.server.session.instruction == "open the drawer")
            until(lambda: not tab.evaluate(TYPED))


def test_typed_text_stays_until_the_server_has_it_or_the_person_gives_it_up(tab: Page) -> None:
    with serve() as server:
        tab.show().open(f"http://127.0.0.1:{server.port}/")
        until(lambda: is_live(tab))
        tab.evaluate(f"{FIELD}.select()")
        write(tab, "open the")
        tab.evaluate(f"{FIELD}.blur()")
        step(tab, "step 1")  # the server sends its own instruction
        assert tab.evaluate(f"{FIELD}.value") == "open the"
        if KEEP:
            tab.image(Path(KEEP, "steer_typed.png"), whole=False)
        tab.evaluate("socket.close(); document.getElementById('instruct').requestSubmit()")  # not heard
        until(lambda: is_lost(tab))
        until(lambda: is_live(tab))
        assert (tab.evaluate(f"{FIELD}.value"), tab.evaluate(TYPED)) == ("open the", True)
        tab.evaluate(f"{FIELD}.focus()")
        press(tab, "Escape", 27)
        assert (tab.evaluate(f"{FIELD}.value"), tab.evaluate(TYPED)) == ("pick up the red cube", False)
