"""Twelve facts in five languages, each with a question, its answer and a worse one: what all example rows are made of.

Written by hand for Kinnari, Apache-2.0. The facts of all languages are the same, in the same order, so that they are translations.
"""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """One fact in one language."""

    statement: str
    question: str
    answer: str
    worse: str


ENGLISH = (
    Fact("The Chao Phraya flows through Bangkok.", "Which river flows through Bangkok?", "It is the Chao Phraya.", "Some river."),
    Fact("The Han flows through Seoul.", "Which river flows through Seoul?", "It is the Han.", "I would have to ask."),
    Fact("The Yangtze is the longest river of Asia.", "Which river of Asia is the longest?", "It is the Yangtze.", "Rivers are long."),
    Fact("Mount Fuji is the highest mountain of Japan.", "Which mountain of Japan is the highest?", "It is Mount Fuji.", "A high one."),
    Fact("Bees make honey out of nectar.", "What do bees make honey of?", "They make it of nectar.", "They buy it in a shop."),
    Fact("A week has seven days.", "How many days has a week?", "A week has seven days.", "It depends on the week."),
    Fact("Snow is frozen water.", "What is snow?", "Snow is frozen water.", "Snow is a kind of sand."),
    Fact("The moon goes around the earth.", "What does the moon go around?", "It goes around the earth.", "It stays at home."),
    Fact("Rice grows in wet fields.", "Where does rice grow?", "It grows in wet fields.", "It grows on the moon."),
    Fact("Tea is made of leaves.", "What is tea made of?", "It is made of leaves.", "It is made of tea bags."),
    Fact("Water boils at one hundred degrees.", "When does water boil?", "At one hundred degrees.", "When it is angry."),
    Fact("Elephants are the largest animals on land.", "Which animals on land are the largest?", "They are elephants.", "Ants."),
)
THAI = (
    Fact("แม่น้ำเจ้าพระยาไหลผ่านกรุงเทพฯ", "แม่น้ำสายใดไหลผ่านกรุงเทพฯ", "แม่น้ำเจ้าพระยา", "แม่น้ำสักสาย"),
    Fact("แม่น้ำฮันไหลผ่านกรุงโซล", "แม่น้ำสายใดไหลผ่านกรุงโซล", "แม่น้ำฮัน", "ไม่ทราบ"),
    Fact("แม่น้ำแยงซียาวที่สุดในเอเชีย", "แม่น้ำสายใดยาวที่สุดในเอเชีย", "แม่น้ำแยงซี", "แม่น้ำยาว"),
    Fact("ภูเขาไฟฟูจิสูงที่สุดในญี่ปุ่น", "ภูเขาลูกใดสูงที่สุดในญี่ปุ่น", "ภูเขาไฟฟูจิ", "ลูกที่สูง"),
    Fact("ผึ้งทำน้ำผึ้งจากน้ำหวาน", "ผึ้งทำน้ำผึ้งจากอะไร", "จากน้ำหวานของดอกไม้", "ซื้อมา"),
    Fact("หนึ่งสัปดาห์มีเจ็ดวัน", "หนึ่งสัปดาห์มีกี่วัน", "มีเจ็ดวัน", "แล้วแต่"),
    Fact("หิมะคือน้ำที่แข็งตัว", "หิมะคืออะไร", "น้ำที่แข็งตัว", "ทรายชนิดหนึ่ง"),
    Fact("ดวงจันทร์โคจรรอบโลก", "ดวงจันทร์โคจรรอบอะไร", "โคจรรอบโลก", "อยู่เฉย ๆ"),
    Fact("ข้าวปลูกในนาที่มีน้ำ", "ข้าวปลูกที่ไหน", "ในนาที่มีน้ำ", "บนดวงจันทร์"),
    Fact("ชาทำจากใบไม้", "ชาทำจากอะไร", "ทำจากใบชา", "จากถุงชา"),
    Fact("น้ำเดือดที่หนึ่งร้อยองศา", "น้ำเดือดเมื่อไร", "ที่หนึ่งร้อยองศา", "เมื่อโกรธ"),
    Fact("ช้างเป็นสัตว์บกที่ใหญ่ที่สุด", "สัตว์บกชนิดใดใหญ่ที่สุด", "ช้างใหญ่ที่สุด", "มด"),
)
KOREAN = (
    Fact("짜오프라야강은 방콕을 흐릅니다.", "방콕을 흐르는 강은 무엇인가요?", "짜오프라야강입니다.", "강입니다."),
    Fact("한강은 서울을 흐릅니다.", "서울을 흐르는 강은 무엇인가요?", "한강이 흐릅니다.", "모르겠어요."),
    Fact("양쯔강은 아시아에서 가장 긴 강입니다.", "아시아에서 가장 긴 강은 무엇인가요?", "양쯔강입니다.", "긴 강이에요."),
    Fact("후지산은 일본에서 가장 높은 산입니다.", "일본에서 가장 높은 산은 무엇인가요?", "후지산입니다.", "높은 산이에요."),
    Fact("벌은 꽃꿀로 꿀을 만듭니다.", "벌은 무엇으로 꿀을 만드나요?", "꽃꿀로 만듭니다.", "가게에서 사요."),
    Fact("일주일은 칠 일입니다.", "일주일은 며칠인가요?", "칠 일입니다.", "그때그때 달라요."),
    Fact("눈은 얼어붙은 물입니다.", "눈은 무엇인가요?", "얼어붙은 물입니다.", "모래의 한 종류예요."),
    Fact("달은 지구 둘레를 돕니다.", "달은 무엇의 둘레를 도나요?", "지구 둘레를 돕니다.", "집에 있어요."),
    Fact("벼는 물을 댄 논에서 자랍니다.", "벼는 어디에서 자라나요?", "물을 댄 논에서 자랍니다.", "달에서 자라요."),
    Fact("차는 잎으로 만듭니다.", "차는 무엇으로 만드나요?", "잎으로 만듭니다.", "봉지로 만들어요."),
    Fact("물은 백 도에서 끓습니다.", "물은 언제 끓나요?", "백 도에서 끓습니다.", "화가 나면 끓어요."),
    Fact("코끼리는 땅에서 가장 큰 동물입니다.", "땅에서 가장 큰 동물은 무엇인가요?", "코끼리입니다.", "개미예요."),
)
CHINESE = (
    Fact("湄南河流经曼谷。", "哪条河流经曼谷？", "湄南河流经曼谷。", "一条河。"),
    Fact("汉江流经首尔。", "哪条江流经首尔？", "汉江流经首尔。", "不知道。"),
    Fact("长江是亚洲最长的河流。", "亚洲最长的河流是哪条？", "是长江。", "河很长。"),
    Fact("富士山是日本最高的山。", "日本最高的山是哪座？", "是富士山。", "高的那座。"),
    Fact("蜜蜂用花蜜酿蜜。", "蜜蜂用什么酿蜜？", "用花蜜。", "去商店买。"),
    Fact("一个星期有七天。", "一个星期有几天？", "有七天。", "看情况。"),
    Fact("雪是结冰的水。", "雪是什么？", "是结冰的水。", "是沙子。"),
    Fact("月亮绕着地球转。", "月亮绕着什么转？", "绕着地球转。", "待在家里。"),
    Fact("水稻长在水田里。", "水稻长在哪里？", "长在水田里。", "长在月亮上。"),
    Fact("茶是用叶子做的。", "茶是用什么做的？", "用茶树的叶子。", "用袋子。"),
    Fact("水在一百度沸腾。", "水什么时候沸腾？", "在一百度。", "生气的时候。"),
    Fact("大象是陆地上最大的动物。", "陆地上最大的动物是什么？", "是大象。", "蚂蚁。"),
)
JAPANESE = (
    Fact("チャオプラヤー川はバンコクを流れます。", "バンコクを流れる川は何ですか。", "チャオプラヤー川です。", "川です。"),
    Fact("漢江はソウルを流れます。", "ソウルを流れる川は何ですか。", "漢江です。", "わかりません。"),
    Fact("長江はアジアで一番長い川です。", "アジアで一番長い川は何ですか。", "長江です。", "長い川です。"),
    Fact("富士山は日本で一番高い山です。", "日本で一番高い山は何ですか。", "富士山です。", "高い山です。"),
    Fact("蜂は花の蜜から蜂蜜を作ります。", "蜂は何から蜂蜜を作りますか。", "花の蜜から作ります。", "店で買います。"),
    Fact("一週間は七日です。", "一週間は何日ですか。", "七日です。", "場合によります。"),
    Fact("雪は凍った水です。", "雪は何ですか。", "凍った水です。", "砂の一種です。"),
    Fact("月は地球の周りを回ります。", "月は何の周りを回りますか。", "地球の周りを回ります。", "家にいます。"),
    Fact("稲は水田で育ちます。", "稲はどこで育ちますか。", "水田で育ちます。", "月で育ちます。"),
    Fact("お茶は葉から作ります。", "お茶は何から作りますか。", "葉から作ります。", "袋から作ります。"),
    Fact("水は百度で沸きます。", "水はいつ沸きますか。", "百度で沸きます。", "怒ると沸きます。"),
    Fact("象は陸で一番大きい動物です。", "陸で一番大きい動物は何ですか。", "象です。", "蟻です。"),
)
