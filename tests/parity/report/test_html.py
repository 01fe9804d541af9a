"""The page is one valid, accessible, silent file, whatever the result holds."""

import json
import re
import time
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from parity import report
from parity.compare import join
from parity.report import html, terminal

from . import gold, made

VOID = {"meta", "input", "img", "br", "link", "hr"}
SHAPES = {"circle", "path", "rect"}
KINDS = ("small", "match", "incomplete", "hostile", "empty", "local", "several", "hostile-several", "program", "off")
STYLES = Path(html.__file__).parent / "templates" / "report.css"


class Page(HTMLParser):
    """Collects elements, and complains when one is not closed in its turn."""

    def __init__(self, text):
        """Read the whole page."""
        super().__init__()
        self.elements, self.open, self.data = [], [], {}
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        """Open an element."""
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute twice in {tag}"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        """Take an element that closes itself."""
        assert tag in SHAPES | VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        """Close the innermost element."""
        assert self.open[-1:] == [tag], f"</{tag}> closes another element"
        self.open.pop()

    def handle_data(self, data):
        """Keep what a script holds."""
        if self.open and self.open[-1] == "script":
            self.data[self.elements[-1][1].get("id", "")] = data

    def all(self, tag):
        """Return the attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    found = {}
    for kind in KINDS:
        result = made.make(kind, folder)
        text = html.page(result)
        found[kind] = (result, text, Page(text))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_verdict_stands_in_the_title_and_in_the_only_main_heading(kind, pages):
    result, text, page = pages[kind]
    assert f"<title>{result.verdict} ·" in text
    assert len(page.all("h1")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_loaded_from_anywhere(kind, pages):
    _, text, page = pages[kind]
    assert not page.all("link")
    assert not page.all("iframe")
    assert not page.all("base")
    assert all("src" not in script for script in page.all("script"))
    for _, attributes in page.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/png;base64,")), value
    policy = next(meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", STYLES.read_text())


@pytest.mark.parametrize("kind", ["hostile", "hostile-several"])
def test_a_hostile_result_adds_no_element_and_no_attribute(kind, pages):
    _, text, page = pages[kind]
    assert len(page.all("script")) == 5
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "<script>alert" not in text
    assert "onerror=alert(1)>" not in text.replace("&gt;", "")[: text.index("data-figures")]
    assert "&lt;script&gt;alert" in text


@pytest.mark.parametrize("kind", KINDS)
def test_data_in_the_page_are_valid_json_and_hold_every_pair(kind, pages):
    result, _, page = pages[kind]
    assert json.loads(page.data["data-pairs"])["count"] == len(result.pairs)
    assert set(json.loads(page.data["data-figures"])) <= {"depth", "steps", "heat"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_can_be_walked_without_seeing_it(kind, pages):
    _, _, page = pages[kind]
    identifiers = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.elements:
        target = attributes.get("href", "#top")
        assert target == "#" or not target.startswith("#") or target[1:] in identifiers, target
        assert attributes.get("aria-labelledby", identifiers[0]) in identifiers
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert all(image.get("alt") for image in page.all("img"))
    assert all("scope" in head for head in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert all(svg.get("aria-hidden") == "true" for svg in page.all("svg"))
    assert all(
        attributes.get("aria-label")
        for _, attributes in page.elements
        if attributes.get("role") in {"region", "img", "search"}
    )


@pytest.mark.parametrize("kind", ["small", "match", "local"])
def test_every_section_says_how_to_read_it(kind, pages):
    _, text, page = pages[kind]
    sections = [attributes["id"] for attributes in page.all("section")]
    assert {
        "stages",
        "coverage",
        "chart-depth",
        "chart-steps",
        "chart-heat",
        "pairs",
        "images",
        "price",
        "provenance",
        "gaps",
        "again",
    } <= set(sections)
    assert text.count('<p class="read">') == len(sections) - 1


def test_a_mismatch_shows_card_cause_evidence_repair_and_price(pages):
    result, text, _ = pages["small"]
    cause = result.causes[0]
    for words in (
        cause.slug,
        "confirmed",
        cause.evidence[0],
        "4.0e-01",
        "9.1e-16",
        cause.repair.replace("'", "&#39;"),
        "0.209",
        "0.132",
        "candidate, from reference",
        "parity run fixtures/cases/tiny.toml",
    ):
        assert words.replace("'", "&#39;") in text, words
    assert "first divergence: yes (audit)" in text


def test_an_incomplete_result_names_what_has_no_reason(pages):
    _, text, _ = pages["incomplete"]
    assert "unet.up_blocks.2.resnets.1.conv_shortcut" in text
    assert "that the reference repeats itself was not checked" in text


def test_the_same_result_gives_the_same_bytes(tmp_path):
    first, second = (report.files(made.make("small", tmp_path)) for _ in range(2))
    assert {"report.html", "junit.xml", "images/reference_0.png"} <= first.keys()
    assert first == second


def test_twelve_thousand_pairs_stay_one_small_file_that_is_written_fast(huge):
    started = time.process_time()
    text = html.page(huge)
    assert time.process_time() - started < 8
    assert len(text.encode()) < 6.3e6


def contrast(first, second):
    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_colour_can_be_read_on_its_ground(scheme):
    blocks = re.findall(r":root \{(.*?)\n\s*\}", STYLES.read_text(), flags=re.DOTALL)
    colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", blocks[0]))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", blocks[1]))
    for text, grounds in {
        "text": ("page", "surface", "raised", "sunken", "inherited-bg", "match-bg"),
        "quiet": ("surface", "sunken"),
        "link": ("surface",),
        "match": ("surface", "match-bg"),
        "mismatch": ("surface", "mismatch-bg"),
        "other": ("surface", "other-bg"),
        "inherited": ("surface", "inherited-bg"),
        "none": ("surface", "none-bg"),
    }.items():
        for ground in grounds:
            assert contrast(colours[text], colours[ground]) >= 4.5, (scheme, text, ground)
    for line in ("free", "layers", "steps", "mismatch", "limit"):
        assert contrast(colours[line], colours["surface"]) >= 3, (scheme, line)


def test_several_candidates_stand_side_by_side(pages):
    result, text, page = pages["several"]
    labels = list(result.candidates)
    heads = [attributes["data-candidate"] for attributes in page.all("th") if "data-candidate" in attributes]
    assert heads == labels == ["port, float32", "port, float16", "other (plant x), float32"]
    assert "2 of 3 candidates match." in text
    assert "transposed-weight, confirmed" in text
    for name in ("divergence", "causes", "stages", "pairs", "images", "price", "coverage", "provenance"):
        assert f'<section id="{name}"' in text, name
    figures = json.loads(page.data["data-figures"])
    assert {curve["name"] for curve in figures["depth"]["semantics, free"]["data"]} >= set(labels)
    assert list(figures["steps"]) == ["semantics, free", "semantics, steps", "precision, free", "precision, steps"]


def test_every_pair_of_the_table_has_its_candidate(pages):
    result, _, page = pages["several"]
    texts = json.loads(page.data["data-pairs"])["texts"]
    assert texts["candidate"]["values"] == list(result.candidates)


OF_DIFFUSION = (
    "sampler", "Euler", "DDPM", "guidance", "prompt", "latents", "1024", "pixels", "picture", "seed", "encode", "image",
    "mid_block",
)  # fmt: skip


def test_a_page_about_another_program_holds_nothing_of_diffusion_but_what_its_case_says(tmp_path):
    result = made.make("program", tmp_path)
    told = gold.page(result) + gold.printed(lambda console: terminal.render(result, console))
    assert {word for word in OF_DIFFUSION if word in told} == {"seed"}
    assert told.count("seed") == 1
    assert "<dt>sampling.seed</dt><dd>7</dd>" in told
    assert "weights · 3 steps</p>" in told
    views = {"port, float32": result, "port, float16": made.make("program", tmp_path)}
    told = gold.page(join(views, before=made.base([])))
    assert {word for word in OF_DIFFUSION if word in told} == {"seed"}


def test_a_page_about_a_diffusion_model_says_all_of_it(tmp_path):
    told = gold.page(made.make("small", tmp_path))
    assert "EulerAncestral, 4 steps · 96 x 128 pixels" in told
    assert {word for word in OF_DIFFUSION if word in told} >= {"sampler", "Euler", "guidance", "prompt", "latents"}


@pytest.mark.parametrize("name", ["pairs.js", "several.js"])
def test_one_script_draws_the_rows_in_sight_and_the_others_say_what_a_row_is(name):
    script = (STYLES.parent / name).read_text(encoding="utf-8")
    assert script.count("rowTable({") == 1
    assert not re.search(r"scrollTop|replaceChildren|addEventListener|\.focus\(", script)
