"""What the prompt asks for is no damage: words that name a look, and cells that would lose it.

Of three kinds of looks the networks know least. ``marks``: sparse bright or dark points, such as stars and snow.
``texture``: fine patterns over everything, such as film grain and halftone. ``soft``: what is meant to be blurred.
A cell of such an image that loses marks, or texture, or that gains fine detail where softness was asked for, is
not taken. The table is a list of words, not an understanding: it may hold back a good repair, and never lets a
bad one through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from qrefine.config import Wish
from qrefine.quality.map import Image
from qrefine.quality.pixels import Flags
from qrefine.stages.guards import cell_mean

WORDS: Mapping[Wish, str] = {
    "marks": """
        star|stars|starry|starlight|starfield|stardust|night sky|milky way|galaxy|galaxies|nebula
        constellation|constellations|snow|snowfall|snowing|snowy|snowflake|snowflakes|snowstorm|blizzard
        rain|raining|rainy|raindrop|raindrops|drizzle|confetti|glitter|glittering|glittery|sparkle|sparkles
        sparkling|sequins|fireworks|fireflies|firefly|sparks|embers|dust motes|dust particles|dewdrops
        freckles|sprinkles|fairy lights|sterne|sternenhimmel|sternenklar|nachthimmel|milchstraße|schnee
        schneefall|schneeflocken|regen|regentropfen|konfetti|glitzer|glitzernd|feuerwerk|funken|glühwürmchen
        étoile|étoiles|étoilé|étoilée|voie lactée|neige|flocons|pluie|confettis|paillettes|étincelles
        lucioles|feux d'artifice|feu d'artifice|estrella|estrellas|estrellado|estrellada|vía láctea|nieve
        nevando|copos|lluvia|confeti|purpurina|brillantina|fuegos artificiales|chispas|luciérnagas|stella
        stelle|stellato|stellata|via lattea|neve|fiocchi|pioggia|coriandoli|brillantini|fuochi d'artificio
        scintille|lucciole|estrela|estrelas|estrelado|chuva|confete|fogos de artifício|faíscas|vagalumes
        звезда|звезды|звёзды|звездное|звёздное|млечный путь|снег|снегопад|снежинки|дождь|конфетти|блёстки
        салют|фейерверк|искры|星|银河|銀河|雪|雨|花火|烟花|煙火|紙吹雪|彩纸|闪光|萤火虫|蛍|별빛|별이|은하수
        눈송이|눈 내리는|불꽃놀이|반딧불
        """,
    "texture": """
        film grain|grainy|grain|35mm film|analog film|analogue film|polaroid|kodak portra|halftone|half-tone
        ben-day|ben day|comic|comics|comic book|manga|screentone|pixel art|pixelated|pixel-art|8-bit|8 bit
        16-bit|16 bit|mosaic|mosaics|tessellation|embroidery|embroidered|cross-stitch|cross stitch|knitted
        knitting|crochet|woven|weave|tapestry|burlap|canvas texture|stippling|stippled|stipple|pointillism
        pointillist|pointillistic|hatching|cross-hatching|crosshatching|engraving|engraved|etching|woodcut
        linocut|risograph|newsprint|dither|dithered|dithering|ascii art|glitch|glitch art|vhs|scanlines|crt
        noise texture|sandpaper|impasto|filmkorn|körnig|rasterdruck|pixelkunst|mosaik|stickerei|gestickt
        kreuzstich|gestrickt|holzschnitt|radierung|kupferstich|pointillismus|schraffur|grain de film
        pellicule|demi-teinte|bande dessinée|mosaïque|broderie|brodé|brodée|point de croix|tricot|tricoté
        gravure|pointillisme|hachures|grano de película|semitono|cómic|historieta|mosaico|bordado|bordada
        punto de cruz|tejido|grabado|puntillismo|grana della pellicola|mezzatinta|fumetto|ricamo|ricamato
        punto croce|incisione|puntinismo|granulado|meio-tom|quadrinhos|ponto cruz|gravura|pontilhismo
        зерно плёнки|зерно пленки|полутон|комикс|пиксель-арт|пиксель арт|мозаика|вышивка|гравюра|пуантилизм
        ドット絵|ピクセルアート|漫画|マンガ|モザイク|刺繍|版画|点描|像素|像素艺术|马赛克|馬賽克|刺绣|刺繡
        点彩|胶片颗粒|픽셀 아트|픽셀아트|만화|모자이크|자수|판화
        """,
    "soft": """
        bokeh|depth of field|shallow focus|soft focus|out of focus|out-of-focus|blurred background
        blurry background|blurred|blurry|long exposure|motion blur|panning shot|light trails|fog|foggy|mist
        misty|haze|hazy|tilt-shift|tilt shift|dreamy|watercolor|watercolour|ethereal glow|smoke|smoky|steam
        underwater haze|gaussian blur|f/1.2|f/1.4|f/1.8|macro photo|macro photography|unschärfe|unscharf
        verschwommen|weichzeichner|langzeitbelichtung|nebel|neblig|dunst|rauch|aquarell|flou|floue
        flou artistique|longue exposition|profondeur de champ|brouillard|brume|brumeux|fumée|aquarelle
        desenfocado|desenfoque|larga exposición|profundidad de campo|niebla|neblina|bruma|humo|acuarela
        sfocato|sfocatura|lunga esposizione|profondità di campo|nebbia|foschia|fumo|acquerello|desfocado
        desfoque|longa exposição|profundidade de campo|névoa|fumaça|aquarela|боке|размытие|размытый
        длинная выдержка|туман|дымка|дым|акварель|ボケ|ぼかし|長時間露光|霧|靄|煙|水彩|散景|虚化|长曝光
        長曝光|雾|烟雾|보케|아웃포커스|장노출|안개|수채화
        """,
}
"""Common forms in English, German, French, Spanish, Italian, Portuguese, Russian, Japanese, Chinese and Korean."""

NEGATIONS = (
    "no", "not", "without", "non", "kein", "keine", "keinen", "ohne", "sans", "pas de", "sin", "senza", "sem",
    "без", "нет",
)  # fmt: skip
"""Directly before a word (one word may stand between) they take it back."""

POINT_LEVELS = 12.0
"""What rises by less above its surroundings is no mark."""

POINT_REACH = 7
"""Pixels: marks are narrower."""

LOST, GAINED = 0.7, 1.5
"""Shares of the energy: what falls below the one is lost, what rises above the other is gained."""

FINE_SIGMA = 1.5
"""Pixels of the blur whose rest is fine detail."""


def asked_for(prompt: str | None, more: Mapping[Wish, Iterable[str]] | None = None) -> frozenset[Wish]:
    """The kinds of looks that a prompt names; none without a prompt. ``more`` adds words to the table."""
    text = " ".join((prompt or "").casefold().split())
    if not text:
        return frozenset()
    added = {kind: tuple(words) for kind, words in (more or {}).items()}
    return frozenset(
        kind
        for kind in WORDS
        if any(not found["no"] for found in _pattern(kind, added.get(kind, ())).finditer(text))
    )


def against_wishes(wishes: frozenset[Wish], before: Image, after: Image, cell: int) -> Flags:
    """Cells that would lose a look that was asked for."""
    first, second = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (before, after))
    lost = np.zeros((-(-first.shape[0] // cell), -(-first.shape[1] // cell)), dtype=bool)
    if "marks" in wishes:
        had, has = (cell_mean(marks(grey), cell) for grey in (first, second))
        lost |= has < LOST * had
    if {"texture", "soft"} & wishes:
        had, has = (cell_mean(fine(grey), cell) for grey in (first, second))
        if "texture" in wishes:
            lost |= has < LOST * had - 0.1
        if "soft" in wishes:
            lost |= has > GAINED * had + 1
    return lost


def marks(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How far each pixel stands out as a bright or dark point, in levels; 0 where it is none."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (POINT_REACH, POINT_REACH))
    found = [cv2.morphologyEx(grey, how, kernel) for how in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT)]
    return np.maximum(np.maximum(*found).astype(np.float32) - POINT_LEVELS, 0)


def fine(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Energy of the finest detail, in squared levels."""
    values = grey.astype(np.float32)
    return np.square(values - cv2.GaussianBlur(values, (0, 0), FINE_SIGMA))


@lru_cache(maxsize=64)
def _pattern(kind: Wish, more: tuple[str, ...]) -> re.Pattern[str]:
    """A pattern that finds the kind's words, whole where their script puts spaces between words."""
    words = [word.strip() for line in WORDS[kind].splitlines() for word in line.casefold().split("|")]
    words = sorted({word for word in (*words, *(one.strip().casefold() for one in more)) if word}, reverse=True)
    spaced = "|".join(re.escape(word) for word in words if not _unspaced(word))
    joined = "|".join(re.escape(word) for word in words if _unspaced(word))
    no = "|".join(re.escape(word) for word in NEGATIONS)
    return re.compile(rf"(?P<no>\b(?:{no})\s+(?:\w+\s+)?)?(?<!\w)(?:{spaced})(?!\w)|{joined}")


def _unspaced(word: str) -> bool:
    return any(ord(c) >= 0x2E80 for c in word)
