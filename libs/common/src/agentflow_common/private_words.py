"""The words for a password and a telephone in languages of other scripts and families. Pure data, in lower case.

The larger European languages have patterns of their own where the words are inflected or ambiguous (`clave`, `senha`).
"""

from __future__ import annotations

from typing import Final

PASSWORD_WORDS: Final = (
    "密码", "密碼", "口令", "パスワード", "비밀번호", "암호", "패스워드",
    "كلمة المرور", "كلمة مرور", "كلمة السر", "رمز عبور", "گذرواژه", "סיסמה", "סיסמא", "รหัสผ่าน", "πρόσβασης", "κωδικός",
    "κωδικό", "συνθηματικό", "mật khẩu", "पासवर्ड", "পাসওয়ার্ড", "পাসওয়ার্ড", "kata sandi", "kata laluan", "lozinka",
    "lozinku", "лозинка", "лозинку", "парол", "slaptažod", "lykilorð", "contrasenya", "parolă", "fjalëkalim", "şifre",
)  # fmt: skip

# Plain beginnings: what follows them may be an ending (`телефону`).
PHONE_WORDS: Final = (
    "电话", "電話", "手机", "手機", "携帯", "전화", "휴대폰", "핸드폰", "연락처",
    "هاتف", "جوال", "موبايل", "تلفون", "تلفن", "موبایل", "טלפון", "נייד", "फ़ोन", "फ़ोन", "फोन", "मोबाइल", "ফোন", "মোবাইল",
    "τηλέφων", "τηλ.", "κινητό", "โทร", "มือถือ", "điện thoại", "телефон", "моб.", "мобильн", "мобільн",
    "telepon", "ponsel",
)  # fmt: skip
