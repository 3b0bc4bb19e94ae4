"""How the prompt is set: all of it, in the right order, with typefaces that have its characters."""

# ruff: noqa: RUF001 - prompts come in every script
import pytest
import regex

from frame_gen.drawing.breaks import break_after
from frame_gen.drawing.card import SUBSTITUTE, plan_card
from frame_gen.drawing.direction import base_direction, visual_order
from frame_gen.drawing.fonts import DISPLAY, EMOJI, LATIN, order_for, typeface_for
from frame_gen.drawing.paragraph import Paragraph

PROMPTS = {
    "one word": "Ocean",
    "short": "A serene mountain landscape at sunrise",
    "300 characters": "A lone keeper climbs the stairs at dusk, lantern in hand, while a storm. "
    * 4,
    "4,000 characters": ("The camera glides over a terraced valley where mist pools. " * 70)[:4000],
    "no spaces": "x7Kq" * 1000,
    "narrow": "i" * 4000,
    "Greek": "Ένα γαλήνιο ορεινό τοπίο την ανατολή",
    "Russian": "Спокойный горный пейзаж на рассвете",
    "Vietnamese": "Phong cảnh núi non thanh bình lúc bình minh",
    "Chinese": ("在晨雾弥漫的山谷中，古老的石桥横跨清澈的溪流，远处的寺庙钟声悠扬。" * 120)[:4000],
    "Japanese": "静かな山の風景、「日の出」。湖面に映る紅葉と、遠くに霞む富士山。",
    "Korean": "일출의 고요한 산 풍경, 호수에 비친 단풍",
    "Arabic": "منظر جبلي هادئ عند شروق الشمس، مع بحيرة صافية تعكس 3.5 قمم (مغطاة)",
    "Hebrew": "נוף הררי שליו בזריחה, אגם צלול (כמו מראה) ו-12 ברבורים",
    "Hindi": "सूर्योदय के समय शांत पहाड़ी दृश्य, झील में प्रतिबिंब",
    "Thai": "ทิวทัศน์ภูเขาอันเงียบสงบยามพระอาทิตย์ขึ้น",
    "emoji": "🌅 Sunrise over the 🏔️ mountains, a family 👨‍👩‍👧‍👦 by the lake 🇨🇭 ❤️ 1️⃣",
    "mixed": "Ελληνικά, Русский, العربية, עברית, 日本語, 한국어, हिन्दी, ไทย 😀 – one scene",
    "lines": "Act one\nA door opens onto the snow.\n\nAct two\nNobody is there.",
}
PRESETS = [(854, 480), (1280, 720), (1920, 1080), (3840, 2160), (480, 854)]


def shown_text(card) -> str:
    """The text of the layout, its paragraphs joined by line breaks."""
    paragraphs = list(dict.fromkeys(line.paragraph for line in card.layout.lines))
    lines = {
        p: [line.text for line in card.layout.lines if line.paragraph is p] for p in paragraphs
    }
    return "\n".join("".join(lines[p]) for p in paragraphs)


@pytest.mark.parametrize("name", PROMPTS)
@pytest.mark.parametrize("size", PRESETS)
def test_the_whole_prompt_is_set_and_fits(name, size):
    prompt = PROMPTS[name]
    card = plan_card(prompt, *size)
    layout = card.layout
    assert shown_text(card) == prompt.strip()
    assert card.missing == ()
    assert card.shown == card.length
    assert layout.fits
    assert layout.size >= 6
    assert layout.rows * layout.leading <= card.region.height + 1e-6
    for line in layout.lines:
        _, width = line.paragraph.set_line(line.start, line.end)
        assert width * layout.size <= layout.column_width * 1.01


def test_type_has_the_same_share_of_the_picture_at_every_preset():
    small, large = (plan_card(PROMPTS["short"], *size) for size in ((1280, 720), (3840, 2160)))
    assert large.layout.size == pytest.approx(3 * small.layout.size, rel=0.03)
    assert [line.text for line in large.layout.lines] == [line.text for line in small.layout.lines]


def test_short_text_is_large_and_long_text_stands_in_columns():
    short, long = (plan_card(PROMPTS[n], 1920, 1080) for n in ("short", "4,000 characters"))
    assert short.layout.size > 100
    assert short.layout.columns == 1
    assert long.layout.size > 20
    assert long.layout.columns > 1


def test_lines_of_a_short_text_are_about_equally_long():
    card = plan_card("A bustling city skyline at night, seen from a hill", 1920, 1080)
    widths = [line.paragraph.set_line(line.start, line.end)[1] for line in card.layout.lines]
    assert len(widths) == 2
    assert min(widths) > 0.6 * max(widths)


def test_words_are_whole_where_they_fit_into_a_line():
    card = plan_card(PROMPTS["4,000 characters"], 854, 480)
    assert all(line.text.endswith(" ") for line in card.layout.lines[:-1])


def test_no_line_starts_with_a_closing_mark_or_ends_with_an_opening_one():
    card = plan_card(PROMPTS["Chinese"] + "「日の出」" * 20, 1920, 1080)
    lines = [line.text for line in card.layout.lines]
    assert len(lines) > 50
    assert not [line for line in lines if line[0] in "，。」" or line[-1] == "「"]


def test_a_picture_too_small_for_the_prompt_shows_its_beginning_and_an_ellipsis():
    card = plan_card(PROMPTS["4,000 characters"], 64, 64)
    text = shown_text(card)
    assert text.endswith("…")
    assert 20 < card.shown < card.length
    assert text[:-1] == PROMPTS["4,000 characters"][: card.shown].rstrip()
    assert card.layout.size >= 6


def test_more_lines_than_fit_become_running_text():
    card = plan_card("a\n" * 2000, 1920, 1080)
    assert shown_text(card) == "a " * 1999 + "a"
    assert card.shown == card.length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A well-known place, (see 3/4)", ["A ", "well-", "known ", "place, ", "(see ", "3/4)"]),
        ("a\u00a0b -5 m", ["a\u00a0b ", "-5 ", "m"]),
        ("山の上、「朝日」", ["山", "の", "上、", "「朝", "日」"]),
        ("한국어 문장", ["한국어 ", "문장"]),
        ("hi😀👨‍👩‍👧", ["hi", "😀", "👨‍👩‍👧"]),
    ],
)
def test_lines_may_end_where_readers_expect_it(text, expected):
    clusters = regex.findall(r"\X", text)
    parts = [""]
    for cluster, ends in zip(clusters, break_after(clusters), strict=True):
        parts[-1] += cluster
        if ends:
            parts.append("")
    assert parts[:-1] == expected


@pytest.mark.parametrize(
    ("text", "rtl", "expected"),
    [
        ("abc אבג", False, "abc גבא"),
        ("אבג abc", True, "abc גבא"),
        ("שנת 2024, 3.5 מ", True, "מ 3.5 ,2024 תנש"),
        ("abc (אב) c", False, "abc (בא) c"),
    ],
)
def test_mixed_text_stands_in_visual_order(text, rtl, expected):
    assert base_direction(text) == rtl
    order = visual_order(text, rtl)
    assert sorted(index for index, _ in order) == list(range(len(text)))
    assert "".join(text[index] for index, _ in order) == expected


def test_arabic_letters_are_joined_and_run_from_the_right():
    text = "بحر"
    glyphs, _ = Paragraph(text, order_for(text), DISPLAY).set_line(0, 3)
    alone = [Paragraph(c, order_for(c), DISPLAY).set_line(0, 1)[0][0].number for c in text]
    assert [glyph.index for glyph in glyphs if glyph.advance > 0.1] == [2, 1, 0]
    assert len({glyph.number for glyph in glyphs} - set(alone)) >= 2


@pytest.mark.parametrize("emoji", ["👨‍👩‍👧‍👦", "🇨🇭", "❤️", "1️⃣", "👍🏽"])
def test_an_emoji_sequence_is_one_coloured_glyph(emoji):
    assert typeface_for(emoji, order_for(emoji)) is EMOJI
    glyphs, _ = Paragraph(emoji, order_for(emoji), DISPLAY).set_line(0, len(emoji))
    assert len([glyph for glyph in glyphs if glyph.advance > 0.1]) == 1


def test_digits_and_signs_in_text_are_no_emoji():
    assert {typeface_for(c, order_for(c)) for c in "0123456789#*©"} == {LATIN}


def test_characters_without_a_typeface_are_named_and_substituted():
    card = plan_card("A scene in 𒀀𒁀 and ქ, 𒀀 again", 1280, 720)
    assert card.missing == ("𒀀", "𒁀", "ქ")
    assert shown_text(card) == f"A scene in {SUBSTITUTE * 2} and {SUBSTITUTE}, {SUBSTITUTE} again"


def test_what_cannot_be_seen_is_left_out_without_a_complaint():
    card = plan_card("\u202eA\u0000 \ufeffscene\tat\r\nnight\u2069\u200b\n\n\n\n\nnow ", 1280, 720)
    assert card.missing == ()
    assert (
        shown_text(card).replace("\ufeff", "").replace("\u200b", "") == "A scene at\nnight\n\nnow"
    )
