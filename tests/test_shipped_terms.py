"""The shipped feeds.yaml: what its terms find and what they leave, in sentences of our own.

`make score` measures them on labelled news, which can't be shipped; these sentences hold what was learnt there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.lexicon import forms_of
from daemon.matching import Matcher, compile_rules, unused_word_lists
from daemon.rules import Rules
from daemon.settings import load

FOUND = {
    "energy-strike-pause": """
        Moscow agrees to a thirty-day halt on energy strikes
        Army told to stop hitting Ukrainian energy targets, Kremlin says
        Moratorium on strikes against energy facilities runs out, Moscow says
        Russia accuses Ukraine of breaking the energy truce
        Россия и Украина спорят о нарушении энергетического перемирия
        Москва согласилась тридцать дней не бить по энергообъектам Украины
        Кремль: мораторий на удары по энергетике действует
        Росія порушила домовленість про припинення ударів по енергетиці
        Україна готова до повного припинення вогню щодо енергетики
        Rusia acepta suspender treinta días los ataques a la infraestructura energética
        Moskau stimmt einer Pause von Angriffen auf Energieanlagen zu
        Moscou accepte un arrêt des frappes sur les infrastructures énergétiques
        俄方同意暂停打击乌克兰能源设施
    """,
    "black-sea-group": """
        Kremlin names its conditions for a Black Sea deal
        Talks on the safety of shipping in the Black Sea open
        Россия и США договорились о безопасном судоходстве в Черном море
        Киев предложил Москве перемирие на море
        Сторони погодили безпеку судноплавства в Чорному морі
        Rusia y Ucrania acuerdan una tregua en el mar Negro
        Einigung auf sichere Schifffahrt im Schwarzen Meer, Russland zögert
        俄美就黑海航行安全达成协议
    """,
    "prisoner-exchange": """
        Russia and Ukraine swap 175 prisoners each
        Freed Ukrainian soldiers return in the largest prisoner swap yet
        Обмен военнопленными прошел по формуле 175 на 175
        Из украинского плена вернулись военные
        З російського полону повернулися захисники
        Відбувся обмін полоненими: додому повертаються українці
        Russland und die Ukraine tauschen Kriegsgefangene aus
        La Russie et l'Ukraine échangent des prisonniers de guerre
        俄乌交换战俘
    """,
    "kursk-encirclement": """
        Kyiv denies that its troops are encircled in Kursk
        Trump asks Putin to spare the lives of surrounded Ukrainian soldiers
        Окруженным в Курской области бойцам ВСУ обещают сохранить жизнь
        Генштаб спростував оточення українських військ на Курщині
        库尔斯克乌军否认被包围
    """,
    "frontline-group": """
        Experts discuss who would monitor a ceasefire in Ukraine
        В Киеве обсуждают заморозку линии фронта
    """,
    "ceasefire-terms": """
        Kremlin lists its conditions for a truce
        Ukraine is ready for an unconditional ceasefire
        Envoy brings a peace plan to Moscow
        Moscow insists that annexed regions be recognised
        Россия требует вывода войск из Донбасса
        Кремль: позиция России по урегулированию прежняя
        Україна готова до перемир'я
        Путін висунув умови для припинення вогню
        Rusia fija condiciones a la tregua
        Moskau stellt Bedingungen für eine Waffenruhe
        普京提出停火条件
    """,
    "istanbul-plus": """
        Moscow calls for talks on Ukraine to start from the Istanbul agreements
        В Москве говорят о демилитаризации Украины
    """,
    "replace-zelensky": """
        Moscow questions the legitimacy of Zelensky
        Украину предложили передать под внешнее управление
    """,
    "europe-support": """
        Germany sends air defence to Ukraine
        Європа погодила військову допомогу Україні
    """,
    "us-support": """
        Washington suspends military aid to Ukraine
        США приостановили поставки оружия Украине
    """,
    "iran-nuclear": """
        Moscow offers to take Iran's enriched uranium
        Россия готова помочь в переговорах по ядерной программе Ирана
        Росія готова бути посередником щодо ядерної програми Ірану
        俄罗斯愿在伊核问题上发挥作用
    """,
    "syria-rapprochement": "Russia and the US hold talks on Syria",
    "un-votes": "US sides with Russia as the UN General Assembly votes on a resolution",
    "palestine-rhetoric": "Moscow speaks up for the Palestinians again",
    "economic-cooperation": """
        Russia and the US discuss joint rare earth projects
        Москва и Вашингтон говорят об экономическом сотрудничестве
        США та РФ обговорюють економічну співпрацю
        俄美讨论稀土项目
    """,
    "embassies": """
        Russia and the US talk about the work of their embassies
        Москва предложила США восстановить прямые рейсы
        Росія та США домовилися відновити роботу посольств
    """,
    "hockey": """
        Putin and Trump like the idea of hockey games between the leagues
        Матч КХЛ и НХЛ остается идеей, говорят в Кремле
        Хокейні матчі між США та РФ: Трамп не проти
    """,
    "war-without-us": "Washington may walk away from talks on Ukraine",
    "dead-end": "Talks between the US and Russia reach a dead end",
}
LEFT = {
    "energy-strike-pause": """
        Russian strikes on Ukraine's energy infrastructure halt trains
        После удара по подстанции в Киеве прекратилась подача воды
        Israel stops its strikes on Iranian energy sites
        Energy workers pause their strike in a pay dispute
        俄军袭击乌克兰能源设施
    """,
    "black-sea-group": """
        Tanker spills oil in the Black Sea off a Russian resort
        Russian jets meet a patrol over the Black Sea
        Разлив мазута в Черном море
    """,
    "prisoner-exchange": """
        Hamas and Israel exchange prisoners
        Belarus frees political prisoners
        An American dancer comes home in a prisoner exchange with Moscow
        Киев и Москва обменялись ударами, есть раненые
        Израиль и ХАМАС договорились об обмене пленными
    """,
    "kursk-encirclement": """
        Memorial for the crew of the submarine Kursk
        Ukrainian troops encircle Russians near Kupiansk
        Бои в Курской области продолжаются
    """,
    "ceasefire-terms": """
        A ceasefire in Gaza holds, Moscow says
        Drones hit a refinery after the truce with Ukraine expires
    """,
    "iran-nuclear": """
        Iran and Washington hold nuclear talks in Oman
        Rosatom evacuates staff from Bushehr, the nuclear plant in Iran
    """,
    "economic-cooperation": """
        Ukraine and the US sign a minerals deal
        A French carmaker may return to Russia
    """,
    "embassies": """
        US embassy in Kyiv warns of a Russian attack
        Poland closes a Russian consulate
    """,
    "hockey": """
        Russia stays out of the ice hockey world championship
        Tariffs on hockey sticks rise
    """,
    "palestine-rhetoric": "Wars in Ukraine and Gaza: what Moscow gains",
}


@pytest.fixture(scope="module")
def shipped_rules() -> Rules:
    return load(Path(__file__).resolve().parents[1] / "feeds.yaml").rules


@pytest.fixture(scope="module")
def matcher(shipped_rules: Rules) -> Matcher:
    return compile_rules(shipped_rules, forms_of)


def sentences(block: str) -> list[str]:
    return [line.strip() for line in block.strip().splitlines()]


def found_in(matcher: Matcher, title: str) -> list[str]:
    return [match.claim for match in matcher.match(title=title, summary="")]


def test_every_claim_has_sentences_here(shipped_rules: Rules) -> None:
    assert {claim.id for claim in shipped_rules.claims} == set(FOUND)


@pytest.mark.parametrize("claim", FOUND)
def test_the_shipped_terms_find(matcher: Matcher, claim: str) -> None:
    assert [one for one in sentences(FOUND[claim]) if claim not in found_in(matcher, one)] == []


@pytest.mark.parametrize("claim", LEFT)
def test_the_shipped_terms_leave(matcher: Matcher, claim: str) -> None:
    assert [one for one in sentences(LEFT[claim]) if claim in found_in(matcher, one)] == []


def test_no_word_list_is_idle(shipped_rules: Rules) -> None:
    assert unused_word_lists(shipped_rules) == ()
