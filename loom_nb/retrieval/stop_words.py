"""Words that say nothing of what a question is about, in the languages that are asked most."""

from collections.abc import Sequence

_WORDS = {
    "en": """a about above after again all also am an and any are aren as at be because been before being
        below between both but by can could couldn d did didn do does doesn doing don down during each else
        ever few for from further had hadn has hasn have haven having he her here hers herself him himself
        his how i if in into is isn it its itself just let ll m may me might more most much must my myself
        no nor not now of off on once one only or other our ours ourselves out over own please re really s
        same shall she should shouldn so some such t tell than that the their theirs them themselves then
        there these they this those through to too under until up us ve very was wasn we were weren what
        when where whether which while who whom whose why will with won would wouldn yes you your yours
        yourself yourselves""",
    "de": """aber alle als also am an auch auf aus bei bin bis bist da damit dann das dass dein deine dem den
        der des dich die dies diese diesem diesen dieser dieses dir doch du ein eine einem einen einer eines
        er es euch euer fur gibt hab habe haben hat hatte hier ich ihm ihn ihnen ihr ihre im in ist ja jede
        jeder kann kein keine konnen man mein meine mich mir mit muss nach nein nicht noch nun nur ob oder
        ohne sehr sein seine sich sie sind so soll uber um und uns unser unter vom von vor war waren warum
        was weil welche welcher welches wenn wer werden wie wieder will wir wird wo wurde zu zum zur""",
    "fr": """a ai au aucun aussi autre aux avec c ce cela ces cet cette chez comme comment d dans de des deux
        donc dont du elle elles en entre es est et etait etaient etre eu il ils j je l la le les leur leurs
        lui m ma mais me meme mes moi mon n ne ni nos notre nous on ont ou par pas plus pour pourquoi qu
        quand que quel quelle quelles quels qui quoi s sa sans se ses si son sont sous sur t ta te tes toi
        ton tous tout toute toutes tu un une vos votre vous y""",
    "es": """a al algo como con cual cuales cuando cuanto de del desde donde dos e el ella ellas ellos en
        entre era es esa ese eso esta estan estar este esto fue ha hasta hay la las le les lo los mas me mi
        mis mucho muy no nos o otra otro para pero por porque que quien se ser si sin sobre son su sus
        tambien te tiene todo todos tu tus un una uno unos y ya yo""",
    "it": """a ad ai al alla alle anche c che chi ci come con cosa cui d da dai dal dalla de degli dei del
        della delle di dove e ed era gli ha hai hanno ho i il in io l la le lei li lo loro lui ma mi mia mio
        ne nei nel nella noi non o per perche piu quale quali quando quanto quello questa questi questo se si
        sia sono su sua sue sul sulla suo ti tra tu un una uno vi voi""",
    "pt": """a ao aos as com como da das de dela dele delas deles do dos e ela elas ele eles em entre era essa
        esse esta este eu foi ha isso isto ja la mais mas me mesmo meu minha muito na nao nas nem no nos o os
        ou para pela pelo por porque qual quando que quem se sem ser seu seus so sua suas tambem te tem tu um
        uma voce voces""",
    "nl": """aan al als bij dan dat de der deze die dit doch door dus een en er had heb hebben heeft hem het
        hier hij hoe hun iets ik in is ja je kan maar me met mij mijn moet na naar niet nog nu of om omdat
        onder ons ook op over te tegen toch toen tot u uit uw van veel voor waar waarom wat we wel werd wie
        wij worden wordt zal ze zich zij zijn zo zou""",
}
_SMALL_TALK = """bye cheers goodbye hallo hello hey hi hiya howdy lot ok okay thank thanks thx yeah yep yo
    danke tschuss bonjour merci salut hola gracias adios ciao grazie ola obrigado obrigada dank hoi"""
_DENSE_SMALL_TALK = """你好 您好 谢谢 謝謝 再见 再見 早上好 嗨 こんにちは こんばんは おはよう ありがとう
    ありがとうございます さようなら 안녕 안녕하세요 감사합니다 สวัสดี ขอบคุณ"""

STOP_WORDS = {language: frozenset(text.split()) for language, text in _WORDS.items()}
"""By language; without accents, as `analysis.words` gives them."""
SMALL_TALK = frozenset(_SMALL_TALK.split())
"""What people say to open and to close, in any language."""
DENSE_SMALL_TALK = frozenset(_DENSE_SMALL_TALK.split())
"""The same in scripts without blanks."""


def is_small_talk(run: str) -> bool:
    """Whether a run of Chinese, Japanese or the like is a greeting and no more."""
    return run in DENSE_SMALL_TALK


def without_stop_words(words: Sequence[str]) -> list[str]:
    """The words that are left.

    English is always read. Another language only where two of the words are its own: "die", "war" and
    "over" mean something in English.
    """
    there = set(words)
    languages = [
        stops
        for name, stops in STOP_WORDS.items()
        if name == "en" or len((stops & there) - STOP_WORDS["en"]) > 1
    ]
    dropped = SMALL_TALK.union(*languages)
    return [word for word in words if word not in dropped]
