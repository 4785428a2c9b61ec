"""Which forms a word meets in English, Russian and Ukrainian, and which it must not: the domain's words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from daemon.inflection import inflect
from daemon.lexicon import Lexicon
from daemon.words import Forms, fold

MEETS = {
    # ── English ──────────────────────────────────────────────────────────────────────────────────────────────────
    "strike": "strike strikes striking struck Strike STRUCK",
    "strikes": "strike strikes striking struck",
    "struck": "strike strikes striking struck",
    "attack": "attack attacks attacked attacking",
    "shelling": "shell shells shelled shelling",
    "shelled": "shell shells shelled shelling",
    "truce": "truce truces",
    "ceasefire": "ceasefire ceasefires",
    "pause": "pause pauses paused pausing",
    "halt": "halt halts halted halting",
    "prisoner": "prisoner prisoners Prisoner’s",
    "prisoners": "prisoner prisoners",
    "swap": "swap swaps swapped swapping",
    "swapped": "swap swaps swapped swapping",
    "exchange": "exchange exchanges exchanged exchanging",
    "embassy": "embassy embassies",
    "embassies": "embassy embassies",
    "encircle": "encircle encircles encircled encircling",
    "surround": "surround surrounds surrounded surrounding",
    "energy": "energy energies",
    "agreement": "agreement agreements",
    "agreed": "agree agrees agreed agreeing",
    "negotiate": "negotiate negotiates negotiated negotiating",
    "fight": "fight fights fought fighting",
    "build": "build builds built building",
    "building": "building buildings",
    "said": "say says said saying",
    "prove": "prove proves proved proven proving",
    "child": "child children",
    "women": "woman women",
    "crisis": "crisis crises",
    "criteria": "criterion criteria",
    "oblast": "oblast oblasts",
    "Zelensky": "Zelensky Zelensky's Zelenskys",
    "Kyiv": "Kyiv KYIV Kyiv’s",
    "US": "US us",
    "F16": "F16 f16",
    # ── Russian ──────────────────────────────────────────────────────────────────────────────────────────────────
    "удар": "удар удара удару ударом ударе удары ударов ударам ударами ударах",
    "ударам": "удар удара удары ударах",
    "обстрел": "обстрел обстрела обстрелу обстрелом обстреле обстрелы обстрелов обстрелам обстрелами обстрелах",
    "обстреливать": "обстреливает обстреливают обстреливал обстреливала обстреливали обстреливаемый",
    "обстреляли": "обстрелять обстрелял обстреляли обстреляют обстрелян обстреляна обстрелянный",
    "атаковать": "атаковать атакует атаковал атаковали атакуют атакован",
    "пауза": "пауза паузы паузе паузу паузой паузах",
    "перемирие": "перемирие перемирия перемирию перемирием перемирии перемирий перемириях",
    "прекращение": "прекращение прекращения прекращению прекращением прекращении",
    "огонь": "огонь огня огню огнём огнем огне",
    "обмен": "обмен обмена обмену обменом обмене обмены обменов обменам обменами обменах",
    "пленный": "пленный пленного пленному пленным пленном пленные пленных пленными",
    "пленными": "пленный пленного пленных",
    "военнопленный": "военнопленный военнопленного военнопленному военнопленные военнопленных военнопленными",
    "энергетика": "энергетика энергетики энергетике энергетику энергетикой",
    "энергетический": "энергетический энергетическая энергетического энергетические энергетических энергетическим",
    "посольство": "посольство посольства посольству посольством посольстве посольств посольствам посольствах",
    "окружение": "окружение окружения окружению окружением окружении",
    "окружить": "окружить окружил окружили окружат окружены окружён",
    "договорённость": "договорённость договорённости договорённостью договорённостей договорённостям",
    "договоренности": "договорённость договорённостей договорённостях",
    "соглашение": "соглашение соглашения соглашению соглашением соглашений соглашениях",
    "хоккей": "хоккей хоккея хоккею хоккеем хоккее",
    "чёрный": "чёрный чёрного чёрном Чёрное чёрному чёрным",
    "море": "море моря морю морем моря морей морях",
    "ребёнок": "ребёнок ребёнка ребёнку дети детей детьми",
    "война": "война войны войне войну войной войн войнам",
    "мир": "мир мира миру миром мире",
    "наступление": "наступление наступления наступлением наступлении",
    "переговоры": "переговоры переговоров переговорам переговорами переговорах",
    "удержанный": "удержанный удержанного удержанные удержан удержаны",
    "США": "США сша",
    "ООН": "ООН",
    "НХЛ": "НХЛ",
    "КХЛ": "КХЛ",
    "Курск": "Курск Курска Курску Курском Курске",
    "Зеленский": "Зеленский Зеленского Зеленскому Зеленским Зеленском",
    "Зеленского": "Зеленский Зеленского Зеленскому Зеленским Зеленском",
    "Сырский": "Сырский Сырского Сырскому Сырским Сырском",
    "Стармер": "Стармер Стармера Стармеру Стармером Стармере",
    "Шольц": "Шольц Шольца Шольцу Шольцем Шольце",
    "Байден": "Байден Байдена Байдену Байденом Байдене Байденові",
    "шахеды": "шахед шахеда шахеды шахедов шахедами",
    # ── Ukrainian ────────────────────────────────────────────────────────────────────────────────────────────────
    "обстріл": "обстріл обстрілу обстрілом обстрілі обстріли обстрілів обстрілам обстрілами обстрілах",
    "обстрілювати": "обстрілювати обстрілює обстрілюють обстрілював обстрілювали",
    "атакувати": "атакувати атакує атакував атакували атакують атаковано",
    "удари": "удар удару ударом ударі удари ударів ударами ударах",
    "пауз": "пауза паузи паузі паузу паузою паузах",
    "перемир'я": "перемир'я перемир’ю перемирʼям перемир’ї",
    "перемир’ям": "перемир'я перемир'ю перемир'ї",
    "припинення": "припинення припиненню припиненням припиненні",
    "вогонь": "вогонь вогню вогнем вогні",
    "обмін": "обмін обміну обміном обміні обміни обмінів обмінам обмінами обмінах",
    "полонений": "полонений полоненого полоненому полоненим полонені полонених полоненими",
    "полоненими": "полонений полонених полонені",
    "військовополонений": "військовополонений військовополоненого військовополонені військовополонених",
    "енергетика": "енергетика енергетики енергетиці енергетику енергетикою",
    "енергетичний": "енергетичний енергетична енергетичного енергетичні енергетичних енергетичної",
    "посольств": "посольство посольства посольству посольством посольстві посольств",
    "оточення": "оточення оточенню оточенням оточенні",
    "угода": "угода угоди угоді угоду угодою угод угодам угодах",
    "домовленість": "домовленість домовленості домовленістю домовленостей домовленостях",
    "чорний": "чорний чорного чорному Чорне чорним",
    "морі": "море моря морю морем морі морях",
    "війна": "війна війни війні війну війною воєн війнам",
    "хокей": "хокей хокею хокеєм хокеї",
    "п’ять": "п'ять п'яти п'ятьох",
    "об'єкт": "об'єкт об'єкта об’єкту об’єктом об’єкти об’єктів об’єктах",
    "ґрунт": "ґрунт ґрунту ґрунтом ґрунти",
    "ЗСУ": "ЗСУ",
    "Зеленський": "Зеленський Зеленського Зеленському Зеленським",
    "Умєров": "Умєров Умєрова Умєрову Умєровим",
    "Трамп": "Трамп Трампа Трампу Трампом Трампові Трампе",
}
DOES_NOT_MEET = {
    "prisoner": "prison prisons imprison imprisoned",
    "prison": "prisoner prisoners imprisoned",
    "Black": "blackout blackouts blackmail",
    "building": "build builds built builder",
    "builder": "build building",
    "strike": "striker strikers stride string",
    "exchange": "exchanger change changed",
    "energy": "energetic energise",
    "negotiate": "negotiation negotiator",
    "agreement": "agree agreed",
    "meeting": "meet met",
    "embassy": "ambassador embarrass",
    "encirclement": "encircle encircled circle",
    "Sea": "see season seat",
    "group": "groupie grope",
    "nuclear": "nucleus",
    "undergo": "under go goes",
    "US": "use uses used",
    "Gaza": "gaze gazette",
    "обмен": "обменник обменивать обменять обмін измена",
    "пленный": "плен плена пленить пленник пленка",
    "плен": "пленный пленных пленка",
    "удар": "ударник ударить ударный",
    "война": "воин воина военный",
    "посольство": "посол посла",
    "мир": "мирный мирного перемирие",
    "море": "морской мор мора",
    "энергетика": "энергетический энергия энергетиков",
    "окружение": "окружить окружной округ",
    "обстреливать": "обстрел обстрелять стрелять",
    "удержанный": "удержать удержал",
    "бывшего": "быть был есть будет",
    "огонь": "огненный огонёк",
    "обмін": "обмен обмену обмінник змін",
    "полон": "полонений полонених",
    "угода": "угодить угодный",
    "оточення": "оточити оточений",
    "США": "США́н ша",
    "Зеленский": "зелень зелёный Зеленськи",
    "Газа": "газ газета газов",
}


BY_STEM = {
    "strike": False,
    "struck": False,
    "ankara": False,  # a name that the English dictionary has
    "waffenruhe": True,
    "tregua": True,
    "zelensky": True,
    "nhl": False,
    "f16": False,
    "εκεχειρια": True,
    "هدنة": True,
    "युद्धविराम": True,
    "удар": False,
    "сырский": False,
    "停火": False,
    "ဆ": False,
}
ODD = ("12", "don't", "п12", "aб", "аb", "'", "x", "ы", "і", "тцк", "ﷺ", "a\u0301", "ꙮ", "𝒳")
LONG = ("ё" * 300, "е" * 300, "abc" * 300)


@pytest.fixture(scope="module")
def forms() -> Mapping[str, Forms]:
    return Lexicon().forms_of(map(fold, (*MEETS, *DOES_NOT_MEET, *BY_STEM, *ODD, *LONG)))


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len({(word, fold(form)) for word, met in MEETS.items() for form in met.split()}) >= 300


@pytest.mark.parametrize("word", MEETS)
def test_a_word_meets_its_inflections(word: str, forms: Mapping[str, Forms]) -> None:
    missed = {form for form in MEETS[word].split() if fold(form) not in forms[fold(word)].forms}
    assert not missed, f"{word} should meet {sorted(missed)}"


@pytest.mark.parametrize("word", DOES_NOT_MEET)
def test_a_word_does_not_meet_its_derivations_nor_its_lookalikes(word: str, forms: Mapping[str, Forms]) -> None:
    met = {form for form in DOES_NOT_MEET[word].split() if fold(form) in forms[fold(word)].forms}
    assert not met, f"{word} should not meet {sorted(met)}"


@pytest.mark.parametrize("word", [*MEETS, *ODD, *LONG])
def test_a_word_is_one_of_its_own_forms_and_each_is_folded(word: str, forms: Mapping[str, Forms]) -> None:
    found = forms[fold(word)].forms
    assert fold(word) in found
    assert {fold(form) for form in found} == found


@pytest.mark.parametrize("word", ODD)
def test_what_is_no_word_of_these_languages_takes_few_forms(word: str, forms: Mapping[str, Forms]) -> None:
    assert len(forms[fold(word)].forms) <= 3


def test_words_that_take_the_same_forms_share_them(forms: Mapping[str, Forms]) -> None:
    assert forms["strike"] is forms["struck"]
    assert forms["embassy"] is forms["embassies"]
    assert forms["embassy"] is not forms["strike"]


@pytest.mark.parametrize("word", BY_STEM)
def test_words_of_other_languages_are_met_by_stem(word: str, forms: Mapping[str, Forms]) -> None:
    assert forms[fold(word)].by_stem is BY_STEM[word]


@pytest.mark.skipif(fold("ё") != fold("е"), reason="ё and е are two letters as yet")
@pytest.mark.parametrize(
    ("word", "met"),
    [
        ("договоренность", "договорённость договоренности договорённостей"),
        ("ребенок", "ребёнка ребенку детей"),
        ("черный", "Чёрное черного чёрным"),
        ("окружить", "окружён окружен"),
        ("огонь", "огнем огнём"),
    ],
)
def test_ё_and_е_never_decide(word: str, met: str, forms: Mapping[str, Forms]) -> None:
    found = forms.get(fold(word)) or inflect([fold(word)])[fold(word)]
    assert {fold(form) for form in met.split()} <= found.forms
