"""Valid rows of the chat, Korean and Thai sources in their real layouts: option -> {"suffix", "rows", "others"}.

`suffix` is the kind of file the rows are written to (`read_source.written`), `others` the rows of further files by the option that
names them.
"""

from __future__ import annotations

from typing import Any

CONVERSATION = [{"from": "human", "value": "Name a colour."}, {"from": "gpt", "value": "Blue is one."}]
KOREAN = [{"from": "human", "value": "색 하나만 말해 줘."}, {"from": "gpt", "value": "파란색이 있습니다."}]
TREE_END = {"review_result": True, "deleted": False, "synthetic": False, "lang": "ko"}
TREE = {
    "message_tree_id": "t1",
    "tree_state": "ready_for_export",
    "prompt": {
        "message_id": "t1",
        "role": "prompter",
        "text": "안녕?",
        **TREE_END,
        "replies": [
            {"message_id": "t3", "parent_id": "t1", "role": "assistant", "text": "네?", "rank": 1, "replies": [], **TREE_END},
            {"message_id": "t2", "parent_id": "t1", "role": "assistant", "text": "안녕하세요!", "rank": 0, "replies": [], **TREE_END},
        ],
    },
}
FLAT = [
    {"message_id": "f1", "parent_id": None, "message_tree_id": "f1", "role": "prompter", "text": "สวัสดี", "rank": None, **TREE_END},
    {"message_id": "f2", "parent_id": "f1", "message_tree_id": "f1", "role": "assistant", "text": "สวัสดีครับ", "rank": 0.0, **TREE_END},
]
WIZARD = {
    "chosen_topic": "커피",
    "wizard_eval": 5,
    "persona": "저는 커피를 좋아합니다.",
    "chosen_topic_passage": ["커피는 볶은 원두로 만든 음료이다."],
    "dialog": [
        {"speaker": "0_Apprentice", "text": "커피는 무엇으로 만드나요?", "retrieved_passages": []},
        {"speaker": "1_Wizard", "text": "볶은 원두로 만들어요.", "checked_sentence": {"self_커피_0": "커피는 볶은 원두로 만든 음료이다."}},
    ],
}
OPELA = [
    {"doc_id": "도넛_user0001_2_3", "person_type": "user", "turn_notation": "1", "is_pause": "0", "text": "안녕하세요"},
    {"doc_id": "도넛_user0001_2_3", "person_type": "persona", "turn_notation": "2", "is_pause": "0", "text": "반가워요~"},
    {"doc_id": "도넛_user0001_2_3", "person_type": "persona", "turn_notation": "2", "is_pause": "0", "text": "뭐 하고 있었어요?"},
]
HULIC = {"작업자": "A", "나이": "30대", "성별": "여", "적절성": "1", "구체성": "1", "인간유사도": "1"}
COUNSEL = [{"speaker": "상담사", "utterance": "안녕하세요."}, {"speaker": "내담자", "utterance": "잠이 안 와요."}]

EXAMPLES: dict[str, dict[str, Any]] = {
    "sharegpt": {"suffix": ".json", "rows": [{"id": "a_0", "conversations": CONVERSATION}, {"id": "b_0", "items": KOREAN}]},
    "sharegpt_ko": {
        "suffix": ".json",
        "rows": [
            {"id": "a_0", "conversations": KOREAN},
            {
                "instruction": "translate the following into English",
                "input": "Name a colour.",
                "output": "색 하나만 말해 줘.",
                "text": "\nBelow",
            },
        ],
    },
    "sharegpt_parallel": {
        "suffix": ".json",
        "rows": [{"id": "a_0", "conversations": CONVERSATION}],
        "others": {"target_path": [{"id": "a_0", "conversations": KOREAN}]},
    },
    "koalpaca": {
        "suffix": ".jsonl",
        "rows": [
            {"instruction": "양파는 식물의 어느 부위인가요?", "output": "줄기입니다.", "url": "https://example.org/1"},
            {"instruction": "반대말을 쓰세요.", "input": "크다", "output": "작다"},
        ],
    },
    "kochatgpt": {"suffix": ".json", "rows": [{"prompt": "비가 오나요?", "completion": "'네, 옵니다.", "tokens": 9}]},
    "oig_chip2_ko": {
        "suffix": ".jsonl",
        "rows": [{"user": "Say hi", "chip2": "Hi!", "user_translated": "인사해 봐", "chip2_translated": "안녕하세요!", "index": 0}],
    },
    "korquad_chat": {"suffix": ".jsonl", "rows": [{"source": "korquad-chat", "text": "<sys>제주도는 섬이다.\n<usr> 섬인가요?\n<bot> 네."}]},
    "kowow": {"suffix": ".json", "rows": [WIZARD]},
    "hulic": {
        "suffix": ".csv",
        "rows": [
            {"Turn": "1", **HULIC, "질문": "영화 좋아하세요?", "답변": "네, 자주 봐요."},
            {"Turn": "2", **HULIC, "질문": "어떤 영화요?", "답변": "코미디요."},
        ],
    },
    "opela": {"suffix": ".csv", "rows": OPELA},
    "counselgpt": {
        "suffix": ".jsonl",
        "rows": [[*COUNSEL, {"speaker": "상담사", "utterance": "언제부터인가요?"}], {"input": "우울해요.", "output": "많이 힘드셨겠어요."}],
    },
    "evolve_instruct_ko": {
        "suffix": ".json",
        "rows": [{"input": "보도자료로 기사를 쓰세요.", "output": "기사입니다."}, {"instruction": "시를 쓰세요.", "output": "봄비"}],
    },
    "kullm_v2": {"suffix": ".jsonl", "rows": [{"id": "alpaca_0", "instruction": "원색은?", "input": "", "output": "빨강, 파랑, 노랑"}]},
    "chatbot_data": {"suffix": ".csv", "rows": [{"Q": "12시 땡!", "A": "하루가 또 가네요.", "label": "0"}]},
    "klongklon": {"suffix": ".jsonl", "rows": [{"text": "<human>: แต่งกลอน <context>:วรรคแรก <bot>:วรรคที่สอง", "source": "นิราศ"}]},
    "oasst1": {"suffix": ".jsonl", "rows": [TREE, *FLAT]},
    "openassistant_guanaco": {"suffix": ".jsonl", "rows": [{"text": "### Human: 你好### Assistant: 你好！"}]},
    "oasst1_selected": {
        "suffix": ".csv",
        "rows": [{"lang": "th", "message_tree_id": "t", "answer_nb_net_plus": "2", "prompt": "แมวกินอะไร", "answer": "ปลา"}],
    },
    "hh_rlhf": {
        "suffix": ".jsonl",
        "rows": [{"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: Go away."}],
    },
    "llamatune": {"suffix": ".json", "rows": [[{"role": "USER", "content": "Hi"}, {"role": "ASSISTANT", "content": "Hey!"}]]},
    "thai_wiki_qa": {
        "suffix": ".jsonl",
        "rows": [{"question_id": "q_0", "question": "เกิดวันที่เท่าไร", "context": "เกิด 3 ธันวาคม", "answer": "3 ธันวาคม"}],
    },
}
