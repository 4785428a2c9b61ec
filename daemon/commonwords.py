"""Words so common that they tell nothing: articles, prepositions, pronouns, auxiliaries of the languages of our feeds.

A term of nothing else would match nearly everything; and a term is not looked up by one of them if it has another word.
"""

from __future__ import annotations

from daemon.words import fold

_ENGLISH = """
a about after all also am an and are as at be been before being but by can could did do does for from had has have he
her his how i if in into is it its just may more most new no not now of on one or our out over said say she should so
some such than that the their them then there these they this those to two under up was we were what when where which
who why will with would you your
"""
_RUSSIAN = """
а без бы был была были было быть в во все всё вы где для до его ее её если еще ещё же за и из или им их к как когда ко
который которая которое которые кто ли мы на над не него нее ней нет ни но о об он она они оно от по под при про с
со так также там то тоже только у уже что чтобы это этого этой этот эти я
"""
_UKRAINIAN = """
а або але б би був була були було бути в вам вас від він вона вони воно все вже ви для до є з за зі із й і її їх його
коли ми на над не немає ні о об по під після при про та так також там те ти тільки то у хто це цей ця ці чи що щоб
щодо як який яка яке які
"""
_GERMAN = """
als am an auch auf aus bei bis das dass dem den der des die durch ein eine einem einen einer eines er es für hat ich im
in ist mit nach nicht noch oder sich sie sind so über um und von vor war was werden wie wird zu zum zur
"""
_FRENCH = """
à au aux avec ce ces cette d dans de des du elle en est et été être il ils l la le les leur mais ne nous on ou où par
pas plus pour qu que qui sa se ses son sont sur un une vous
"""
_SPANISH = """
al como con de del el ella ellos en entre era es esta este está fue ha han la las le lo los más no o para pero por que
se ser si sin sobre son su sus también un una y ya
"""
_ITALIAN = """
ai al alla che ci come con da dal dalla dei del della delle di e è gli ha i il in la le lo nel nella non o per più si
sono su un una
"""
_PORTUGUESE = """
ao aos as com como da das de do dos e é em entre foi mais na não nas no nos o os ou para pela pelo por que se sem seu
são sua um uma
"""
_POLISH = (
    "ale by być co czy dla do i ich jak jako jest już na nie o od oraz po przez przy się są ta tak to w we z za ze że"
)
_CHINESE = """
的 了 是 在 和 与 与 及 也 就 都 而 不 有 这 那 我 他 她 它 们 上 下 中 为 对 以 将 被 于 一
"""

COMMON: frozenset[str] = frozenset(
    fold(word)
    for language in (
        *(_ENGLISH, _RUSSIAN, _UKRAINIAN, _GERMAN, _FRENCH, _SPANISH, _ITALIAN, _PORTUGUESE, _POLISH, _CHINESE),
    )
    for word in language.split()
)
"""Folded."""
