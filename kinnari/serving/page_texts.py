"""What the chat page says, in four languages; a text that a language lacks is an error when this file is read.

Texts("...")  fields in the order of the page: header, chat, controls, feedback, side by side, errors
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Every text of the page in one language; `error_*` stand before what the model said of it."""

    name: str
    tagline: str
    language: str
    chat: str
    compare: str
    model: str
    message: str
    placeholder: str
    send: str
    stop: str
    retry: str
    undo: str
    clear: str
    settings: str
    system: str
    system_hint: str
    temperature: str
    temperature_hint: str
    top_p: str
    top_k: str
    top_k_hint: str
    repetition_penalty: str
    max_new_tokens: str
    history: str
    history_hint: str
    start_script: str
    start_script_hint: str
    any_script: str
    seed: str
    seed_hint: str
    stop_texts: str
    stop_texts_hint: str
    comment: str
    good: str
    bad: str
    report: str
    thanks: str
    not_saved: str
    compare_hint: str
    answer_a: str
    answer_b: str
    a_better: str
    b_better: str
    tie: str
    both_bad: str
    revealed: str
    error_too_long: str
    error_queue: str
    error_timeout: str
    error_refused: str
    error_unexpected: str


TEXTS = {
    "en": Texts(
        name="English",
        tagline="Answers come from a language model and may be wrong.",
        language="Language",
        chat="Chat",
        compare="Side by side",
        model="Model",
        message="Message",
        placeholder="Ask anything. Enter sends, Shift+Enter begins a new line.",
        send="Send",
        stop="Stop",
        retry="Again",
        undo="Take back",
        clear="New chat",
        settings="Settings",
        system="System prompt",
        system_hint="What the model is told before the conversation",
        temperature="Temperature",
        temperature_hint="0 always takes the likeliest token",
        top_p="Top p",
        top_k="Top k",
        top_k_hint="0 for all tokens",
        repetition_penalty="Repetition penalty",
        max_new_tokens="Longest answer (tokens)",
        history="Earlier exchanges",
        history_hint="How many questions with their answers the model sees again",
        start_script="Answer begins in",
        start_script_hint="The first letter is made to be of this language",
        any_script="any language",
        seed="Seed",
        seed_hint="Empty: a new one for each answer",
        stop_texts="Stop texts",
        stop_texts_hint="One a line; the answer ends before any of them",
        comment="A comment on this answer (optional)",
        good="Good",
        bad="Bad",
        report="Report",
        thanks="Noted, thank you.",
        not_saved="This could not be saved.",
        compare_hint="Two models answer the same question. Which of them is A is drawn anew each time, and shown after your vote.",
        answer_a="Answer A",
        answer_b="Answer B",
        a_better="A is better",
        b_better="B is better",
        tie="Equally good",
        both_bad="Both bad",
        revealed="A was **{a}**, B was **{b}**.",
        error_too_long="The conversation is too long for this model.",
        error_queue="Too many people are waiting; please try again in a moment.",
        error_timeout="The answer took too long.",
        error_refused="This cannot be answered.",
        error_unexpected="Something went wrong on the server; it is in its log.",
    ),
    "ko": Texts(
        name="한국어",
        tagline="언어 모델이 만든 답변이므로 틀릴 수 있습니다.",
        language="언어",
        chat="대화",
        compare="나란히 비교",
        model="모델",
        message="메시지",
        placeholder="무엇이든 물어보세요. Enter로 보내고 Shift+Enter로 줄을 바꿉니다.",
        send="보내기",
        stop="중지",
        retry="다시 답하기",
        undo="되돌리기",
        clear="새 대화",
        settings="설정",
        system="시스템 프롬프트",
        system_hint="대화에 앞서 모델에게 주는 지시",
        temperature="온도",
        temperature_hint="0이면 항상 가장 그럴듯한 토큰을 고릅니다",
        top_p="Top p",
        top_k="Top k",
        top_k_hint="0이면 모든 토큰",
        repetition_penalty="반복 억제",
        max_new_tokens="답변 최대 길이(토큰)",
        history="이전 대화",
        history_hint="모델이 다시 보는 질문과 답변의 수",
        start_script="답변 시작 언어",
        start_script_hint="첫 글자를 이 언어의 글자로 시작합니다",
        any_script="제한 없음",
        seed="시드",
        seed_hint="비우면 답변마다 새로 정합니다",
        stop_texts="중단 문구",
        stop_texts_hint="한 줄에 하나씩; 이 문구 앞에서 답변이 끝납니다",
        comment="이 답변에 대한 의견(선택)",
        good="좋아요",
        bad="별로예요",
        report="신고",
        thanks="기록했습니다. 감사합니다.",
        not_saved="저장하지 못했습니다.",
        compare_hint="두 모델이 같은 질문에 답합니다. 어느 쪽이 A인지는 매번 무작위로 정해지고, 투표한 뒤에 알려 드립니다.",
        answer_a="답변 A",
        answer_b="답변 B",
        a_better="A가 더 낫다",
        b_better="B가 더 낫다",
        tie="둘 다 좋다",
        both_bad="둘 다 나쁘다",
        revealed="A는 **{a}**, B는 **{b}**였습니다.",
        error_too_long="대화가 이 모델에 비해 너무 깁니다.",
        error_queue="기다리는 사람이 많습니다. 잠시 후 다시 시도해 주세요.",
        error_timeout="답변이 너무 오래 걸렸습니다.",
        error_refused="이 요청에는 답할 수 없습니다.",
        error_unexpected="서버에 문제가 생겼습니다. 자세한 내용은 서버 로그에 있습니다.",
    ),
    "th": Texts(
        name="ไทย",
        tagline="คำตอบมาจากแบบจำลองภาษา อาจผิดพลาดได้",
        language="ภาษา",
        chat="สนทนา",
        compare="เทียบสองแบบจำลอง",
        model="แบบจำลอง",
        message="ข้อความ",
        placeholder="ถามอะไรก็ได้ กด Enter เพื่อส่ง กด Shift+Enter เพื่อขึ้นบรรทัดใหม่",
        send="ส่ง",
        stop="หยุด",
        retry="ตอบใหม่",
        undo="ย้อนกลับ",
        clear="เริ่มใหม่",
        settings="การตั้งค่า",
        system="คำสั่งระบบ",
        system_hint="สิ่งที่บอกแบบจำลองก่อนเริ่มสนทนา",
        temperature="อุณหภูมิ",
        temperature_hint="0 คือเลือกโทเคนที่น่าจะเป็นที่สุดเสมอ",
        top_p="Top p",
        top_k="Top k",
        top_k_hint="0 คือทุกโทเคน",
        repetition_penalty="ลดการพูดซ้ำ",
        max_new_tokens="คำตอบยาวที่สุด (โทเคน)",
        history="บทสนทนาก่อนหน้า",
        history_hint="จำนวนคำถามพร้อมคำตอบที่แบบจำลองเห็นอีกครั้ง",
        start_script="เริ่มตอบด้วยภาษา",
        start_script_hint="บังคับให้ตัวอักษรแรกเป็นของภาษานี้",
        any_script="ภาษาใดก็ได้",
        seed="ค่าสุ่ม (seed)",
        seed_hint="เว้นว่างไว้เพื่อสุ่มใหม่ทุกคำตอบ",
        stop_texts="ข้อความหยุด",
        stop_texts_hint="บรรทัดละหนึ่งข้อความ คำตอบจะจบก่อนข้อความเหล่านี้",
        comment="ความเห็นต่อคำตอบนี้ (ไม่บังคับ)",
        good="ดี",
        bad="ไม่ดี",
        report="รายงาน",
        thanks="บันทึกแล้ว ขอบคุณ",
        not_saved="บันทึกไม่สำเร็จ",
        compare_hint="สองแบบจำลองตอบคำถามเดียวกัน ระบบสุ่มใหม่ทุกครั้งว่าแบบจำลองใดเป็น A และจะบอกหลังจากคุณลงคะแนน",
        answer_a="คำตอบ A",
        answer_b="คำตอบ B",
        a_better="A ดีกว่า",
        b_better="B ดีกว่า",
        tie="ดีพอกัน",
        both_bad="แย่ทั้งคู่",
        revealed="A คือ **{a}** และ B คือ **{b}**",
        error_too_long="บทสนทนายาวเกินไปสำหรับแบบจำลองนี้",
        error_queue="มีผู้รออยู่มากเกินไป โปรดลองใหม่อีกครั้งในอีกสักครู่",
        error_timeout="ใช้เวลาตอบนานเกินไป",
        error_refused="ตอบคำขอนี้ไม่ได้",
        error_unexpected="เกิดข้อผิดพลาดที่เซิร์ฟเวอร์ ดูรายละเอียดได้ในบันทึกของเซิร์ฟเวอร์",
    ),
    "zh": Texts(
        name="中文",
        tagline="回答由语言模型生成，可能有误。",
        language="语言",
        chat="对话",
        compare="并排比较",
        model="模型",
        message="消息",
        placeholder="随便问。按 Enter 发送，按 Shift+Enter 换行。",
        send="发送",
        stop="停止",
        retry="重新回答",
        undo="撤回",
        clear="新对话",
        settings="设置",
        system="系统提示",
        system_hint="对话开始前告诉模型的内容",
        temperature="温度",
        temperature_hint="0 表示总是选择最可能的词元",
        top_p="Top p",
        top_k="Top k",
        top_k_hint="0 表示所有词元",
        repetition_penalty="重复惩罚",
        max_new_tokens="回答最大长度（词元）",
        history="历史轮数",
        history_hint="模型能再次看到的问答轮数",
        start_script="回答的起始语言",
        start_script_hint="强制第一个字属于这种语言",
        any_script="不限",
        seed="随机种子",
        seed_hint="留空则每次回答重新抽取",
        stop_texts="停止文本",
        stop_texts_hint="每行一个；回答会在它们之前结束",
        comment="对这个回答的意见（可不填）",
        good="好",
        bad="不好",
        report="举报",
        thanks="已记录，谢谢。",
        not_saved="未能保存。",
        compare_hint="两个模型回答同一个问题。哪个模型是 A 每次重新随机决定，投票之后才公布。",
        answer_a="回答 A",
        answer_b="回答 B",
        a_better="A 更好",
        b_better="B 更好",
        tie="一样好",
        both_bad="都不好",
        revealed="A 是 **{a}**，B 是 **{b}**。",
        error_too_long="对话太长，超出了这个模型的长度。",
        error_queue="等待的人太多，请稍后再试。",
        error_timeout="回答用时过长。",
        error_refused="无法回答这个请求。",
        error_unexpected="服务器出了问题，详情见服务器日志。",
    ),
}

_RANGE = re.compile(r"\s*([A-Za-z]{1,8})(?:-[\w-]+)?\s*(?:;\s*q\s*=\s*(\d(?:\.\d*)?))?\s*")


def preferred_language(accept_language: str) -> str:
    """The language of the page that a browser's header asks for first; English where it asks for none of ours.

    `zh-TW,en;q=0.8` is zh: of regions and scripts nothing is looked at.
    """
    asked = [found.groups() for part in accept_language.split(",") if (found := _RANGE.fullmatch(part))]
    weighed = [(float(weight) if weight else 1.0, language.lower()) for language, weight in asked]
    known = [(weight, language) for weight, language in weighed if weight > 0 and language in TEXTS]
    return max(known, key=lambda entry: entry[0])[1] if known else "en"
