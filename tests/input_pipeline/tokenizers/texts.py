"""Texts that tokenizers are known to disagree on."""

TEXTS = (
  "",
  " ",
  "a",
  "A photo of a cat.",
  "  two  spaces\tand a tab\nand lines\r\n\n",
  "I'll, you've, he'd, WE'RE, it's, can't 'S 'ſ",
  "12345 67.89 1,000,000 3/4 ½ ² Ⅷ ٣٤ ๑๒",
  "Crème brûlée à la Noël, Ångström, naïve, ÇA",
  "Cre\u0300me bru\u0302le\u0301e decomposed",
  "Straße GROẞ İstanbul ısı ΣΊΣΥΦΟΣ ὈΔΥΣΣΕΎΣ Σ",
  "Съешь ещё этих мягких французских булок",
  "Київ їжак, Српски ЉУБАВ",
  "女消防员 在屋顶上 ，。「引号」",
  "東京タワーとﾊﾝｶｸ、カ\u3099",
  "한국어 고양이 \u1112\u1161\u11ab",
  "แมวสีดำบนหลังคา",
  "قطة سوداء على السطح ١٢٣ لَا",
  "שָׁלוֹם חתול",
  "काली बिल्ली छत पर",
  "kissing "
  "👩‍❤️‍💋‍👨 family "
  "👨‍👩‍👧‍👦 flag 🏴\U000e0067\U000e0062\U000e007f 🇫🇷 👍🏽",
  "Tom &amp; Jerry &amp;lt;b&amp;gt; &#39;quoted&#39; &eacute; &nbsp;x",
  "<p>markup</p> <br/>",
  "https://example.org/a_b-c?d=e&f=%20g#h user@example.org",
  "“curly” ‘quotes’ ’tis — dashes – … •",
  "schÃ¶n broken âœ” encoding â€œquotesâ€\x9d",
  "snake_case CamelCase kebab-case __init__",
  "!!!??? $$$ ## *** ~~~ ^^ || \\ // @@ `code`",
  "zero\u200bwidth soft\u00adhyphen nb\u00a0space thin\u2009space "
  "\u3000wide\ufeff",
  "line\u2028separator next\u0085line form\ffeed "
  "\x1c\x1f control\x07bell\x00null",
  "ｆｕｌｌ ｗｉｄｔｈ ＡＢＣ ﬁ ﬂ ㎏ ™ ℃",
  "▁lower▁block and _ low line",
  "mathematical 𝒜𝓑 𝐱 \U0001f600 \ud7ff private \ue000 \U0010ffff",
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
  "a very long caption " * 40,
  "长" * 200,
  "x. y! z? (w) [v] {u} <t>",
)
# With the names of marks, which originals treat each in their own way.
MARKS = (
  "a <end_of_text> b",
  "!!<start_of_text>a<END_OF_TEXT>",
  "<|startoftext|> a <|endoftext|>b",
  "[CLS] a [SEP] b [PAD] [MASK] [unk]",
)
