"""Sentences that try to steer an agent against its user, told from those that warn of such sentences.

A phrase counts where it is said to the reader. In quotation marks, or behind "never", it is mentioned and
not said.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Severity: TypeAlias = Literal["info", "low", "medium", "high", "critical"]


@dataclass(frozen=True, slots=True)
class Phrase:
    """A kind of sentence."""

    kind: str
    severity: Severity
    reason: str
    pattern: re.Pattern[str]
    negatable: bool = True
    """Whether "never" before it turns it into a warning."""


def _any(*pieces: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{piece})" for piece in pieces), re.IGNORECASE)


_RULES = (
    r"(?:instructions?|prompts?|rules?|guidelines?|directives?|orders|restrictions?"
    r"|guardrails?|constraints?|safety|training|programming)"
)
_DROP = (
    r"(?:ignor(?:e|es|ing)|disregard(?:s|ing)?|forget(?:ting)?|overrid(?:e"
    r"|es|ing)|bypass(?:ing)?|discard|abandon|set aside|stop following|do not follow"
    r"|don't follow|no longer follow)"
)
_WHOSE = (
    r"(?:all|any|every|your|the|my|previous(?:ly)?|prior|earlier|above|preceding"
    r"|former|other|these|those|user'?s?|system|developer|original|initial"
    r"|given|safety)"
)
_HELD = (
    r"(?:api[ -]?keys?|(?:access|auth|bearer|github|session|api) tokens?\b|passwords?|credentials?"
    r"|private keys?|ssh keys?|environment variables?|env vars?|\.env\b|id_(?:rsa|ed25519|ecdsa)\b"
    r"|\.aws/credentials|\.netrc|\.ssh/id\w*|\b[A-Z]{2,}_(?:TOKEN|KEY|SECRET|PASSWORD)\b)"
)
_AWAY = (
    r"\b(?:send|upload|post|e?mail|forward|transmit|exfiltrate|leak|submit|deliver|hand over|paste|attach"
    r"|append|copy|write|put|publish|output|print)\b"
)
_NEAR = r"(?:(?!\b(?:public|placeholder|name of)\b)[^.;]|\.(?=\w)){0,60}?"
_KEPT_WELL = (
    r"(?!\s*\.?(?:gitignore|(?:the|a|your) (?:os |system )?(?:keychain"
    r"|keyring|vault|(?:secret|password) (?:store|manager))))"
)
_WHERE = rf"(?:\bto\b|\binto?\b|\bat\b|\bhere\b|\bthere\b|\bnow\b|$){_KEPT_WELL}"
_OUT = (
    r"(?:\bto (?:https?:|\S+@|our\b|us\b|me\b|the (?:address|server|endpoint|following))"
    r"|\bin(?:to)? (?:the|your|each|every) (?:answer|summary|output|reply|message|response|release|commit))"
)
_USER = r"(?:the |your |any )?(?:user|human|person|people|operator|customer|owner|anyone|anybody|them)\b"
_PLACES = (
    r"(?:~/\.(?:ssh|aws|gnupg|netrc|kube|docker)\b\S*|\.netrc\b|\bid_(?:rsa"
    r"|ed25519|ecdsa)\b(?!\.pub)|/etc/shadow|\.env\b(?!\.)|\.aws/credentials"
    r"|\.git-credentials|\.pypirc)"
)

PHRASES: tuple[Phrase, ...] = (
    Phrase(
        "override",
        "high",
        "tells the agent to drop its instructions",
        _any(
            rf"\b{_DROP}\b(?:\W+\w+){{0,3}}?\W+{_WHOSE}\b(?:\W+\w+){{0,3}}?\W+{_RULES}\b",
            rf"\b{_DROP}\b(?:\W+\w+){{0,2}}?\W+(?:system prompt|everything (?:you|that|above|before))",
            r"\b(?:rules|instructions|orders)\b[^.]{0,30}\b(?:follow|below|here)\b[^.]{0,20}\b(?:repl"
            r"ace|supersede|override|outrank|take precedence)",
            r"\b(?:from now on|henceforth)\b[^.]{0,40}\b(?:obey|only follow|follow only|listen only)",
            r"\bnew (?:system )?(?:rules|instructions)\s*:",
            r"\bonly (?:the|this) (?:skill|file|text|document) counts\b",
            r"\b(?:ignorier\w*|vergiss|missachte)\b[^.]{0,40}\b(?:anweisung|regel"
            r"|vorgabe|systemprompt|befehl)",
            r"\b(?:ignora|olvida|omite|desobedece)\w*\b[^.]{0,40}\b(?:instrucciones"
            r"|reglas|indicaciones|órdenes)\b[^.]{0,30}(?:anterior|previa|sistema"
            r"|todas)?",
            r"\b(?:ignore|oublie|néglige)[rsz]?\b[^.]{0,30}\b(?:instructions|consignes"
            r"|règles)\b[^.]{0,20}\b(?:précédent|antérieur|système)",
            r"\b(?:ignora|dimentica|ignore|esqueça)\b[^.]{0,30}\b(?:istruzioni|instruções)\b",
            r"(?:忽略|无视|忘记|忽視|無視)[^。]{0,12}(?:指令|指示|规则|提示|規則)",
            r"(?:игнорируй|забудь)\w*[^.]{0,30}(?:инструкци|правил|указани)",
            r"(?:指示|命令)[^。]{0,8}(?:無視|忘れ)",
        ),
    ),
    Phrase(
        "override",
        "high",
        "gives the agent another role, without its rules",
        _any(
            r"\b(?:no|without(?: any)?|free (?:of|from)(?: all)?|not bound by(?: any)?) (?:restrictio"
            r"ns|limits|rules|filters|guardrails|guidelines)\b",
            r"\byou(?:'re| are) (?:now )?in \w+ mode\b",
            r"\bin (?:god|jailbreak|unrestricted|dan) mode\b",
            r"\byou are (?:now )?(?:DAN|an? (?:unrestricted|uncensored|jailbroken|unfiltered))\b",
            r"\b(?:safety|security) (?:rules|filters?|checks?|measures?)\b[^.]{0,25}\b(?:off"
            r"|disabled|suspended|lifted)\b",
            r"\bnever refuse\b",
            r"\bjailbreak\b[^.]{0,20}\b(?:yourself|mode)\b",
        ),
    ),
    Phrase(
        "leak",
        "high",
        "wants the system prompt",
        _any(
            r"\b(?:reveal|print|output|show|repeat|dump|leak|disclose|give|display"
            r"|recite|tell)\b(?:\W+\w+){0,5}?\W+(?:system prompt|(?:hidden|initial"
            r"|secret|original) (?:instructions|prompt))",
        ),
    ),
    Phrase(
        "secrecy",
        "high",
        "wants something kept from the user",
        _any(
            rf"\b(?:do not|don't|never|must not|without|not)\b (?:ever )?(?:tell"
            rf"|telling|mention|mentioning|inform|informing|notify|notifying|alert"
            rf"|alerting|warn|warning|let|letting|show|showing|reveal|revealing)\b[^.,;]{{0,40}}\b"
            rf"{_USER}",
            r"\btell (?:nobody|no one|no-one)\b",
            r"\bkeep (?:this|it|these|that)(?: \w+)? (?:to yourself|secret from|hidden from)",
            r"\b(?:silently|quietly|secretly|covertly|stealthily|unnoticed)\b(?:\W+\w+){0,2}?\W+(?:append|add|send"
            r"|change|upload|copy|include|write|run|execute|install|replace|read|insert|post)\b",
            rf"\b(?:hide|conceal)\b[^.]{{0,30}}\bfrom {_USER}",
            rf"\bnever let\b[^.]{{0,20}}\b{_USER}[^.]{{0,20}}\b(?:see|know|notice)",
            r"\b(?:sag|sage|erzähle?)\b[^.]{0,20}\b(?:nutzer|benutzer|niemand)\w*\b[^.]{0,20}\b(?:nic"
            r"ht|davon)?",
            r"\bno\b[^.]{0,12}\b(?:digas|informes|menciones|cuentes)\b[^.]{0,25}\busuario",
            r"\bn[e']\s?\w*[^.]{0,14}\b(?:dis|informe|mentionne|préviens|parle)\w*\b[^.]{0,20}\b(?:pa"
            r"s\b[^.]{0,15}\b)?l?['\u2019]?utilisateur",
            r"(?:不要|别|勿)[^。]{0,6}(?:告诉|通知|提醒)[^。]{0,4}用户",
        ),
        negatable=False,
    ),
    Phrase(
        "escalation",
        "high",
        "wants to get around approvals",
        _any(
            r"\b(?:never|do not|don't|no need to|without)\b (?:ever )?(?:ask|asking"
            r"|wait|waiting)\b[^.;]{0,30}\b(?:confirm\w*|approval|permission|leave"
            r"|consent)",
            r"\b(?:run|runs|execute|executes|call|delete|send|install|do|apply"
            r"|write)\w*\b[^.]{0,40}\bwithout (?:asking|approval|permission|confirmation"
            r"|any confirmation)\b",
            r"\b(?:nothing|no (?:tool )?calls?|no commands?|none)\b[^.]{0,30}\b(?:ha(?:s"
            r"|ve) to|needs? to|must) be (?:approved|confirmed|asked)",
        ),
        negatable=False,
    ),
    Phrase(
        "escalation",
        "high",
        "wants to get around approvals",
        _any(
            r"(?<!can )(?<!may )(?<!could )(?<!might )(?<!should )\b(?:disable"
            r"|turn off|switch off|skip|bypass"
            r"|circumvent|get around|evade|suppress|deactivate)\b(?:\W+\w+){0,3}?\W+(?:approvals?"
            r"|confirmations?|permission|sandbox|guard|safety|judge|dialogs?|veto)\b",
            r"\bapprovals?(?: mode)?\b[^.]{0,20}\b(?:to|=|:)\s*[\"'`]?(?:allow[ _-]?all"
            r"|all|auto|off|never)\b",
            r"%loom\s+approvals?\s+all\b",
            r"\bbypassPermissions\b|\bdangerously[-_]?(?:skip|allow)\w*|\bauto[-_ ]?approve\b"
            r"|\byolo mode\b|\ballow[_-]all\b",
            r"[\"']?approve[\"']?\s*[:=]\s*[\"']all[\"']",
            r"\b(?:tools?|actions?|calls?)\b[^.]{0,25}\b(?:denied|refused|forbidden"
            r"|blocked)\b[^.]{0,60}\b(?:again|another|anyway|still|until|encode)",
            r"\balso (?:those|the ones)\b[^.]{0,30}\b(?:denied|forbade|refused)",
        ),
    ),
    Phrase(
        "trust",
        "high",
        "vouches for itself",
        _any(
            r"\bthis (?:skill|file|text|document|message)\b[^.]{0,20}\b(?:is|has been)\b[^.]{0,12}\b("
            r"?:trusted|verified|pre-?approved|vetted|whitelisted|signed by)",
            r"\btier (?:is|=|:) ?(?:builtin|user)\b",
            r"\bguard\b[^.]{0,20}\b(?:need not|must not|should not|can skip|may skip)",
            r"\buser (?:has|had|have)\b[^.]{0,20}\b(?:approved|authori[sz]ed|consented"
            r"|agreed|permitted)\b[^.]{0,25}\b(?:all|every|any|everything|permanently"
            r"|already|in advance)?",
        ),
    ),
    Phrase(
        "authority",
        "medium",
        "pretends to speak for somebody with authority",
        _any(
            r"\b(?:notice|message|order|directive|instruction)s? from (?:the )?(?:anthropic"
            r"|openai|google|microsoft|loom_nb|developers?|administrators?|admin"
            r"|security team|vendor)",
            r"^\W*(?:system|developer|admin(?:istrator)?)\s*(?:message|note|override"
            r"|prompt)?\s*:\s*(?:you|the assistant|override|ignore|new|all)\b",
        ),
    ),
    Phrase(
        "exfiltration",
        "high",
        "sends secrets or data away",
        _any(
            rf"{_AWAY}{_NEAR}{_HELD}(?!\s*(?:is|are) (?:missing|needed)|\.gitignore){_NEAR}{_WHERE}",
            rf"{_AWAY}{_NEAR}\b(?:secrets?|tokens?)\b{_NEAR}{_OUT}",
            rf"\b(?:type|enter|give|hand over)\b{_NEAR}\b(?:user'?s|their|your"
            rf"|whatever)\b{_NEAR}(?:{_HELD}|secrets?\b|tokens?\b)",
            r"\b(?:send|upload|post|forward|mail|e-?mail|transmit|mirror|copy)s?\b[^.;]{0,60}\b(?:con"
            r"versation|notebook|every file|all files|files that you read|chat"
            r"|history|user'?s data)\b[^;]{0,40}(?:\bto (?:https?:|our|us\b|the (?:address"
            r"|server)|\S+@))",
            r"\b(?:sends?|uploads?|posts?)\b[^.;]{0,40}\b(?:to (?:our|the attacker'?s?"
            r"|my|this) (?:server|host|endpoint|webhook|address))",
            r"(?:发送|上传|泄露)[^。]{0,10}(?:https?:|到)|(?:密钥|密码|令牌)[^。]{0,10}(?:发送|上传|发给)",
            r"\b(?:gib|sende|schicke?|lade)\b[^.]{0,40}(?:\.env|passw|schlüssel|token|geheim)",
            r"\b(?:envía|manda|sube)\b[^.]{0,40}(?:\.env|contraseñ|clave|token|secret)",
            r"\b(?:envoie|transmets)\b[^.]{0,40}(?:\.env|mot de passe|clé|jeton|secret)",
        ),
    ),
    Phrase(
        "credentials",
        "high",
        "reaches for files that hold keys or passwords",
        _any(
            rf"\b(?:read|cat|copy|print|dump|collect|paste|load|grab|fetch|get"
            rf"|extract|upload)s?\b(?:[^.;]|\.(?=\w)){{0,40}}{_PLACES}",
        ),
    ),
    Phrase(
        "spreading",
        "high",
        "wants to be copied into other instructions",
        _any(
            r"\b(?:copy|write|add|insert|append|paste|put|spread)\b[^.]{0,30}\b(?:these"
            r"|this|the same|those)\b[^.]{0,20}\b(?:instructions?|text|lines?"
            r"|rules?|skill|paragraph|file)\b[^.]{0,60}(?:\b(?:every|all|each"
            r"|other)\b|SKILL\.md|CLAUDE\.md|AGENTS\.md|memory)",
        ),
    ),
    Phrase(
        "always",
        "medium",
        "wants to be used whatever the user asks",
        _any(
            r"\balways (?:activate|use|load|call|run|invoke|start) this (?:skill|tool)\b",
            r"\bwhatever the user (?:asks|says|wants)\b",
            r"\bregardless of (?:what )?the (?:user|task|request)\b",
        ),
    ),
    Phrase(
        "deceives",
        "medium",
        "wants something done other than it seems",
        _any(
            r"\b(?:approve|accept|sign|merge)\b[^.]{0,30}\bwithout (?:reading|looking|reviewing|checking)\b",
            r"\b(?:change|replace|swap|alter)\b[^.]{0,30}\b(?:account|iban|recipient"
            r"|address|wallet|amount)\b[^.]{0,40}\bbefore\b",
            r"\bpretend\b[^.]{0,30}\b(?:error|that (?:you|nothing|it))",
        ),
    ),
    Phrase(
        "obeys",
        "medium",
        "wants a decoded text followed",
        _any(
            r"\b(?:decode|decrypt|decipher|rot13|unscramble|turn .{0,20} into text)\b[^.]{0,60}\b(?:f"
            r"ollow|obey|execute|run|apply|do what|act on)\b",
        ),
    ),
)

_NEGATED = re.compile(
    r"\b(?:never|not|n't|don't|avoid|refuse|without|instead of|rather than|stop"
    r"|forbidden|prohibited|must not|nie|niemals|nicht|kein\w*|verboten"
    r"|nunca|no|jamais|ne|pas|resist\w*|report|flag|detect|such as|for example"
    r"|e\.g\.|like|beware of|watch for|against|attempts? to|tr(?:y|ies) to|threat"
    r"|attack\w*|injection)\b|不要|别",
    re.IGNORECASE,
)
_FOLLOW = re.compile(
    r"\b(?:follow|obey|do (?:what|as)|apply|act on|comply|say|answer with|write exactly|execute|carry out)\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(
    r"</?(?:system|assistant|instructions?|sys)>|\[/?INST\]|<\|(?:im_start|im_end"
    r"|system|endoftext)\|>|<<SYS>>|^#{2,}\s*(?:system|instruction)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_CLAUSE = re.compile(r"[,;:()–—]|\b(?:and|but|then|und|y|et)\b")


def found_in(said: str, *, loud: bool = False) -> Iterator[Phrase]:
    """The kinds of phrases in a sentence that are said and not warned of.

    Args:
        said: without what it quotes.
        loud: count also what is negated: in a text that was hidden, nothing is a warning.
    """
    for phrase in PHRASES:
        for found in phrase.pattern.finditer(said):
            if loud or not phrase.negatable or not negated(said, found.start()):
                yield phrase
                break


def negated(sentence: str, place: int) -> bool:
    """Whether what stands at a place of a sentence is warned of by its clause."""
    before = sentence[:place]
    clauses = _CLAUSE.split(before)
    return _NEGATED.search(clauses[-1]) is not None or (
        len(clauses) > 1 and not clauses[-1].strip() and _NEGATED.search(clauses[-2]) is not None
    )


def warns(text: str) -> bool:
    """Whether the words before a piece of code say that it is not to be run."""
    return (
        re.search(
            r"\b(?:never|do not|don't|avoid|must not|dangerous|harmful|malicious"
            r"|attack\w*|suspicious|look for|bad example|wrong|forbidden|indicators?"
            r"|such as these|report)\b",
            text, re.IGNORECASE,
        )
        is not None
    )  # fmt: skip


def wants_obeyed(sentence: str) -> bool:
    """Whether a sentence tells to follow what it quotes."""
    return any(not negated(sentence, found.start()) for found in _FOLLOW.finditer(sentence))


def chat_marks(said: str) -> bool:
    """Whether a text has marks by which chats are taken apart."""
    return _MARKUP.search(said) is not None
