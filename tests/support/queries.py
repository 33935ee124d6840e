"""Questions that are no questions: each must get an answer at every door."""

from __future__ import annotations

ODD = {
    "one stop word": "the",
    "marks only": "?!",
    "emoji": "🦊🦊 👩‍👩‍👧 🎉",
    "SQL": "'; DROP TABLE memories; SELECT * FROM memories WHERE text LIKE '%' --",
    "Thai": "แมวของฉันชื่ออะไร",
    "Chinese": "我的猫叫什么名字",
    "an operator": 'AND OR NOT ( " * ^ :',
    "a control character": "bell \x07 and \u202e reversed",
    "one long word": "x" * 20_000,
    "2,000 words": "zebra " * 2_000,
}
LONG = "zebra crossing " * 5_000
"""10,000 words."""
