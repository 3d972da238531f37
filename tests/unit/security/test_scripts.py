"""Private values in texts of other scripts: labels in many languages, and no spaces between words."""

# ruff: noqa: RUF001  (letters of other alphabets are meant)

from __future__ import annotations

import pytest

from agentflow_common import screening
from agentflow_security.detect import detect


def found(text: str) -> list[tuple[str, str]]:
    assert screening.suspicious(text)
    return [(item.category, text[item.start : item.end]) for item in detect(text)]


@pytest.mark.parametrize(
    ("text", "category", "value"),
    [
        ("请打电话13800138000联系", "PHONE_NUMBER", "13800138000"),
        ("電話番号は090-1234-5678です", "PHONE_NUMBER", "090-1234-5678"),
        ("联系+8613800138000吧", "PHONE_NUMBER", "+8613800138000"),
        ("전화010-1234-5678로", "PHONE_NUMBER", "010-1234-5678"),
        ("卡号4111111111111111。", "CREDIT_CARD", "4111111111111111"),
        ("卡号4111111111111111已过期", "CREDIT_CARD", "4111111111111111"),
        ("카드4111 1111 1111 1111입니다", "CREDIT_CARD", "4111 1111 1111 1111"),
        ("服务器203.0.113.77上", "IP_ADDRESS", "203.0.113.77"),
        ("โทร0812345678ครับ", "PHONE_NUMBER", "0812345678"),
        ("电话１３８００１３８０００联系", "PHONE_NUMBER", "１３８００１３８０００"),
    ],
)
def test_scripts_without_spaces_end_a_value(text: str, category: str, value: str) -> None:
    assert (category, value) in found(text)


def test_a_key_of_a_vendor_is_found_between_letters_of_a_script_without_spaces() -> None:
    key = "sk-" + "ant-api03-" + "abcDEF0123456789" * 2
    assert ("API_KEY", key) in found(f"密钥{key}已失效")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("电话 138 0013 8000", "138 0013 8000"),
        ("手机号：13800138000", "13800138000"),
        ("手機 9123 4567", "9123 4567"),
        ("携帯 80 1234 5678", "80 1234 5678"),
        ("휴대폰: 10 1234 5678", "10 1234 5678"),
        ("هاتف 55 123 4567", "55 123 4567"),
        ("جوال: 551234567", "551234567"),
        ("نایل موبایل: 9121234567", "9121234567"),
        ("נייד: 501234567", "501234567"),
        ("फ़ोन 98765 43210", "98765 43210"),
        ("मोबाइल: 9876543210", "9876543210"),
        ("ফোন 1712 345678", "1712 345678"),
        ("τηλ. 210 123 4567", "210 123 4567"),
        ("κινητό 6912345678", "6912345678"),
        ("โทร 2 123 4567", "2 123 4567"),
        ("điện thoại: 912345678", "912345678"),
        ("моб. 9161234567", "9161234567"),
        ("cep 532 123 45 67", "532 123 45 67"),
        ("telepon 812 3456 7890", "812 3456 7890"),
    ],
)  # fmt: skip
def test_digits_after_the_word_for_a_telephone_in_many_languages(text: str, value: str) -> None:
    assert ("PHONE_NUMBER", value) in found(text)


@pytest.mark.parametrize(
    "label",
    [
        "كلمة المرور", "كلمة السر", "رمز عبور", "סיסמה", "סיסמא", "รหัสผ่าน", "κωδικός πρόσβασης", "Κωδικός", "mật khẩu",
        "पासवर्ड", "পাসওয়ার্ড", "kata sandi", "kata laluan", "Lozinka", "geslo", "лозинка", "Парола", "parool",
        "slaptažodis",
        "lykilorð", "Contrasenya", "口令", "암호", "패스워드", "parolă", "fjalëkalimi",
    ],
)  # fmt: skip
def test_what_follows_the_word_for_a_password_in_many_languages(label: str) -> None:
    value = "Kissa" + "2024!"
    assert ("PASSWORD", value) in found(f"{label}: {value}")
    assert screening.telling(label)


@pytest.mark.parametrize(
    "text",
    [
        "第12345678号文件",
        "共计1234567890元",
        "2024年12月31日",
        "型号A1234567B的机器",
        "版本3.11.4已发布",
        "电话会议在2024-12-31举行",
        "忘记密码时请联系管理员",
        "Το τηλεσκόπιο κόστισε 1234567 ευρώ",
        "Geslo dneva 2: mir",
    ],
)
def test_numbers_and_words_of_other_scripts_that_are_not_private_stay(text: str) -> None:
    assert found(text) == []
