"""The page in a real browser: no complaint, nothing beyond the edge, readable in light and dark, printable.

Part of `make e2e`; skipped where there is no Chromium. With IMAGES=folder the images are kept, to be looked at.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.reports import synthetic
from tests.reports.browser import DESKTOP, PHONE, Page, browser, chromium

from inspire_vla.reports.attention_figures import share_chart
from inspire_vla.reports.figures import save
from inspire_vla.reports.page import write_page
from inspire_vla.reports.timeline import write_timelines

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(chromium() is None, reason="needs Chromium")]
KEEP = os.environ.get("IMAGES")

CONTRAST = """
(() => {
  const luminance = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/rgba\\(.*, 0(\\.\\d+)?\\)|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("h1, h2, h3, p, td, th, figcaption, dt, dd, span, b")].filter((e) =>
    e.offsetWidth && [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())
    && !/rgba/.test(e.style.background)
  ).map((e) => {
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(ground(e))].sort((x, y) => y - x);
    return [(a + .05) / (b + .05), e.textContent.slice(0, 40)];
  }).sort((x, y) => x[0] - y[0])[0];
})()
"""  # noqa: E501  the least contrast of any text to what is behind it


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    comparison = synthetic.comparison(folder)
    path = write_page(folder / "page.html", comparison, notes=["A note."], attention=synthetic.attention())
    write_timelines(folder / "timelines.svg", [e for e in comparison["episodes"] if e["video"]])
    save(share_chart(synthetic.attention().measured), folder / "shares.svg", dark=True)
    return path


@pytest.fixture(scope="module")
def tab():
    with browser() as page:
        yield page


def image(tab: Page, name: str, *, whole: bool = False) -> np.ndarray:
    data = tab.image(whole=whole)
    if KEEP:
        Path(KEEP, f"{name}.png").write_bytes(data)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_it_fits_and_reads(tab: Page, page: Path, size: tuple[int, int], dark: bool) -> None:
    tab.show(size=size, dark=dark).open(page.as_uri())
    assert tab.complaints == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert tab.overflow() == []
    ratio, text = tab.evaluate(CONTRAST)
    assert ratio >= 4.5, text
    shown = image(tab, f"page_{size[0]}_{'dark' if dark else 'light'}", whole=bool(KEEP))
    assert (shown[:20].mean() < 60) == dark


def test_films_play_and_their_timelines_follow(tab: Page, page: Path) -> None:
    tab.show().open(page.as_uri())
    at = tab.evaluate(
        """(async () => {
          const film = document.querySelector("video"), chart = film.closest(".film").querySelector(".time svg");
          film.dataset.stopped = "1";  // it would play as soon as it is in view
          await new Promise((done) => { film.onseeked = done; film.pause(); film.currentTime = 2; });
          const line = chart.querySelector(".t-now"), box = chart.getBoundingClientRect();
          const before = +line.getAttribute("x1");
          await new Promise((done) => {
            film.onseeked = done;
            chart.dispatchEvent(new MouseEvent("click", { clientX: box.left + box.width * 118 / 440 }));
          });
          return [before, film.currentTime, +line.getAttribute("x1"), chart.dataset.steps];
        })()"""
    )
    steps = int(at[3])
    assert at[0] == pytest.approx(118 + (428 - 118) * 2 * 10 / steps, abs=0.5)  # 2 s of 10 images
    assert at[1:3] == [0, 118]
    assert tab.complaints == []


def test_it_prints_light_with_images_for_films(tab: Page, page: Path) -> None:
    tab.show(dark=True, media="print").open(page.as_uri())
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)",
        "rgb(251, 251, 249)",
    )
    assert tab.evaluate("document.querySelector('video').offsetWidth") == 0
    assert tab.evaluate("document.querySelector('.still').offsetWidth") > 100
    assert tab.pdf().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["timelines", "shares"])
def test_figures_of_their_own_are_light_and_dark(tab: Page, page: Path, name: str) -> None:
    brightness = []
    for dark in (False, True):
        tab.show(dark=dark).open((page.parent / f"{name}.svg").as_uri())
        brightness.append(image(tab, f"{name}_{'dark' if dark else 'light'}")[5:100, 5:100].mean())
    assert brightness[0] > 200
    assert brightness[1] < 80
    assert tab.complaints == []
