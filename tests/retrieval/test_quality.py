"""How well words, vectors and both find what is meant; see tests/data/see_also/README.md."""

from functools import partial

import pytest
from see_also import Collection

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

REPORTED = 1
UNRELATED = [
    "hi",
    "hello there",
    "thanks a lot!",
    "What is the capital of France?",
    "How long should I boil an egg?",
    "Who won the football match last night?",
    "recommend a good Italian restaurant near the station",
    "Is it going to rain tomorrow in Hamburg?",
    "My dog refuses to eat his dinner",
    "How do I get a coffee stain out of a white shirt?",
    "best hiking trail in the Alps",
    "When does the next train to Berlin leave?",
    "Write me a poem about the sea",
    "What should I give my mother for her birthday?",
    "symptoms of a common cold",
    "Who painted the Mona Lisa?",
    "How much does a litre of milk cost?",
    "book a table for two on Friday evening",
    "translate good morning into Japanese",
    "the plot of Romeo and Juliet",
    "How old is the Queen?",
    "a lullaby for my baby",
    "What's the tallest mountain in Africa?",
    "Do cats dream?",
    "how to plant tomatoes on a balcony",
    "Why is the sky blue?",
    "my neighbour plays the trumpet at midnight",
    "Tell me a joke",
    "Was kostet ein Brot beim Bäcker?",
    "¿Dónde está la biblioteca?",
]


@pytest.fixture(scope="module")
def collection():
    return Collection()


def misspelt(question):
    """With two letters in the middle of the longest word swapped."""
    words = question.split()
    longest = max(range(len(words)), key=lambda place: (len(words[place]), -place))
    word = words[longest]
    half = len(word) // 2
    words[longest] = word[: half - 1] + word[half] + word[half - 1] + word[half + 1 :]
    return " ".join(words)


def table_of_figures(collection, read):
    """Recall@5 and nDCG@10 by method, of the questions as `read` has them."""
    methods = {
        "words (BM25)": collection.words,
        "vectors (LSA)": collection.vector,
        "both, weighted": partial(collection.both, gated=False),
        "the same, with thresholds": collection.both,
    }
    return {
        name: collection.measured(lambda question, way=way: way(read(question)), REPORTED)
        for name, way in methods.items()
    }


def shown(figures, title, capsys):
    with capsys.disabled():
        print(f"\n| {title} | recall@5 | nDCG@10 |\n|---|---|---|")
        for name, (recall, ndcg) in figures.items():
            print(f"| {name} | {recall:.3f} | {ndcg:.3f} |")


def test_both_find_more_than_words_and_more_than_vectors(collection, capsys):
    figures = table_of_figures(collection, str)
    shown(figures, "questions", capsys)
    alone = figures["words (BM25)"], figures["vectors (LSA)"]
    both = figures["both, weighted"]
    assert both[0] >= max(0.74, *(one[0] + 0.003 for one in alone))
    assert both[1] >= max(0.62, *(one[1] + 0.008 for one in alone))
    floors = {"words (BM25)": (0.735, 0.61), "the same, with thresholds": (0.735, 0.615)}
    for name, least in floors.items():
        assert all(figure >= floor for figure, floor in zip(figures[name], least, strict=True)), name


def test_vectors_make_up_for_misspelt_words(collection, capsys):
    figures = table_of_figures(collection, misspelt)
    shown(figures, "typos", capsys)
    assert figures["both, weighted"][1] > max(figures["words (BM25)"][1], figures["vectors (LSA)"][1])


def test_thresholds_cost_nothing_that_is_right_and_keep_everyday_questions_out(collection, capsys):
    all_of_it = collection.measured(lambda question: collection.both(question, gated=False), REPORTED)
    let_in = collection.measured(collection.both, REPORTED)
    found = [question for question in UNRELATED if collection.both(question)]
    with capsys.disabled():
        print(f"\nunrelated questions that find something: {len(found)} of {len(UNRELATED)}: {found}")
    assert let_in[0] >= all_of_it[0] - 0.01
    assert len(found) <= 5


def test_greetings_find_nothing(collection):
    assert [collection.both(text) for text in UNRELATED[:3]] == [[], [], []]
