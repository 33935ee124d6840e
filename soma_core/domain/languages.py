"""Which language a text is in, as far as its script and its small words tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

STEMMED = (
    "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian", "italian",
    "norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "turkish",
)  # fmt: skip
"""The languages whose stems and stop words the search by words knows."""
AUTO = "auto"
NONE = "none"
SEEN_CHARS = 2_000
"""What is looked at of a text."""
LETTER_WEIGHT = 0.75
ENOUGH = 0.06
"""The least score a word of the text that tells a language; below it a text tells none."""

_SCRIPTS = {
    "japanese": "\u3040-\u30ff",
    "korean": "\uac00-\ud7af\u1100-\u11ff",
    "chinese": "\u4e00-\u9fff\u3400-\u4dbf",
    "thai": "\u0e01-\u0e5b",
    "arabic": "\u0621-\u06ff",
    "hebrew": "\u05d0-\u05ea",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "russian": "\u0400-\u04ff",
    "hindi": "\u0900-\u097f",
    "bengali": "\u0980-\u09ff",
    "tamil": "\u0b80-\u0bff",
}
"""The letters of each script, and the language that it stands for. Kanji count for Japanese where there is kana."""
_LETTERS = {
    "ß": "german", "ñ": "spanish", "¿": "spanish", "¡": "spanish", "ã": "portuguese", "õ": "portuguese",
    "ø": "danish norwegian", "æ": "danish norwegian", "å": "danish norwegian swedish", "ł": "polish", "ż": "polish",
    "ś": "polish", "ę": "polish", "ą": "polish", "ř": "czech", "ě": "czech", "ů": "czech", "ğ": "turkish",
    "\u0131": "turkish", "ş": "turkish", "ő": "hungarian", "ű": "hungarian", "ț": "romanian", "ș": "romanian",
    "ă": "romanian", "đ": "vietnamese", "ơ": "vietnamese", "ư": "vietnamese", "œ": "french", "ê": "french portuguese",
    "ä": "german finnish swedish", "ö": "german finnish swedish turkish hungarian", "ü": "german turkish hungarian",
}  # fmt: skip
_WORDS = {
    "danish": "og i at det er en den til på de som med for han af jeg ikke et var har sig fra vi men der kan om du"
    " hvad være blev også efter mig hvor vil når noget bliver mit min",
    "dutch": "de het een en van ik te dat die in is niet op aan met voor er maar om hij zijn was ook als ze bij"
    " nog naar dan heb heeft mijn wat wij we geen uit hebben deze dit worden kan",
    "english": "the of and to a in is that it was for on are with as i his they be at one have this from had by not"
    " but what were we when your can said there an which she do how their if will my you he has did does"
    " who where been me am our us her him its just about would could so or no than then these those into"
    " out up don't it's i'm",
    "finnish": "ja on ei se että hän mutta oli en olen ovat joka kun niin kuin minä sinä myös tai jos nyt vain sen"
    " mitä hänen tämä minun ole sitten kanssa minulla meillä ollut aina eilen",
    "french": "le la les de des du un une et est dans que qui pas pour sur avec ce il elle je nous vous ne au aux"
    " se son sa ses mon ma mes été suis sont mais ou où plus par cette c'est j'ai ont avons leur très on y"
    " en à même lui",
    "german": "der die das und ist nicht ich ein eine zu mit den von für auf dem im sich es auch an als wie wir er"
    " sie hat haben war bei aus nach noch nur aber wenn oder so über mein meine was wer wo sind habe einen"
    " einem zum zur wird werden kann mir mich uns ihr am um bin des",
    "hungarian": "a az és hogy nem is egy van meg de csak ez el mint volt már még azt én ha nagyon mi ki lesz vagy ezt"
    " itt ott majd minden kell amikor tegnap nekem mert",
    "italian": "il lo la i gli le di che e è un una non per con del della sono da si ma mi ti ci nel nella ho ha"
    " come più questo questa anche dei delle al alla se io abbiamo era mio mia quando dove molto perché"
    " tutto",
    "norwegian": "og i det er en på til at som med for han av jeg ikke et var har seg fra vi men der kan om du hva"
    " være ble også etter meg hvor vil når noe blir mitt min dette fordi nå skal",
    "portuguese": "o a os as de que e do da em um uma para não com por no na se mais foi são eu ele ela isso como mas"
    " ao dos das meu minha você nós está também muito quando onde tem já ontem nos pela pelo",
    "romanian": "și de la în nu a cu pe că o un este am pentru din care mai să sunt sau dar fost ce se au lui el ea"
    " eu meu mea foarte când unde acest această ai ale al ieri prin după",
    "spanish": "el la los las de que y en un una es no por con para su se del al lo como más pero sus le ya o este"
    " sí porque esta entre cuando muy sin sobre también me hasta hay donde yo mi mis está son fue era nos"
    " tiene ayer",
    "swedish": "och i att det är en som på för av med till den han inte jag har de ett om var men sig från vi så kan"
    " du när där vad vara mig min mitt hur eller blev efter också ska nu",
    "turkish": "ve bir bu da de için ile çok ne ben sen o var yok değil ama gibi daha kadar olarak mi m\u0131 benim en"
    " her şey sonra dün nas\u0131l neden biz olan",
    "polish": "i w nie na się z do to że jest jak o po co ale za od tak by dla czy być mnie mi już był była są"
    " przez tym moja mój bardzo kiedy gdzie ten",
    "czech": "a se na je že v to s z do o k i jsem ale jako za by pro tak po jsou když co má už nebo byl byla mi"
    " není můj moje velmi kde",
    "indonesian": "yang dan di ini itu dengan untuk tidak dari dalam akan pada juga saya ke karena ada mereka kami kita"
    " bisa sudah atau seperti adalah oleh kamu dia",
    "vietnamese": "và của là có không được cho một trong với người những đã tôi để này các khi nhưng rất ở đến như anh"
    " ngày làm tại",
}


def detect(text: str) -> str | None:
    """The language of a text, in English; None where it tells none: too short, only names, or unknown here.

    Quick and coarse: sure of a sentence, a guess at three words.
    """
    seen = text[:SEEN_CHARS].lower().replace("\u2019", "'")
    if not seen.isascii() and (found := _by_script(seen)):
        return found
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", seen)
    marks = [] if seen.isascii() else set(seen) & _LETTERS.keys()
    says, scores = _says(), dict[str, float]()
    for sign in (*words, *marks):
        for language, weight in says.get(sign, ()):
            scores[language] = scores.get(language, 0.0) + weight
    best = max(scores, key=lambda language: (scores[language], language == "english", language), default=None)
    return best if best and scores[best] >= ENOUGH * len(words) else None


def _by_script(text: str) -> str | None:
    """The language of the script that half the letters of a text are in; None for Latin letters."""
    letters = sum(map(str.isalpha, text))
    counts = {language: len(re.findall(f"[{script}]", text)) for language, script in _SCRIPTS.items()}
    if counts["japanese"]:
        counts["japanese"] += counts["chinese"]
    most = max(counts, key=lambda language: counts[language])
    return most if counts[most] > letters / 2 else None


@cache
def _says() -> Mapping[str, Sequence[tuple[str, float]]]:
    """What each small word and letter says: the languages that have it, less for each the more there are."""
    has: dict[str, list[str]] = {}
    for language, words in _WORDS.items():
        for word in words.split():
            has.setdefault(word, []).append(language)
    signs = {word: [(language, 1 / len(found)) for language in found] for word, found in has.items()}
    for letter, named in _LETTERS.items():
        found = named.split()
        signs[letter] = [*signs.get(letter, ()), *((language, LETTER_WEIGHT / len(found)) for language in found)]
    return signs
