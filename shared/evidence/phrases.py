"""Phrases that Whisper writes where nothing is said, because subtitles in its training data did.

Sources: Barański et al., "Investigation of Whisper ASR Hallucinations Induced by Non-Speech Audio" (arXiv:2501.11378),
for English; reports of users in https://github.com/openai/whisper/discussions/679 and
https://github.com/Vexa-ai/vexa/pull/619 for the other languages. People do say some of them: a phrase is evidence only
where no voice is heard.
"""

from __future__ import annotations

import re
import unicodedata

PHRASES: dict[str, tuple[str, ...]] = {
    "en": (
        "you", "thank you", "thank you very much", "thank you so much", "thanks", "bye", "bye bye", "so", "okay", "oh",
        "thanks for watching", "thank you for watching", "please subscribe", "subtitles by the amara org community",
        "see you in the next video", "music", "applause", "silence",
    ),
    "de": (
        "vielen dank", "vielen dank fürs zuschauen", "tschüss", "untertitel der amara org community",
        "untertitel im auftrag des zdf für funk", "untertitelung des zdf", "untertitel von stephanie geiges",
        "bis zum nächsten mal", "musik",
    ),
    "fr": (
        "merci", "merci d avoir regardé cette vidéo", "sous titrage société radio canada", "sous titrage st 501",
        "sous titres réalisés par la communauté d amara org", "abonnez vous", "au revoir", "musique",
    ),
    "es": (
        "gracias", "gracias por ver el video", "gracias por ver", "suscríbete", "música",
        "subtítulos realizados por la comunidad de amara org", "subtítulos por la comunidad de amara org",
    ),
    "it": (
        "grazie", "grazie per la visione", "sottotitoli creati dalla comunità amara org",
        "sottotitoli e revisione a cura di qtss",
    ),
    "pt": ("obrigado", "obrigado por assistir", "legendas pela comunidade amara org"),
    "nl": ("ondertitels ingediend door de amara org gemeenschap", "ondertiteling", "bedankt voor het kijken"),
    "pl": ("dziękuję", "napisy stworzone przez społeczność amara org", "dziękuję za uwagę"),
    "ru": ("спасибо", "продолжение следует", "субтитры сделал dimatorzok", "спасибо за просмотр"),
    "tr": ("altyazı m k", "abone olmayı unutmayın", "izlediğiniz için teşekkür ederim"),
    "ja": ("ご視聴ありがとうございました", "ありがとうございました", "おやすみなさい", "次の動画でお会いしましょう"),
    "ko": ("시청해주셔서 감사합니다", "감사합니다"),
    "zh": (
        "谢谢观看", "謝謝觀看", "请不吝点赞 订阅 转发 打赏支持明镜与点点栏目",
        "請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目",
    ),
}  # fmt: skip


def normalized(text: str) -> str:
    """Return a text in lower case, with one space for everything that is not a letter, a mark or a digit."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", plain).strip()


#: Of all languages together: Whisper mixes languages exactly where nothing is said.
_KNOWN = frozenset(normalized(phrase) for phrases in PHRASES.values() for phrase in phrases)


def is_known_phrase(text: str) -> bool:
    """Return whether a text consists of one of the phrases and nothing else."""
    return normalized(text) in _KNOWN
