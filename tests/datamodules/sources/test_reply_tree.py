"""Trees of replies and the paths through them."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.sources.reply_tree import all_paths, best_path, nodes_of_rows, nodes_of_tree, spread_problems


def user(text: str, *replies: dict[str, Any]) -> dict[str, Any]:
    return {"message_id": text, "role": "prompter", "text": text, "replies": list(replies)}


def bot(text: str, rank: Any, *replies: dict[str, Any]) -> dict[str, Any]:
    return {"message_id": text, "role": "assistant", "text": text, "rank": rank, "replies": list(replies)}


TREE = user("q", bot("b", 1, user("r", bot("c", None))), bot("a", 0, user("s"), user("t", bot("e", 1), bot("d", 0))), bot("x", None))


def texts(nodes, path):
    return "".join(nodes[place].text for place in path)


def paths(nodes):
    return [texts(nodes, path) for path in all_paths(nodes)]


def flat(tree, parent=None):
    yield {**tree, "parent_id": parent, "replies": None}
    for reply in tree["replies"]:
        yield from flat(reply, tree["message_id"])


def test_the_best_path_follows_the_best_answers_and_the_first_answered_follow_up():
    nodes = nodes_of_tree(TREE)
    spread_problems(nodes)

    assert texts(nodes, best_path(nodes)) == "qatd"


def test_all_paths_end_with_the_last_answers_in_the_order_of_the_tree():
    nodes = nodes_of_tree(TREE)
    spread_problems(nodes)

    assert paths(nodes) == ["qbrc", "qate", "qatd", "qx"]


def test_flat_rows_make_the_same_tree_in_any_order_of_their_parents():
    rows = list(flat(TREE))
    nodes, loose = nodes_of_rows(rows)
    spread_problems(nodes)

    assert not loose and texts(nodes, best_path(nodes)) == "qatd" and paths(nodes) == ["qbrc", "qate", "qatd", "qx"]
    moved, loose = nodes_of_rows([rows[-1], *rows[:-1]])
    assert not loose and len(moved) == len(rows)


def test_what_replies_to_something_left_out_is_left_out():
    nodes = nodes_of_tree(TREE)
    next(node for node in nodes if node.text == "a").problem = "deleted"
    spread_problems(nodes)

    assert {node.text: node.problem for node in nodes if node.problem} == {
        "a": "deleted", **dict.fromkeys("sted", "it replies to a message that is left out")
    }  # fmt: skip
    assert texts(nodes, best_path(nodes)) == "qbrc"


def test_roles_that_do_not_alternate_are_left_out():
    nodes = nodes_of_tree(user("q", user("r", bot("a", 0)), bot("b", 0, bot("c", 0))))
    spread_problems(nodes)

    assert paths(nodes) == ["qb"]
    assert [node.problem for node in nodes if node.text in "rc"] == ["it has the role of the message it replies to"] * 2


def test_a_tree_that_begins_with_an_answer_has_no_path():
    nodes = nodes_of_tree(bot("a", 0, user("q", bot("b", 0))))
    spread_problems(nodes)

    assert best_path(nodes) == [] and paths(nodes) == []


def test_rows_that_hang_on_nothing_or_in_a_ring_are_loose():
    rows = [{"message_id": "a", "parent_id": None}, {"message_id": "b", "parent_id": "z"}, {"message_id": "c", "parent_id": "d"},
            {"message_id": "d", "parent_id": "c"}, {"message_id": "e", "parent_id": None}]  # fmt: skip
    nodes, loose = nodes_of_rows(rows)

    assert [node.row["message_id"] for node in nodes] == ["a"] and [row["message_id"] for row in loose] == ["b", "c", "d", "e"]
    assert nodes_of_rows([{"message_id": "a", "parent_id": "a"}]) == ([], [{"message_id": "a", "parent_id": "a"}])
    assert nodes_of_rows(["x", None]) == ([], [])


def test_a_tree_may_be_deep():
    tree = bot("a", 0)
    for level in range(20_000):
        tree = (bot("a", 0, tree)) if level % 2 else user("q", tree)
    nodes = nodes_of_tree(user("q", tree))
    spread_problems(nodes)

    assert len(best_path(nodes)) == 20_002 and sum(map(len, all_paths(nodes))) == 20_002


def trees():
    answer = st.deferred(
        lambda: st.builds(lambda rank, below: bot("a", rank, *below), st.sampled_from([None, 0, 1, 1.0]), st.lists(ask, max_size=2))
    )
    ask = st.deferred(lambda: st.builds(lambda below: user("q", *below), st.lists(answer, max_size=3)))
    return ask


def walked(tree, above=""):
    """All paths by plain recursion: an answer ends one where no reply to it leads to another answer."""
    here = above + tree["text"]
    deeper = [path for reply in tree["replies"] for path in walked(reply, here)]
    return deeper if deeper or tree["role"] == "prompter" else [here]


@settings(max_examples=40)
@given(trees())
def test_all_paths_are_those_of_plain_recursion_and_the_best_is_one_of_them(tree):
    nodes = nodes_of_tree(tree)
    spread_problems(nodes)
    best = best_path(nodes)

    assert sorted(paths(nodes)) == sorted(walked(tree))
    assert best in list(all_paths(nodes)) or (not best and not walked(tree))
